//! Branches known by their positive and zero sequence, as planning programs exchange them.

use super::complex::{ONE, Phasor, inverse};
use super::matrix::Matrix;

/// Admittances between the terminals of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceBranch {
    positive: Matrix,
    zero: Option<Matrix>,
}

impl SequenceBranch {
    /// All three phases from the admittances between terminals, in siemens, in the positive and
    /// in the zero sequence. The negative sequence sees the positive one's turns the other way.
    pub fn three_phase(positive: Matrix, zero: Matrix) -> Self {
        assert_eq!(positive.order(), zero.order(), "as many terminals");
        Self {
            positive,
            zero: Some(zero),
        }
    }

    /// The positive sequence alone, as a network of one phase.
    pub fn single_line(positive: Matrix) -> Self {
        Self {
            positive,
            zero: None,
        }
    }

    /// Three, or one for a single line.
    pub fn phases(&self) -> usize {
        if self.zero.is_some() { 3 } else { 1 }
    }

    /// Its terminals.
    pub fn terminals(&self) -> usize {
        self.positive.order()
    }

    /// A series admittance with half a shunt at each end, behind an ideal ratio at the first:
    /// `ratio` is first over second, complex where the branch turns the angle.
    pub fn pi(series: Phasor, shunt: Phasor, ratio: Phasor) -> Matrix {
        let mut matrix = Matrix::zeros(2);
        let own = series + shunt / 2.0;
        let square = ratio.re * ratio.re + ratio.im * ratio.im;
        *matrix.at(0, 0) = own / square;
        *matrix.at(1, 1) = own;
        *matrix.at(0, 1) = -(series * inverse(ratio.conj()));
        *matrix.at(1, 0) = -(series * inverse(ratio));
        matrix
    }

    pub(crate) fn admittance(&self) -> Matrix {
        let Some(zero) = &self.zero else {
            return self.positive.clone();
        };
        let terminals = self.terminals();
        let mut whole = Matrix::zeros(3 * terminals);
        let turn = Phasor::new(-0.5, super::complex::SQRT_3 / 2.0);
        let turns = [ONE, turn, turn.conj()];
        for one in 0..terminals {
            for other in 0..terminals {
                let positive = self.positive.get(one, other);
                // Seen from the same terminal there is no turn; between two the negative
                // sequence takes what the positive one takes the other way round.
                let negative = self.positive.get(other, one);
                let zero = zero.get(one, other);
                for row in 0..3 {
                    for column in 0..3 {
                        let step = (3 + row - column) % 3;
                        // Phase `row` is `turn` to the power of −row of the first.
                        let value = zero + positive * turns[step].conj() + negative * turns[step];
                        *whole.at(3 * one + row, 3 * other + column) = value / 3.0;
                    }
                }
            }
        }
        whole
    }
}
