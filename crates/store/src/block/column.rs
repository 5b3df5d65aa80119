//! One column of a block: scale, prediction, adaptive Rice code.

use gridloom_core::IntervalReading;

use super::bits::{BitReader, BitWriter, OutOfBits};
use super::{BlockError, COLUMNS, REGISTER, STATUS};

const IMPORT: usize = 0;
const EXPORT: usize = 1;
const QUADRANTS: core::ops::RangeInclusive<usize> = 2..=5;
const APPARENT: usize = 6;

/// Ones before a residual is written out in full.
const UNARY_MAX: u32 = 20;
/// Residuals after which the running mean halves its weight.
const MEMORY: u64 = 12;
/// In place of a starting parameter: every residual after the first is zero and not written.
const ALL_AS_PREDICTED: u32 = 63;
/// The scale code that says a divisor follows; those below are powers of ten.
const SCALE_EXPLICIT: u64 = 15;

/// Where a value is expected. All arithmetic is on integers, so both sides agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Predictor {
    /// Zero.
    Zero,
    /// The value before.
    Last,
    /// The exponential mean of the values before: where a value scatters around a level.
    Level,
    /// For the apparent energy: the root of the squares of import and reactive energy.
    Vector,
    /// For the register: its last value and the energy imported since.
    Sum,
    /// For a reactive energy: the import times the last ratio of the two.
    Ratio,
}

impl Predictor {
    const ALL: [Self; 6] = [
        Self::Zero,
        Self::Last,
        Self::Level,
        Self::Vector,
        Self::Sum,
        Self::Ratio,
    ];

    fn fits(self, column: usize) -> bool {
        match self {
            Self::Zero | Self::Last => true,
            Self::Level => column != REGISTER && column != STATUS,
            Self::Vector => column == APPARENT,
            Self::Sum => column == REGISTER,
            Self::Ratio => QUADRANTS.contains(&column),
        }
    }
}

/// The values of a block, by column.
#[derive(Debug)]
pub(super) struct Table {
    columns: [Vec<i64>; COLUMNS],
}

impl Table {
    pub(super) fn new(readings: &[IntervalReading]) -> Self {
        let mut table = Self::zeroed(readings.len());
        for (row, reading) in readings.iter().enumerate() {
            for (column, channel) in reading.values.to_array().into_iter().enumerate() {
                table.columns[column][row] = channel;
            }
            table.columns[REGISTER][row] = reading.import_register.get();
            table.columns[STATUS][row] = i64::from(reading.status.0);
        }
        table
    }

    pub(super) fn zeroed(rows: usize) -> Self {
        Self {
            columns: core::array::from_fn(|_| vec![0; rows]),
        }
    }

    pub(super) fn value(&self, column: usize, row: usize) -> i64 {
        self.columns[column][row]
    }

    pub(super) fn is_zero(&self, column: usize) -> bool {
        self.columns[column].iter().all(|&value| value == 0)
    }

    /// Writes a column that is not all zero.
    pub(super) fn encode(&self, column: usize, bits: &mut BitWriter) {
        let values = &self.columns[column];
        let scale = Scale::of(values);
        let (predictor, residuals) = Predictor::ALL
            .into_iter()
            .filter(|predictor| predictor.fits(column))
            .map(|predictor| (predictor, self.residuals(column, predictor, scale.divisor)))
            .min_by_key(|(_, residuals)| cost_estimate(residuals))
            .expect("two predictors fit every column");
        bits.put(predictor as u64, 3);
        scale.encode(bits);
        let (&first, rest) = residuals.split_first().expect("a block holds a reading");
        put_full(bits, first);
        if rest.iter().all(|&residual| residual == 0) {
            bits.put(u64::from(ALL_AS_PREDICTED), 6);
            return;
        }
        let mut mean = Mean::around(rest);
        bits.put(u64::from(mean.start), 6);
        for &residual in rest {
            mean.put(residual, bits);
        }
    }

    fn residuals(&self, column: usize, predictor: Predictor, divisor: u64) -> Vec<u64> {
        let mut context = Context::new(predictor);
        let values = &self.columns[column];
        (0..values.len())
            .map(|row| {
                let scaled = divide_exactly(values[row], divisor);
                let residual = scaled.wrapping_sub(context.predict(self, row, divisor));
                context.learn(values[row], scaled);
                zigzag(residual)
            })
            .collect()
    }

    /// Reads a column; those before it have been read.
    pub(super) fn decode(
        &mut self,
        column: usize,
        bits: &mut BitReader<'_>,
    ) -> Result<(), BlockError> {
        let short = |_: OutOfBits| BlockError::ShortColumn { column };
        let code = bits.get(3).map_err(short)?;
        let predictor = Predictor::ALL
            .into_iter()
            .find(|predictor| *predictor as u64 == code && predictor.fits(column))
            .ok_or(BlockError::Field {
                field: "predictor",
                got: code,
            })?;
        let divisor = Scale::decode(bits).map_err(short)?.divisor;
        let mut context = Context::new(predictor);
        let first = get_full(bits).map_err(short)?;
        let start = bits.get(6).map_err(short)?;
        let mut mean = Mean::new(u32::try_from(start).expect("six bits were read"));
        for row in 0..self.columns[column].len() {
            let residual = match row {
                0 => first,
                _ if mean.start == ALL_AS_PREDICTED => 0,
                _ => mean.get(bits).map_err(short)?,
            };
            let scaled = unzigzag(residual).wrapping_add(context.predict(self, row, divisor));
            let value = multiply(scaled, divisor).ok_or(BlockError::Range { column })?;
            context.learn(value, scaled);
            self.columns[column][row] = value;
        }
        Ok(())
    }
}

/// The divisor of a column.
#[derive(Debug, Clone, Copy)]
struct Scale {
    divisor: u64,
    code: u64,
}

impl Scale {
    fn of(values: &[i64]) -> Self {
        let divisor = values
            .iter()
            .fold(0, |divisor, value| gcd(divisor, value.unsigned_abs()));
        (0..SCALE_EXPLICIT)
            .zip(core::iter::successors(Some(1_u64), |power| {
                Some(power * 10)
            }))
            .find(|(_, power)| *power == divisor)
            .map_or(
                Self {
                    divisor,
                    code: SCALE_EXPLICIT,
                },
                |(code, divisor)| Self { divisor, code },
            )
    }

    fn encode(self, bits: &mut BitWriter) {
        bits.put(self.code, 4);
        if self.code == SCALE_EXPLICIT {
            put_full(bits, self.divisor);
        }
    }

    fn decode(bits: &mut BitReader<'_>) -> Result<Self, OutOfBits> {
        let code = bits.get(4)?;
        let divisor = if code == SCALE_EXPLICIT {
            get_full(bits)?
        } else {
            10_u64.pow(u32::try_from(code).expect("four bits were read"))
        };
        Ok(Self { divisor, code })
    }
}

/// What a predictor remembers of its column.
#[derive(Debug)]
struct Context {
    predictor: Predictor,
    last: i64,
    last_scaled: i64,
    /// The exponential mean, in 1/16 of a scaled unit.
    level: i128,
    started: bool,
}

impl Context {
    const fn new(predictor: Predictor) -> Self {
        Self {
            predictor,
            last: 0,
            last_scaled: 0,
            level: 0,
            started: false,
        }
    }

    fn predict(&self, table: &Table, row: usize, divisor: u64) -> i64 {
        let at = |column: usize, row: usize| i128::from(table.columns[column][row]);
        match self.predictor {
            Predictor::Zero => 0,
            Predictor::Last => self.last_scaled,
            Predictor::Level => clamp((self.level + 8) >> 4),
            Predictor::Vector => {
                let active = at(IMPORT, row) - at(EXPORT, row);
                let reactive = at(2, row) + at(3, row) - at(4, row) - at(5, row);
                let square = |side: i128| side.unsigned_abs().saturating_mul(side.unsigned_abs());
                let sum = square(active).saturating_add(square(reactive));
                nearest(i128::try_from(sum.isqrt()).unwrap_or(i128::MAX), divisor)
            }
            Predictor::Sum if self.started => {
                nearest(i128::from(self.last) + at(IMPORT, row), divisor)
            }
            Predictor::Ratio if self.started && at(IMPORT, row - 1) != 0 => {
                let ratio = i128::from(self.last) * at(IMPORT, row) / at(IMPORT, row - 1);
                nearest(ratio, divisor)
            }
            Predictor::Sum | Predictor::Ratio => 0,
        }
    }

    fn learn(&mut self, value: i64, scaled: i64) {
        let wide = i128::from(scaled) << 4;
        self.level = if self.started {
            self.level + ((wide - self.level) >> 2)
        } else {
            wide
        };
        self.last = value;
        self.last_scaled = scaled;
        self.started = true;
    }
}

/// The running mean of residuals, which chooses the Rice parameter of the next one.
#[derive(Debug, Clone, Copy)]
struct Mean {
    start: u32,
    sum: u128,
    count: u64,
}

impl Mean {
    fn new(start: u32) -> Self {
        Self {
            start,
            sum: 4 << start,
            count: 4,
        }
    }

    fn around(residuals: &[u64]) -> Self {
        let sum: u128 = residuals.iter().map(|&r| u128::from(r)).sum();
        let mean = sum / (residuals.len() as u128).max(1);
        Self::new(mean.max(1).ilog2().min(ALL_AS_PREDICTED - 1))
    }

    /// The Rice parameter: the least k with 2^k at least ln 2 times the mean.
    fn parameter(&self) -> u32 {
        let goal = self.sum * 11 / 16;
        let quotient = goal / u128::from(self.count);
        (u128::BITS - quotient.leading_zeros()).min(63)
    }

    fn learn(&mut self, residual: u64) {
        self.sum += u128::from(residual);
        self.count += 1;
        if self.count > MEMORY {
            self.sum /= 2;
            self.count /= 2;
        }
    }

    fn put(&mut self, residual: u64, bits: &mut BitWriter) {
        let k = self.parameter();
        let ones = residual >> k;
        if ones < u64::from(UNARY_MAX) {
            let ones = u32::try_from(ones).expect("it is below UNARY_MAX");
            bits.put((1 << (ones + 1)) - 2, ones + 1);
            bits.put(residual, k);
        } else {
            bits.put((1 << UNARY_MAX) - 1, UNARY_MAX);
            put_full(bits, residual);
        }
        self.learn(residual);
    }

    fn get(&mut self, bits: &mut BitReader<'_>) -> Result<u64, OutOfBits> {
        let k = self.parameter();
        let mut ones = 0;
        while ones < UNARY_MAX && bits.get(1)? == 1 {
            ones += 1;
        }
        let residual = if ones == UNARY_MAX {
            get_full(bits)?
        } else {
            u64::from(ones) << k | bits.get(k)?
        };
        self.learn(residual);
        Ok(residual)
    }
}

/// A value by its length in bits, then its bits.
fn put_full(bits: &mut BitWriter, value: u64) {
    let length = u64::BITS - value.leading_zeros();
    bits.put(u64::from(length), 7);
    bits.put(value, length);
}

fn get_full(bits: &mut BitReader<'_>) -> Result<u64, OutOfBits> {
    let length = u32::try_from(bits.get(7)?).expect("seven bits were read");
    bits.get(length.min(u64::BITS))
}

/// About the bits that residuals take: the sum of their lengths.
fn cost_estimate(residuals: &[u64]) -> u64 {
    residuals
        .iter()
        .map(|residual| u64::from(u64::BITS - residual.leading_zeros()))
        .sum()
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The quotient of a value and a divisor of it.
fn divide_exactly(value: i64, divisor: u64) -> i64 {
    clamp(i128::from(value) / i128::from(divisor))
}

fn multiply(scaled: i64, divisor: u64) -> Option<i64> {
    i64::try_from(i128::from(scaled).checked_mul(i128::from(divisor))?).ok()
}

/// A value in scaled units, rounded to the nearest.
fn nearest(value: i128, divisor: u64) -> i64 {
    let divisor = i128::from(divisor.max(1));
    clamp(value.saturating_add(divisor / 2).div_euclid(divisor))
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_residual_survives_every_parameter() {
        for start in [0, 1, 7, 31, 62] {
            let residuals = [
                0,
                1,
                5,
                1 << 20,
                u64::MAX,
                u64::MAX - 1,
                1 << 63,
                3,
                0,
                0,
                9,
            ];
            let mut bits = BitWriter::default();
            let mut mean = Mean::new(start);
            for residual in residuals {
                mean.put(residual, &mut bits);
            }
            let bytes = bits.finish();
            let mut reader = BitReader::new(&bytes);
            let mut mean = Mean::new(start);
            for residual in residuals {
                assert_eq!(mean.get(&mut reader), Ok(residual), "from {start}");
            }
            assert_eq!(reader.left_over(), 0);
        }
    }

    #[test]
    fn zigzag_keeps_every_sign() {
        for value in [0, 1, -1, i64::MAX, i64::MIN, 77, -78] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!([0, -1, 1, -2].map(zigzag), [0, 1, 2, 3]);
    }
}
