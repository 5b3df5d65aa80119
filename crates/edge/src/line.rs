//! Lines to gateways that their hosts had to close: what a gateway tells of them.

use std::net::IpAddr;

/// Why a host closed the line of a peer that had connected to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineFault {
    /// A frame began and did not end in time.
    PartialFrame,
    /// What came was no frame.
    NoFrame,
    /// The peer read too slowly what was for it.
    SlowReader,
}

impl LineFault {
    /// Number of faults.
    pub const COUNT: usize = 3;

    /// Every fault, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::PartialFrame, Self::NoFrame, Self::SlowReader];

    /// Its number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The fault with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The fault in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::PartialFrame => "a frame did not end in time",
            Self::NoFrame => "what came was no frame",
            Self::SlowReader => "the peer read too slowly",
        }
    }
}

/// A line that its host closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedLine {
    /// Why.
    pub fault: LineFault,
    /// The peer's address, if the network told one. Nothing proves it.
    pub address: Option<IpAddr>,
}

/// Lines closed at the gateways of an edge since its start, by fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineCounters([u64; LineFault::COUNT]);

impl LineCounters {
    pub(crate) const fn count(&mut self, fault: LineFault) {
        self.0[fault as usize] += 1;
    }

    /// How many were closed for this.
    pub const fn get(&self, fault: LineFault) -> u64 {
        self.0[fault as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay() {
        for (code, fault) in (0..).zip(LineFault::ALL) {
            assert_eq!(
                (fault.code(), LineFault::from_code(code)),
                (code, Some(fault))
            );
        }
        assert_eq!(LineFault::SlowReader.code(), 2);
        assert_eq!(LineFault::from_code(3), None);
    }
}
