//! Many seeds of each assault, summed into one row.

use std::collections::BTreeMap;

use serde::Serialize;

use super::outcome::{AttackError, AttackOutcome, Deeds, Refusal};
use super::{Assault, Class};

/// One assault over many seeds. Shares are in hundredths of a percent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttackRow {
    /// Which.
    pub assault: &'static str,
    /// Whose attack it is.
    pub class: &'static str,
    /// What happens, in a sentence.
    pub words: &'static str,
    /// Runs.
    pub runs: u64,
    /// What was done in all of them.
    pub deeds: Deeds,
    /// Packets that edges forwarded, honest ones included.
    pub forwarded: u64,
    /// Packets that they quarantined.
    pub quarantined: u64,
    /// Packets that they dropped.
    pub dropped: u64,
    /// Frames for other clients than the edge, from where no believed meter is.
    pub strayed: u64,
    /// Frames for other clients, handed up as what the meter last believed on that path said.
    pub tunnelled: u64,
    /// Why, most frequent first.
    pub reasons: Vec<Refusal>,
    /// Honest readings that were due when the attack ended.
    pub honest_due: u64,
    /// The share of them that was acknowledged by then.
    pub honest_in_time_bp: u64,
    /// Honest readings in the end, all of them in the store.
    pub honest_stored: u64,
    /// The share of runs with an incident.
    pub detected_bp: u64,
    /// The median of the time to the first incident, in seconds, where there was one.
    pub after_s_median: Option<u64>,
    /// The longest such time.
    pub after_s_max: Option<u64>,
    /// Runs in which some meter was named.
    pub named: u64,
    /// Runs in which the first meter named was a culprit.
    pub named_right: u64,
    /// Incidents before the attack, or about honest meters.
    pub false_alarms: u64,
}

/// Every assault over the same seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttackStudy {
    /// The first seed.
    pub first_seed: u64,
    /// Seeds.
    pub seeds: u64,
    /// The rows.
    pub rows: Vec<AttackRow>,
}

impl AttackStudy {
    /// Runs assaults over seeds.
    ///
    /// # Errors
    ///
    /// [`AttackError`]: what does not hold, and with which seed.
    pub fn run(assaults: &[Assault], first_seed: u64, seeds: u64) -> Result<Self, AttackError> {
        let rows = assaults
            .iter()
            .map(|assault| AttackRow::run(*assault, first_seed, seeds))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            first_seed,
            seeds,
            rows,
        })
    }
}

impl AttackRow {
    /// Runs one assault over seeds.
    ///
    /// # Errors
    ///
    /// [`AttackError`]: what does not hold, and with which seed.
    pub fn run(assault: Assault, first_seed: u64, seeds: u64) -> Result<Self, AttackError> {
        let outcomes = (first_seed..first_seed.saturating_add(seeds))
            .map(|seed| assault.run(seed))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(assault, &outcomes))
    }

    fn of(assault: Assault, outcomes: &[AttackOutcome]) -> Self {
        let runs = outcomes.len() as u64;
        let sum = |of: fn(&AttackOutcome) -> u64| outcomes.iter().map(of).sum::<u64>();
        let mut deeds = Deeds::default();
        let mut reasons = BTreeMap::new();
        for outcome in outcomes {
            deeds.add(&outcome.deeds);
            for refusal in &outcome.reasons {
                *reasons.entry(refusal.reason).or_insert(0) += refusal.packets;
            }
        }
        let mut reasons: Vec<Refusal> = reasons
            .into_iter()
            .map(|(reason, packets)| Refusal { reason, packets })
            .collect();
        reasons.sort_by_key(|refusal| std::cmp::Reverse(refusal.packets));
        let mut after: Vec<u64> = outcomes
            .iter()
            .filter_map(|it| it.detected_after_s)
            .collect();
        after.sort_unstable();
        let honest_due = sum(|it| it.honest_due);
        let is = |named: bool| {
            outcomes
                .iter()
                .filter(|it| it.named_right == Some(named))
                .count()
        };
        Self {
            assault: assault.name(),
            class: assault.class().name(),
            words: assault.words(),
            runs,
            deeds,
            forwarded: sum(|it| it.forwarded),
            quarantined: sum(|it| it.quarantined),
            dropped: sum(|it| it.dropped),
            strayed: sum(|it| it.strayed),
            tunnelled: sum(|it| it.tunnelled),
            reasons,
            honest_due,
            honest_in_time_bp: share(sum(|it| it.honest_in_time), honest_due),
            honest_stored: sum(|it| it.honest_stored),
            detected_bp: share(after.len() as u64, runs),
            after_s_median: after.get(after.len() / 2).copied(),
            after_s_max: after.last().copied(),
            named: (is(true) + is(false)) as u64,
            named_right: is(true) as u64,
            false_alarms: sum(|it| it.false_alarms),
        }
    }

    /// Whether this is an attack of this class.
    pub fn is(&self, class: Class) -> bool {
        self.class == class.name()
    }
}

/// Hundredths of a percent, cut; a share of nothing is all of it.
fn share(part: u64, whole: u64) -> u64 {
    (part * 10_000).checked_div(whole).unwrap_or(10_000)
}
