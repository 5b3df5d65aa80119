//! Information elements in the monitor direction: what a point says, and how far to believe it
//! (IEC 60870-5-101, 7.2.6.1 to 7.2.6.11).

/// Quality descriptor (QDS). All false is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quality {
    /// OV: the value left its range. Not carried by single and double points and counters.
    pub overflow: bool,
    /// BL: blocked for transmission; the value is that from before. Not carried by counters.
    pub blocked: bool,
    /// SB: put in by an operator or an automatic source. Not carried by counters.
    pub substituted: bool,
    /// NT: not topical, the last update failed. Not carried by counters.
    pub not_topical: bool,
    /// IV: invalid, do not use.
    pub invalid: bool,
}

impl Quality {
    /// Good.
    pub const GOOD: Self = Self {
        overflow: false,
        blocked: false,
        substituted: false,
        not_topical: false,
        invalid: false,
    };

    /// Invalid, and nothing else.
    pub const INVALID: Self = Self {
        invalid: true,
        ..Self::GOOD
    };

    /// Whether no flag is set.
    pub fn is_good(self) -> bool {
        self == Self::GOOD
    }

    const fn octet(self) -> u8 {
        (self.overflow as u8)
            | (self.blocked as u8) << 4
            | (self.substituted as u8) << 5
            | (self.not_topical as u8) << 6
            | (self.invalid as u8) << 7
    }

    const fn from_octet(octet: u8) -> Self {
        Self {
            overflow: octet & 0x01 != 0,
            blocked: octet & 0x10 != 0,
            substituted: octet & 0x20 != 0,
            not_topical: octet & 0x40 != 0,
            invalid: octet & 0x80 != 0,
        }
    }
}

/// The four states of a double point (DPI).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoublePoint {
    /// 0: between its ends, as a breaker that moves.
    Intermediate,
    /// 1: off, open.
    Off,
    /// 2: on, closed.
    On,
    /// 3: faulty contacts.
    Indeterminate,
}

impl DoublePoint {
    const fn code(self) -> u8 {
        match self {
            Self::Intermediate => 0,
            Self::Off => 1,
            Self::On => 2,
            Self::Indeterminate => 3,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code & 3 {
            0 => Self::Intermediate,
            1 => Self::Off,
            2 => Self::On,
            _ => Self::Indeterminate,
        }
    }
}

/// A fixed-point number in [−1, 1 − 2⁻¹⁵]: 1/32 768 of what the engineer calls full scale (NVA).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Normalized(pub i16);

impl Normalized {
    /// The share of full scale.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 32_768.0
    }
}

/// A counter's reading (BCR).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterReading {
    /// The count.
    pub count: i32,
    /// SQ, 0–31: goes up with every freeze.
    pub sequence: u8,
    /// CY: the counter ran over since it was last read.
    pub carry: bool,
    /// CA: the counter was set since it was last read.
    pub adjusted: bool,
}

/// What a monitored point says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// SPI (types 1, 30).
    Single(bool),
    /// DPI (types 3, 31).
    Double(DoublePoint),
    /// VTI (types 5, 32): a tap changer's position, −64 to 63.
    Step {
        /// The position; values outside −64 to 63 lose their high bits.
        position: i8,
        /// The equipment is moving.
        transient: bool,
    },
    /// BSI (types 7, 33).
    Bits(u32),
    /// NVA (types 9, 34).
    Normalized(Normalized),
    /// SVA (types 11, 35): a whole number in the unit that the engineer agreed upon.
    Scaled(i16),
    /// R32-IEEE STD 754 (types 13, 36). A peer can send a NaN or an infinity.
    Float(f32),
    /// BCR (types 15, 37).
    Counter(CounterReading),
}

/// The type of a [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of Value")]
pub enum ValueKind {
    Single,
    Double,
    Step,
    Bits,
    Normalized,
    Scaled,
    Float,
    Counter,
}

impl ValueKind {
    /// Octets of the element with its quality.
    pub(crate) const fn octets(self) -> usize {
        match self {
            Self::Single | Self::Double => 1,
            Self::Step => 2,
            Self::Normalized | Self::Scaled => 3,
            Self::Bits | Self::Float | Self::Counter => 5,
        }
    }
}

impl Value {
    /// The type of the value.
    pub const fn kind(self) -> ValueKind {
        match self {
            Self::Single(_) => ValueKind::Single,
            Self::Double(_) => ValueKind::Double,
            Self::Step { .. } => ValueKind::Step,
            Self::Bits(_) => ValueKind::Bits,
            Self::Normalized(_) => ValueKind::Normalized,
            Self::Scaled(_) => ValueKind::Scaled,
            Self::Float(_) => ValueKind::Float,
            Self::Counter(_) => ValueKind::Counter,
        }
    }

    /// Whether both are the same on the wire. Unlike `==`, a NaN is the same as itself.
    pub fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }

    /// Writes the element with its quality.
    pub(crate) fn encode(self, quality: Quality, out: &mut Vec<u8>) {
        let flags = quality.octet();
        match self {
            Self::Single(on) => out.push(u8::from(on) | flags & 0xF0),
            Self::Double(point) => out.push(point.code() | flags & 0xF0),
            Self::Step {
                position,
                transient,
            } => {
                let [octet] = position.to_le_bytes();
                out.extend([octet & 0x7F | u8::from(transient) << 7, flags]);
            }
            Self::Bits(bits) => {
                out.extend(bits.to_le_bytes());
                out.push(flags);
            }
            Self::Normalized(Normalized(value)) | Self::Scaled(value) => {
                out.extend(value.to_le_bytes());
                out.push(flags);
            }
            Self::Float(value) => {
                out.extend(value.to_le_bytes());
                out.push(flags);
            }
            Self::Counter(reading) => {
                out.extend(reading.count.to_le_bytes());
                out.push(
                    reading.sequence & 0x1F
                        | u8::from(reading.carry) << 5
                        | u8::from(reading.adjusted) << 6
                        | u8::from(quality.invalid) << 7,
                );
            }
        }
    }

    /// Reads an element of a known kind; `octets` are exactly [`ValueKind::octets`].
    pub(crate) fn decode(kind: ValueKind, octets: &[u8]) -> (Self, Quality) {
        let at = |index: usize| octets.get(index).copied().unwrap_or(0);
        let flags = octets.last().copied().unwrap_or(0);
        let short = i16::from_le_bytes([at(0), at(1)]);
        let long = [at(0), at(1), at(2), at(3)];
        let quality = Quality::from_octet(flags);
        match kind {
            ValueKind::Single => (
                Self::Single(flags & 1 != 0),
                Quality::from_octet(flags & 0xF0),
            ),
            ValueKind::Double => (
                Self::Double(DoublePoint::from_code(flags)),
                Quality::from_octet(flags & 0xF0),
            ),
            ValueKind::Step => {
                // Seven bits with a sign: move it to the top, and back with its sign.
                let position = i8::from_le_bytes([at(0) << 1]) >> 1;
                let transient = at(0) & 0x80 != 0;
                (
                    Self::Step {
                        position,
                        transient,
                    },
                    quality,
                )
            }
            ValueKind::Bits => (Self::Bits(u32::from_le_bytes(long)), quality),
            ValueKind::Normalized => (Self::Normalized(Normalized(short)), quality),
            ValueKind::Scaled => (Self::Scaled(short), quality),
            ValueKind::Float => (Self::Float(f32::from_le_bytes(long)), quality),
            ValueKind::Counter => (
                Self::Counter(CounterReading {
                    count: i32::from_le_bytes(long),
                    sequence: flags & 0x1F,
                    carry: flags & 0x20 != 0,
                    adjusted: flags & 0x40 != 0,
                }),
                Quality::from_octet(flags & 0x80),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_by_hand() {
        let all = Quality {
            overflow: true,
            blocked: true,
            substituted: true,
            not_topical: true,
            invalid: true,
        };
        let invalid = Quality::INVALID;
        let without_overflow = Quality {
            overflow: false,
            ..all
        };
        let step = |position, transient| Value::Step {
            position,
            transient,
        };
        let counter = Value::Counter(CounterReading {
            count: -2,
            sequence: 31,
            carry: true,
            adjusted: true,
        });
        let cases: [(Value, Quality, &[u8]); 16] = [
            (Value::Single(true), Quality::GOOD, &[0x01]),
            (Value::Single(false), invalid, &[0x80]),
            (Value::Single(true), without_overflow, &[0xF1]),
            (
                Value::Double(DoublePoint::Intermediate),
                Quality::GOOD,
                &[0],
            ),
            (Value::Double(DoublePoint::On), Quality::GOOD, &[2]),
            (
                Value::Double(DoublePoint::Indeterminate),
                without_overflow,
                &[0xF3],
            ),
            (step(63, false), Quality::GOOD, &[0x3F, 0]),
            (step(-64, true), Quality::GOOD, &[0xC0, 0]),
            (step(-1, false), all, &[0x7F, 0xF1]),
            (Value::Bits(0x0102_0304), Quality::GOOD, &[4, 3, 2, 1, 0x00]),
            (
                Value::Normalized(Normalized(-32_768)),
                all,
                &[0x00, 0x80, 0xF1],
            ),
            (Value::Scaled(1_000), Quality::GOOD, &[0xE8, 0x03, 0x00]),
            (Value::Scaled(-1), Quality::GOOD, &[0xFF, 0xFF, 0x00]),
            // 1.5 is 3FC00000h.
            (Value::Float(1.5), invalid, &[0x00, 0x00, 0xC0, 0x3F, 0x80]),
            (counter, invalid, &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF]),
            (
                Value::Counter(CounterReading::default()),
                Quality::GOOD,
                &[0, 0, 0, 0, 0],
            ),
        ];
        for (value, quality, octets) in cases {
            let mut out = Vec::new();
            value.encode(quality, &mut out);
            assert_eq!(out, octets, "{value:?}");
            assert_eq!(out.len(), value.kind().octets(), "{value:?}");
            assert_eq!(Value::decode(value.kind(), octets), (value, quality));
        }
        assert!((Normalized(-16_384).share() + 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_nan_is_the_same_as_itself() {
        let nan = Value::Float(f32::NAN);
        assert!(nan.same(nan));
        assert!(!nan.same(Value::Float(0.0)));
        assert!(!Value::Scaled(0).same(Value::Float(0.0)));
    }
}
