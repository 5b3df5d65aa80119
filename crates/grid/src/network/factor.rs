//! The sparse factorisation of the admittance matrix.
//!
//! The order comes from `amd`, the factors from `rlu`: both are small, scalar and take complex
//! numbers, so every machine computes the same bits. The factors are then laid out flat, because
//! each iteration walks them once.

use super::complex::{Phasor, ZERO, inverse, magnitude};

/// One value of a sparse matrix; several of one place add up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) value: Phasor,
}

/// A square sparse matrix by columns, without doubles.
#[derive(Debug, Clone)]
pub(crate) struct Sparse {
    order: usize,
    starts: Vec<usize>,
    rows: Vec<usize>,
    values: Vec<Phasor>,
}

impl Sparse {
    pub(crate) fn from_entries(order: usize, entries: &[Entry]) -> Self {
        let mut starts = vec![0; order + 1];
        for entry in entries {
            starts[entry.column + 1] += 1;
        }
        for column in 0..order {
            starts[column + 1] += starts[column];
        }
        let mut fill = starts.clone();
        let mut by_column = vec![(0, ZERO); entries.len()];
        for entry in entries {
            by_column[fill[entry.column]] = (entry.row, entry.value);
            fill[entry.column] += 1;
        }
        let mut sparse = Self {
            order,
            starts: Vec::with_capacity(order + 1),
            rows: Vec::with_capacity(entries.len()),
            values: Vec::with_capacity(entries.len()),
        };
        sparse.starts.push(0);
        for column in 0..order {
            let part = &mut by_column[starts[column]..starts[column + 1]];
            // Stable, so that equal places add up in the order of their elements.
            part.sort_by_key(|(row, _)| *row);
            let first = sparse.rows.len();
            for &(row, value) in part.iter() {
                let last = sparse.rows.len();
                if last > first && sparse.rows[last - 1] == row {
                    sparse.values[last - 1] += value;
                } else {
                    sparse.rows.push(row);
                    sparse.values.push(value);
                }
            }
            sparse.starts.push(sparse.rows.len());
        }
        sparse
    }

    #[cfg(test)]
    pub(crate) fn times(&self, column: &[Phasor]) -> Vec<Phasor> {
        let mut product = vec![ZERO; self.order];
        for (at, value) in column.iter().take(self.order).enumerate() {
            for place in self.starts[at]..self.starts[at + 1] {
                product[self.rows[place]] += self.values[place] * value;
            }
        }
        product
    }
}

/// An elimination order, which depends only on where a matrix has values.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    columns: Vec<usize>,
    place: Vec<usize>,
}

impl Order {
    pub(crate) fn of(matrix: &Sparse) -> Result<Self, String> {
        let (columns, place, _) = amd::order(
            matrix.order,
            &matrix.starts,
            &matrix.rows,
            &amd::Control::default(),
        )
        .map_err(|status| format!("no order of elimination ({status:?})"))?;
        Ok(Self { columns, place })
    }
}

/// Lower and upper factors, each by columns in one piece.
#[derive(Debug, Clone)]
pub(crate) struct Factors {
    /// Row of the permuted matrix → row of ours.
    order: Vec<usize>,
    lower_starts: Vec<u32>,
    lower: Vec<(u32, Phasor)>,
    upper_starts: Vec<u32>,
    upper: Vec<(u32, Phasor)>,
    /// Inverse of the diagonal.
    pivots: Vec<Phasor>,
    work: Vec<Phasor>,
}

impl Factors {
    /// Factors a matrix; the error is the row that no pivot determines.
    pub(crate) fn of(matrix: &Sparse, order: &Order) -> Result<Self, usize> {
        let count = matrix.order;
        // Rows and columns move together: a nodal matrix has its weight on the diagonal.
        let mut starts = Vec::with_capacity(count + 1);
        let mut rows = Vec::with_capacity(matrix.rows.len());
        let mut values = Vec::with_capacity(matrix.values.len());
        let mut scale = vec![0.0_f64; count];
        starts.push(0);
        for (at, &column) in order.columns.iter().enumerate() {
            for place in matrix.starts[column]..matrix.starts[column + 1] {
                let row = order.place[matrix.rows[place]];
                rows.push(row);
                values.push(matrix.values[place]);
                if row == at {
                    scale[at] = magnitude(matrix.values[place]);
                }
            }
            starts.push(rows.len());
        }
        let (lower, upper, _) = rlu::lu_decomposition::<usize, Phasor, usize>(
            count, &rows, &starts, &values, None, None, None, false,
        );
        let mut factors = Self {
            order: order.columns.clone(),
            lower_starts: vec![0],
            lower: Vec::new(),
            upper_starts: vec![0],
            upper: Vec::new(),
            pivots: vec![ZERO; count],
            work: vec![ZERO; count],
        };
        for column in 0..count {
            for &(row, value) in &lower[column] {
                if row > column && value != ZERO {
                    factors.lower.push((short(row), value));
                }
            }
            factors.lower_starts.push(short(factors.lower.len()));
            for &(row, value) in &upper[column] {
                if row == column {
                    // What is left of a diagonal by rounding alone determines nothing.
                    let size = magnitude(value);
                    if !size.is_finite() || size <= scale[column] * 1e-15 {
                        return Err(order.columns[column]);
                    }
                    factors.pivots[column] = inverse(value);
                } else if value != ZERO {
                    factors.upper.push((short(row), value));
                }
            }
            if factors.pivots[column] == ZERO {
                return Err(order.columns[column]);
            }
            factors.upper_starts.push(short(factors.upper.len()));
        }
        Ok(factors)
    }

    /// Replaces the right-hand side by the solution.
    pub(crate) fn solve(&mut self, side: &mut [Phasor]) {
        let count = self.order.len();
        let work = &mut self.work;
        for (at, &from) in self.order.iter().enumerate() {
            work[at] = side[from];
        }
        for column in 0..count {
            let value = work[column];
            if value == ZERO {
                continue;
            }
            let part = self.lower_starts[column] as usize..self.lower_starts[column + 1] as usize;
            for &(row, factor) in &self.lower[part] {
                work[row as usize] -= factor * value;
            }
        }
        for column in (0..count).rev() {
            let value = work[column] * self.pivots[column];
            work[column] = value;
            let part = self.upper_starts[column] as usize..self.upper_starts[column + 1] as usize;
            for &(row, factor) in &self.upper[part] {
                work[row as usize] -= factor * value;
            }
        }
        for (at, &to) in self.order.iter().enumerate() {
            side[to] = work[at];
        }
    }
}

fn short(value: usize) -> u32 {
    u32::try_from(value).expect("a network within its bounds has fewer factors than 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solution_gives_the_right_hand_side_back() {
        let order = 40;
        let mut entries = Vec::new();
        let mut put = |row: usize, column: usize, re: f64, im: f64| {
            entries.push(Entry {
                row,
                column,
                value: Phasor::new(re, im),
            });
        };
        for at in 0..order {
            put(at, at, 5.0, 1.0);
            put(at, at, 1.0, 0.5); // Adds to the one above.
            for far in [1, 7, 13] {
                if at + far < order {
                    put(at, at + far, -1.0, 0.3);
                    put(at + far, at, -0.7, -0.2);
                }
            }
        }
        let matrix = Sparse::from_entries(order, &entries);
        let mut factors = Factors::of(&matrix, &Order::of(&matrix).unwrap()).unwrap();
        let side: Vec<Phasor> = (0..order)
            .map(|at| Phasor::new(f64::from(u8::try_from(at).unwrap()), 1.0))
            .collect();
        let mut solution = side.clone();
        factors.solve(&mut solution);
        for (at, value) in matrix.times(&solution).iter().enumerate() {
            assert!(magnitude(value - side[at]) < 1e-9, "{at}");
        }
    }

    #[test]
    fn a_row_without_a_pivot_is_named() {
        let one = Phasor::new(1.0, 0.0);
        let mut entries = vec![Entry {
            row: 0,
            column: 0,
            value: one,
        }];
        for (row, column, value) in [(1, 1, one), (1, 2, -one), (2, 1, -one), (2, 2, one)] {
            entries.push(Entry { row, column, value });
        }
        let matrix = Sparse::from_entries(3, &entries);
        let named = Factors::of(&matrix, &Order::of(&matrix).unwrap()).unwrap_err();
        assert!(named == 1 || named == 2, "{named}");
    }
}
