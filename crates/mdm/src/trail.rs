//! The register sum check, for intervals that arrive in any order.
//!
//! Accepted intervals that touch are joined into runs, so a meter that delivers in order costs
//! one run however long it lives. A run knows the register at both of its edges, and between any
//! two edges the register must have advanced by no less than nothing and by no more than the fuse
//! lets through in the intervals missing between them. Where none is missing, that is equality.

use gridloom_core::{MilliwattHours, Period, UtcTime};

use crate::rule::{Fault, RegisterEvidence};

/// Runs remembered per meter profile. One more makes the oldest forgotten: intervals before
/// the oldest run are then checked on their later side only.
pub const RUNS_MAX: usize = 8;

/// An unbroken stretch of accepted intervals, with the register at its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: UtcTime,
    pub(crate) at_from: MilliwattHours,
    pub(crate) to: UtcTime,
    pub(crate) at_to: MilliwattHours,
}

/// Whether the interval was known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    First,
    Again,
}

/// What is remembered of one meter profile, in order of time; runs neither overlap nor touch.
#[derive(Debug, Clone, Default)]
pub(crate) struct RegisterTrail {
    runs: Vec<Run>,
}

impl RegisterTrail {
    /// Holds `interval` (one period long, on the grid) against its neighbours and remembers it
    /// if it agrees.
    pub(crate) fn admit(
        &mut self,
        interval: Run,
        period: Period,
        energy_max: MilliwattHours,
    ) -> Result<Seen, Fault> {
        let next = self.runs.partition_point(|run| run.to < interval.to);
        let bound = Bound { period, energy_max };
        if let Some(run) = self.runs.get(next).copied()
            && run.from < interval.to
        {
            bound.check(edge(run.from, run.at_from), interval, Side::Start)?;
            bound.check(edge(run.to, run.at_to), interval, Side::End)?;
            return Ok(Seen::Again);
        }
        let left = next.checked_sub(1).map(|index| self.runs[index]);
        let right = self.runs.get(next).copied();
        if let Some(run) = left {
            bound.check(edge(run.to, run.at_to), interval, Side::Start)?;
        }
        if let Some(run) = right {
            if run.at_to < interval.at_to {
                return Err(Fault::RegisterRollback(RegisterEvidence {
                    from: interval.to,
                    earlier: interval.at_to,
                    to: run.to,
                    later: run.at_to,
                }));
            }
            bound.check(edge(run.from, run.at_from), interval, Side::End)?;
        }
        self.join(next, interval);
        Ok(Seen::First)
    }

    fn join(&mut self, next: usize, interval: Run) {
        let touches_left = next > 0 && self.runs[next - 1].to == interval.from;
        let touches_right = self
            .runs
            .get(next)
            .is_some_and(|run| run.from == interval.to);
        match (touches_left, touches_right) {
            (true, true) => {
                let right = self.runs.remove(next);
                let left = &mut self.runs[next - 1];
                left.to = right.to;
                left.at_to = right.at_to;
            }
            (true, false) => {
                let left = &mut self.runs[next - 1];
                left.to = interval.to;
                left.at_to = interval.at_to;
            }
            (false, true) => {
                let right = &mut self.runs[next];
                right.from = interval.from;
                right.at_from = interval.at_from;
            }
            (false, false) => {
                self.runs.insert(next, interval);
                if self.runs.len() > RUNS_MAX {
                    self.runs.remove(0);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Edge {
    time: UtcTime,
    register: MilliwattHours,
}

const fn edge(time: UtcTime, register: MilliwattHours) -> Edge {
    Edge { time, register }
}

/// Which side of the interval a known edge lies on.
#[derive(Clone, Copy)]
enum Side {
    /// The edge is at or before the interval's start.
    Start,
    /// The edge is at or after the interval's end.
    End,
}

struct Bound {
    period: Period,
    energy_max: MilliwattHours,
}

impl Bound {
    fn check(&self, known: Edge, interval: Run, side: Side) -> Result<(), Fault> {
        let (from, to) = match side {
            Side::Start => (known, edge(interval.from, interval.at_from)),
            Side::End => (edge(interval.to, interval.at_to), known),
        };
        let evidence = RegisterEvidence {
            from: from.time,
            earlier: from.register,
            to: to.time,
            later: to.register,
        };
        // Registers are non-negative, so the difference cannot overflow.
        let advance = to.register.get() - from.register.get();
        let missing = to.time.since(from.time).as_secs() / u64::from(self.period.as_secs());
        if advance < 0 {
            // At its own end even the interval's energy did not bring the register back up.
            let rollback = matches!(side, Side::Start) && interval.at_to < known.register;
            return Err(if rollback {
                Fault::RegisterRollback(RegisterEvidence {
                    to: interval.to,
                    later: interval.at_to,
                    ..evidence
                })
            } else {
                Fault::RegisterShort(evidence)
            });
        }
        if i128::from(advance) > i128::from(missing) * i128::from(self.energy_max.get()) {
            return Err(Fault::RegisterExcess(evidence));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Rule;
    use gridloom_core::Seed;

    const PERIOD: Period = Period::HOUR;
    const MAX: MilliwattHours = MilliwattHours::new(1_000);

    /// The interval of the `hour`-th hour, with the register at its start and end.
    fn hour(hour: i64, at_from: i64, at_to: i64) -> Run {
        Run {
            from: UtcTime::from_secs(hour * 3_600),
            at_from: MilliwattHours::new(at_from),
            to: UtcTime::from_secs((hour + 1) * 3_600),
            at_to: MilliwattHours::new(at_to),
        }
    }

    #[test]
    fn neighbours_must_agree() {
        use Rule::{RegisterExcess, RegisterRollback, RegisterShort};
        // What is known, what comes, what it breaks.
        let cases: [(&[Run], Run, Result<Seen, Rule>); 16] = [
            (&[], hour(5, 100, 200), Ok(Seen::First)),
            // After the known one, none missing: equality.
            (&[hour(4, 0, 100)], hour(5, 100, 200), Ok(Seen::First)),
            (&[hour(4, 0, 100)], hour(5, 101, 200), Err(RegisterExcess)),
            (&[hour(4, 0, 100)], hour(5, 99, 200), Err(RegisterShort)),
            (&[hour(4, 0, 100)], hour(5, 0, 99), Err(RegisterRollback)),
            // After it, two missing: anything a fuse lets through.
            (&[hour(2, 0, 100)], hour(5, 100, 200), Ok(Seen::First)),
            (&[hour(2, 0, 100)], hour(5, 2_100, 2_200), Ok(Seen::First)),
            (
                &[hour(2, 0, 100)],
                hour(5, 2_101, 2_200),
                Err(RegisterExcess),
            ),
            (&[hour(2, 0, 100)], hour(5, 10, 90), Err(RegisterRollback)),
            // Before the known one.
            (&[hour(6, 200, 300)], hour(5, 100, 200), Ok(Seen::First)),
            (&[hour(6, 200, 300)], hour(5, 100, 201), Err(RegisterShort)),
            (&[hour(6, 200, 300)], hour(5, 100, 199), Err(RegisterExcess)),
            (
                &[hour(6, 200, 300)],
                hour(5, 250, 301),
                Err(RegisterRollback),
            ),
            // Between two: both sides must agree.
            (
                &[hour(4, 0, 100), hour(6, 200, 300)],
                hour(5, 100, 200),
                Ok(Seen::First),
            ),
            (
                &[hour(4, 0, 100), hour(6, 200, 300)],
                hour(5, 100, 150),
                Err(RegisterExcess),
            ),
            // Known already.
            (
                &[hour(4, 0, 100), hour(5, 100, 200)],
                hour(5, 100, 200),
                Ok(Seen::Again),
            ),
        ];
        for (known, comes, expected) in cases {
            let mut trail = RegisterTrail::default();
            for &run in known {
                assert_eq!(trail.admit(run, PERIOD, MAX), Ok(Seen::First));
            }
            let before = trail.runs.clone();
            let got = trail
                .admit(comes, PERIOD, MAX)
                .map_err(|fault| fault.rule());
            assert_eq!(got, expected, "{known:?} then {comes:?}");
            if got.is_err() {
                assert_eq!(trail.runs, before, "a refused interval leaves no trace");
            }
        }
    }

    #[test]
    fn a_contradicting_redelivery_is_refused() {
        // Known: 0 at the start of hour 3, 10 at its end (inside the run), 100 at the end of hour 4.
        let cases = [
            (hour(4, 10, 100), Ok(Seen::Again)),
            (hour(4, 10, 120), Err(Rule::RegisterShort)),
            (hour(4, 10, 90), Err(Rule::RegisterExcess)),
            (hour(3, 5, 10), Err(Rule::RegisterExcess)),
        ];
        for (comes, expected) in cases {
            let mut trail = RegisterTrail::default();
            trail.admit(hour(3, 0, 10), PERIOD, MAX).unwrap();
            trail.admit(hour(4, 10, 100), PERIOD, MAX).unwrap();
            let got = trail
                .admit(comes, PERIOD, MAX)
                .map_err(|fault| fault.rule());
            assert_eq!(got, expected, "{comes:?}");
        }
    }

    #[test]
    fn any_order_of_a_true_register_is_accepted_and_ends_in_one_run() {
        for seed in 0..200 {
            let seed = Seed::new(seed);
            let draw = |index: u64, below: u64| seed.nth(index).get() % below;
            let mut register = 0;
            let mut intervals: Vec<Run> = (0..RUNS_MAX as i64 * 2)
                .map(|index| {
                    let from = register;
                    register += i64::try_from(draw(index.unsigned_abs(), 1_001)).unwrap();
                    hour(index, from, register)
                })
                .collect();
            // Any order of 2n intervals makes at most n runs: nothing is forgotten.
            for last in (1..intervals.len()).rev() {
                let other = draw(1_000 + last as u64, last as u64 + 1);
                intervals.swap(last, usize::try_from(other).unwrap());
            }
            let mut trail = RegisterTrail::default();
            for &interval in &intervals {
                assert_eq!(
                    trail.admit(interval, PERIOD, MAX),
                    Ok(Seen::First),
                    "{seed:?}"
                );
            }
            assert_eq!(trail.runs.len(), 1, "{seed:?}");
            for &interval in &intervals {
                assert_eq!(
                    trail.admit(interval, PERIOD, MAX),
                    Ok(Seen::Again),
                    "{seed:?}"
                );
            }
        }
    }

    #[test]
    fn the_oldest_run_is_forgotten_at_the_bound() {
        let mut trail = RegisterTrail::default();
        let every_other = |index: i64| hour(index * 2, index * 10, index * 10 + 5);
        for index in 0..=RUNS_MAX as i64 {
            trail.admit(every_other(index), PERIOD, MAX).unwrap();
        }
        assert_eq!(trail.runs.len(), RUNS_MAX);
        assert_eq!(trail.runs[0], every_other(1));
        // Before the oldest run only the later side is checked, and it still is.
        let early = |at_to| trail.clone().admit(hour(0, 0, at_to), PERIOD, MAX);
        assert_eq!(early(7), Ok(Seen::First));
        assert_eq!(
            early(11).map_err(|fault| fault.rule()),
            Err(Rule::RegisterShort)
        );
    }
}
