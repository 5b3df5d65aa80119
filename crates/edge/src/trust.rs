//! The last step: P_t = λ₁I + λ₂H + λ₃B + λ₄Q, and the verdict.

use crate::config::ScreeningSettings;
use crate::reason::{Reason, Reasons};
use crate::score::{Score, Scores};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It continues.
    Forward,
    /// It waits for an analyst.
    Quarantine,
    /// It is gone; its reason is counted.
    Drop,
}

/// How a packet was screened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screening {
    /// What becomes of it.
    pub verdict: Verdict,
    /// All that is wrong with it; a forwarded packet may have flaws too.
    pub reasons: Reasons,
    /// Its scores, as far as they were reckoned: what was dropped early has none.
    pub scores: Scores,
}

impl Screening {
    /// A packet that is dropped before it has scores.
    pub const fn dropped(reasons: Reasons) -> Self {
        Self {
            verdict: Verdict::Drop,
            reasons,
            scores: Scores {
                i: Score::NONE,
                h: Score::NONE,
                b: Score::NONE,
                q: Score::NONE,
                p: Score::NONE,
            },
        }
    }

    /// Why it was dropped, if it was.
    pub fn drop_reason(&self) -> Option<Reason> {
        match self.verdict {
            Verdict::Drop => self.reasons.iter().next(),
            Verdict::Forward | Verdict::Quarantine => None,
        }
    }
}

/// The weighed sum, rounded down: a packet never gains by rounding.
pub(crate) fn weigh(settings: &ScreeningSettings, i: Score, h: Score, b: Score, q: Score) -> Score {
    let weights = &settings.weights;
    let sum: u32 = [
        (weights.identity, i),
        (weights.integrity, h),
        (weights.behaviour, b),
        (weights.quality, q),
    ]
    .map(|(weight, score)| u32::from(weight) * u32::from(score.get()))
    .iter()
    .sum();
    Score::saturating(u16::try_from(sum / 10_000).unwrap_or(u16::MAX))
}

/// Weighs the scores and decides. Nothing passes without identity and integrity, whatever the
/// weights and the threshold are.
pub(crate) fn judge(
    settings: &ScreeningSettings,
    i: Score,
    h: Score,
    b: Score,
    q: Score,
    reasons: Reasons,
) -> Screening {
    let p = weigh(settings, i, h, b, q);
    let scores = Scores { i, h, b, q, p };
    let mut reasons = reasons;
    let verdict = if i == Score::NONE || h == Score::NONE {
        Verdict::Drop
    } else if p.get() < settings.threshold {
        reasons.add(Reason::LowTrust);
        Verdict::Quarantine
    } else if b.get() < settings.behaviour_floor || reasons.contains(Reason::Cloned) {
        Verdict::Quarantine
    } else {
        Verdict::Forward
    };
    Screening {
        verdict,
        reasons,
        scores,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ScreeningConfig, Weights};

    #[test]
    fn no_weights_let_a_spoofed_packet_pass() {
        let mut tried = 0;
        for identity in (0..=10_000).step_by(500) {
            for integrity in (0..=10_000 - identity).step_by(500) {
                for behaviour in (0..=10_000 - identity - integrity).step_by(500) {
                    let settings = ScreeningSettings {
                        weights: Weights {
                            identity,
                            integrity,
                            behaviour,
                            quality: 10_000 - identity - integrity - behaviour,
                        },
                        threshold: 1,
                        behaviour_floor: 0,
                        ..ScreeningSettings::default()
                    };
                    ScreeningConfig::new(settings).unwrap();
                    for (i, h) in [
                        (Score::NONE, Score::FULL),
                        (Score::FULL, Score::NONE),
                        (Score::NONE, Score::NONE),
                    ] {
                        let full = Score::FULL;
                        let screening = judge(&settings, i, h, full, full, Reasons::NONE);
                        assert_eq!(screening.verdict, Verdict::Drop, "{settings:?}");
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 5_000, "{tried}");
    }

    #[test]
    fn scores_are_weighed_as_the_design_says() {
        let score = |raw| Score::new(raw).unwrap();
        let settings = ScreeningSettings::default();
        let none = Reasons::NONE;
        let cloned = Reasons::of(Reason::Cloned);
        let cases = [
            (
                (10_000, 10_000, 10_000, 10_000),
                none,
                10_000,
                Verdict::Forward,
            ),
            ((0, 10_000, 10_000, 10_000), none, 6_500, Verdict::Drop),
            ((10_000, 0, 10_000, 10_000), none, 6_500, Verdict::Drop),
            (
                (5_000, 10_000, 10_000, 10_000),
                none,
                8_250,
                Verdict::Forward,
            ),
            (
                (5_000, 10_000, 3_000, 10_000),
                none,
                6_850,
                Verdict::Quarantine,
            ),
            (
                (5_000, 10_000, 3_749, 10_000),
                none,
                6_999,
                Verdict::Quarantine,
            ),
            (
                (5_000, 10_000, 3_750, 10_000),
                none,
                7_000,
                Verdict::Forward,
            ),
            ((10_000, 10_000, 2_500, 0), none, 7_500, Verdict::Forward),
            // The threshold alone would forward these two.
            (
                (10_000, 10_000, 2_499, 10_000),
                none,
                8_499,
                Verdict::Quarantine,
            ),
            ((10_000, 10_000, 0, 0), none, 7_000, Verdict::Quarantine),
            (
                (5_000, 10_000, 10_000, 10_000),
                cloned,
                8_250,
                Verdict::Quarantine,
            ),
        ];
        for ((i, h, b, q), reasons, p, verdict) in cases {
            let found = judge(&settings, score(i), score(h), score(b), score(q), reasons);
            assert_eq!(found.scores.p.get(), p, "{i} {h} {b} {q}");
            assert_eq!(found.verdict, verdict, "{i} {h} {b} {q}");
            let low = found.reasons.contains(Reason::LowTrust);
            assert_eq!(low, verdict == Verdict::Quarantine && p < 7_000);
        }
    }
}
