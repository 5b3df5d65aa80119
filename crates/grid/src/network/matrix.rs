//! Small dense matrices of phasors: the impedance of a line, the admittance of one element.

use super::complex::{ONE, Phasor, ZERO, inverse, magnitude};

/// Largest order: three windings of three phases with their neutrals stay far below.
pub const ORDER_MAX: usize = 64;

/// A square matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    order: usize,
    values: Vec<Phasor>,
}

impl Matrix {
    /// All zeros.
    ///
    /// # Panics
    ///
    /// If `order` is above [`ORDER_MAX`].
    pub fn zeros(order: usize) -> Self {
        assert!(order <= ORDER_MAX, "matrix of order {order}");
        Self {
            order,
            values: vec![ZERO; order * order],
        }
    }

    /// The same value on the diagonal and the same beside it.
    pub fn balanced(order: usize, own: Phasor, mutual: Phasor) -> Self {
        let mut matrix = Self::zeros(order);
        for row in 0..order {
            for column in 0..order {
                *matrix.at(row, column) = if row == column { own } else { mutual };
            }
        }
        matrix
    }

    /// From positive and zero sequence; one phase alone has only its own value.
    pub fn from_sequence(order: usize, positive: Phasor, zero: Phasor) -> Self {
        Self::balanced(
            order,
            (positive * 2.0 + zero) / 3.0,
            (zero - positive) / 3.0,
        )
    }

    /// Rows and columns.
    pub fn order(&self) -> usize {
        self.order
    }

    /// One value.
    pub fn get(&self, row: usize, column: usize) -> Phasor {
        self.values[row * self.order + column]
    }

    /// One value, to be changed.
    pub fn at(&mut self, row: usize, column: usize) -> &mut Phasor {
        &mut self.values[row * self.order + column]
    }

    /// Every value times the same factor.
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            order: self.order,
            values: self.values.iter().map(|value| value * factor).collect(),
        }
    }

    /// Each value by itself through `change`.
    pub fn map(&self, change: impl Fn(Phasor) -> Phasor) -> Self {
        Self {
            order: self.order,
            values: self.values.iter().map(|value| change(*value)).collect(),
        }
    }

    /// Adds a block whose first corner is at `(row, column)`.
    pub fn add_block(&mut self, row: usize, column: usize, block: &Self, factor: f64) {
        for i in 0..block.order {
            for j in 0..block.order {
                *self.at(row + i, column + j) += block.get(i, j) * factor;
            }
        }
    }

    /// The product with a column.
    pub fn times(&self, column: &[Phasor]) -> Vec<Phasor> {
        (0..self.order)
            .map(|row| {
                (0..self.order)
                    .map(|at| self.get(row, at) * column[at])
                    .sum()
            })
            .collect()
    }

    /// The inverse, by elimination with row pivots; `None` if there is none.
    pub fn inverse(&self) -> Option<Self> {
        let order = self.order;
        let mut left = self.clone();
        let mut right = Self::balanced(order, ONE, ZERO);
        for step in 0..order {
            let pivot = (step..order).max_by(|&a, &b| {
                magnitude(left.get(a, step)).total_cmp(&magnitude(left.get(b, step)))
            })?;
            let size = magnitude(left.get(pivot, step));
            if size == 0.0 || !size.is_finite() {
                return None;
            }
            left.swap_rows(step, pivot);
            right.swap_rows(step, pivot);
            let scale = inverse(left.get(step, step));
            for column in 0..order {
                *left.at(step, column) *= scale;
                *right.at(step, column) *= scale;
            }
            for row in (0..order).filter(|&row| row != step) {
                let factor = left.get(row, step);
                if factor == ZERO {
                    continue;
                }
                for column in 0..order {
                    let (above, beside) = (left.get(step, column), right.get(step, column));
                    *left.at(row, column) -= factor * above;
                    *right.at(row, column) -= factor * beside;
                }
            }
        }
        Some(right)
    }

    /// Kron's reduction: keeps the first `keep` rows; what carries the others is zero outside
    /// (a grounded neutral of an impedance matrix, an open end of an admittance matrix).
    /// A row without a pivot carries nothing and is left out.
    pub fn reduced(&self, keep: usize) -> Self {
        let mut full = self.clone();
        for out in (keep..self.order).rev() {
            let pivot = full.get(out, out);
            if magnitude(pivot) == 0.0 {
                continue;
            }
            let scale = inverse(pivot);
            for row in 0..out {
                let factor = full.get(row, out) * scale;
                for column in 0..out {
                    let across = full.get(out, column);
                    *full.at(row, column) -= factor * across;
                }
            }
        }
        full.corner(keep)
    }

    /// The first rows and columns.
    pub fn corner(&self, keep: usize) -> Self {
        self.selected(&(0..keep).collect::<Vec<_>>())
    }

    /// The named rows and columns in that order.
    pub fn selected(&self, kept: &[usize]) -> Self {
        let mut corner = Self::zeros(kept.len());
        for (row, &from) in kept.iter().enumerate() {
            for (column, &of) in kept.iter().enumerate() {
                *corner.at(row, column) = self.get(from, of);
            }
        }
        corner
    }

    fn swap_rows(&mut self, one: usize, other: usize) {
        for column in 0..self.order {
            self.values
                .swap(one * self.order + column, other * self.order + column);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(order: usize, values: &[f64]) -> Matrix {
        let mut matrix = Matrix::zeros(order);
        for (at, value) in values.iter().enumerate() {
            *matrix.at(at / order, at % order) = Phasor::new(*value, 0.0);
        }
        matrix
    }

    #[test]
    fn an_inverse_undoes_and_a_singular_matrix_has_none() {
        // The first pivot is zero, so rows must move.
        let matrix = real(3, &[0.0, 2.0, 1.0, 4.0, 1.0, 0.0, 1.0, 1.0, 3.0]);
        let inverse = matrix.inverse().unwrap();
        for at in 0..3 {
            let mut unit = vec![ZERO; 3];
            unit[at] = ONE;
            let back = matrix.times(&inverse.times(&unit));
            for (row, value) in back.iter().enumerate() {
                assert!(magnitude(value - unit[row]) < 1e-12, "{row} {at}");
            }
        }
        assert_eq!(real(2, &[1.0, 2.0, 2.0, 4.0]).inverse(), None);
    }

    #[test]
    fn krons_reduction_is_the_corner_of_the_inverse() {
        let matrix = real(3, &[4.0, 1.0, 0.5, 1.0, 5.0, 1.5, 0.5, 1.5, 3.0]);
        let reduced = matrix.reduced(2).inverse().unwrap();
        let corner = matrix.inverse().unwrap().corner(2);
        for at in 0..4 {
            assert!(magnitude(reduced.get(at / 2, at % 2) - corner.get(at / 2, at % 2)) < 1e-12);
        }
    }
}
