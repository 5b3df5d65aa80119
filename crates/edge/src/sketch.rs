//! Counts strangers in constant memory: a keyed count-min sketch, and a short list of the loudest.

use gridloom_core::SystemTitle;

use crate::index::HashKey;
use crate::registry::word;

/// How often unknown titles were seen. An estimate is never too low since the last halving; it is
/// too high by more than e/2048 of all packets for one title in 55 (e⁻⁴).
#[derive(Debug)]
pub(crate) struct Strangers {
    key: HashKey,
    rows: [Vec<u32>; Self::ROWS],
    top: Vec<(SystemTitle, u32)>,
    /// Packets since the last halving.
    since_halving: u32,
}

impl Strangers {
    const ROWS: usize = 4;
    const COLUMNS: usize = 2_048;
    /// The loudest strangers that are named; a louder one takes the place of the quietest.
    pub(crate) const TOP_MAX: usize = 32;
    /// After so many packets every count is halved: what stopped fades.
    const HALVE_EVERY: u32 = 1 << 20;

    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            rows: std::array::from_fn(|_| vec![0; Self::COLUMNS]),
            top: Vec::with_capacity(Self::TOP_MAX),
            since_halving: 0,
        }
    }

    /// A packet of a stranger came.
    pub(crate) fn count(&mut self, title: SystemTitle) {
        self.since_halving += 1;
        if self.since_halving == Self::HALVE_EVERY {
            self.since_halving = 0;
            self.rows.iter_mut().flatten().for_each(|it| *it /= 2);
            self.top.iter_mut().for_each(|(_, count)| *count /= 2);
        }
        // Four columns from one hash: 11 bits each.
        let mut hash = self.key.hash(&[word(title)]);
        let mut estimate = u32::MAX;
        for row in &mut self.rows {
            let column = usize::try_from(hash & 0x7FF).expect("eleven bits fit");
            hash >>= 11;
            row[column] += 1;
            estimate = estimate.min(row[column]);
        }
        if let Some((_, count)) = self.top.iter_mut().find(|(it, _)| *it == title) {
            *count = estimate;
        } else if self.top.len() < Self::TOP_MAX {
            self.top.push((title, estimate));
        } else if let Some(quietest) = self.top.iter_mut().min_by_key(|(_, count)| *count)
            && quietest.1 < estimate
        {
            *quietest = (title, estimate);
        }
    }

    /// The loudest strangers, loudest first.
    pub(crate) fn loudest(&self) -> Vec<(SystemTitle, u32)> {
        let mut loudest = self.top.clone();
        loudest.sort_by_key(|(title, count)| (std::cmp::Reverse(*count), *title));
        loudest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_stranger_is_named_among_many() {
        let mut strangers = Strangers::new(HashKey::new([5, 6]));
        let title = |serial| SystemTitle::new(*b"XXX", serial);
        for round in 0..200_u64 {
            for serial in 0..50 {
                strangers.count(title(1_000 + round * 50 + serial));
            }
            strangers.count(title(7));
            if round % 2 == 0 {
                strangers.count(title(8));
            }
        }
        let loudest = strangers.loudest();
        assert_eq!(loudest.len(), Strangers::TOP_MAX);
        assert_eq!((loudest[0].0, loudest[1].0), (title(7), title(8)));
        assert!((200..=230).contains(&loudest[0].1), "{loudest:?}");
    }

    #[test]
    fn counts_fade() {
        let mut strangers = Strangers::new(HashKey::default());
        let title = SystemTitle(*b"XXX00001");
        for _ in 0..Strangers::HALVE_EVERY {
            strangers.count(title);
        }
        assert_eq!(strangers.loudest()[0].1, Strangers::HALVE_EVERY / 2);
    }
}
