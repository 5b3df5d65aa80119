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

    #[cfg(test)]
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
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
