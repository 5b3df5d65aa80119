//! The validator: every rule, in a fixed order, on one interval at a time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use gridloom_core::{
    IntervalReading, IntervalValues, MeterId, MilliwattHours, Period, ReadingStatus, UtcTime,
};

use crate::interval::{REGISTER_AGREED, StoredInterval, ValidatedInterval, Warning, Warnings};
use crate::limits::{MeterLimits, PowerTriangle};
use crate::rule::{Exception, Fault, RegisterEvidence, Rule};
use crate::trail::{RegisterTrail, Run, Seen};

/// The number of rules.
pub const RULE_COUNT: usize = Rule::ALL.len();

/// Meter profiles whose registers one validator remembers at most. The first reading of one more
/// is refused ([`Rule::HistoryFull`]): a register that cannot be remembered cannot be checked.
pub const PROFILES_MAX: usize = 4_000_000;

/// How far a meter's clock may run ahead of ours before its interval counts as not yet ended.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(300);

/// The earliest interval end accepted, 2000-01-01: a meter that lost its clock restarts there
/// or earlier.
pub const EARLIEST_END: UtcTime = UtcTime::from_secs(946_684_800);

/// One step of a register, 1 Wh, 1 varh or 1 VAh, in milli-units: the difference of two truncated
/// registers is off by less than this.
const REGISTER_STEP: i128 = 1_000;

/// What a validator has seen since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValidatorCounts {
    accepted: u64,
    repeated: u64,
    refused: [u64; RULE_COUNT],
    warned: [u64; Warning::ALL.len()],
}

impl ValidatorCounts {
    /// Intervals accepted for the first time.
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Intervals accepted again: redeliveries.
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Intervals refused by `rule`.
    pub const fn refused(&self, rule: Rule) -> u64 {
        self.refused[rule as usize]
    }

    /// Intervals refused by any rule.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }

    /// Intervals accepted for the first time with `warning`.
    pub fn warned(&self, warning: Warning) -> u64 {
        Warning::ALL
            .iter()
            .zip(self.warned)
            .find_map(|(&each, count)| (each == warning).then_some(count))
            .expect("every warning is in its list")
    }
}

/// Makes validated intervals: the only place that does.
///
/// What it remembers of a meter (a few register values) is soft: after a restart it starts anew,
/// or is fed the readings of the open days again. It holds no clock; the caller brings the time.
#[derive(Debug)]
pub struct Validator {
    trails: BTreeMap<(MeterId, Period), RegisterTrail>,
    profiles_max: usize,
    counts: ValidatorCounts,
}

impl Default for Validator {
    fn default() -> Self {
        Self::new()
    }
}

impl Validator {
    /// A validator that remembers nothing yet.
    pub const fn new() -> Self {
        Self::with_profiles_max(PROFILES_MAX)
    }

    /// A validator that remembers at most `profiles_max` meter profiles.
    pub const fn with_profiles_max(profiles_max: usize) -> Self {
        Self {
            trails: BTreeMap::new(),
            profiles_max,
            counts: ValidatorCounts {
                accepted: 0,
                repeated: 0,
                refused: [0; RULE_COUNT],
                warned: [0; Warning::ALL.len()],
            },
        }
    }

    /// Validates a reading as it came from the meter, whatever came before or after it.
    ///
    /// A redelivery of an accepted reading is accepted again. A refused reading leaves no trace
    /// but its count, so it cannot make a good one fail.
    ///
    /// # Errors
    ///
    /// [`Exception`] with the first rule broken, in the order of [`Rule`].
    pub fn validate(
        &mut self,
        reading: IntervalReading,
        limits: &MeterLimits,
        now: UtcTime,
    ) -> Result<ValidatedInterval, Exception> {
        let interval = StoredInterval::from(&reading);
        let judged = self.judge(&reading, &interval, limits, now);
        match judged {
            Ok(seen) => {
                let warnings = warnings(&interval, limits);
                match seen {
                    Seen::First => {
                        self.counts.accepted += 1;
                        for (warning, count) in
                            Warning::ALL.into_iter().zip(&mut self.counts.warned)
                        {
                            *count += u64::from(warnings.contains(warning));
                        }
                    }
                    Seen::Again => self.counts.repeated += 1,
                }
                Ok(ValidatedInterval::new(&interval, warnings))
            }
            Err(fault) => {
                self.counts.refused[fault.rule() as usize] += 1;
                Err(exception(&interval, fault))
            }
        }
    }

    /// Validates an interval read back from storage.
    ///
    /// Every rule that needs neither the register nor the time of arrival runs again. The
    /// register sum cannot, because storage keeps no registers: its verdict is the mark that
    /// [`ValidatedInterval::stored_status`] put into the stored status, and an interval without
    /// the mark is refused. Nothing is counted: billing a month twice is not news.
    ///
    /// # Errors
    ///
    /// [`Exception`] with the first rule broken.
    pub fn validate_stored(
        stored: StoredInterval,
        limits: &MeterLimits,
    ) -> Result<ValidatedInterval, Exception> {
        let own_flags = StoredInterval {
            status: ReadingStatus(stored.status.0 & !REGISTER_AGREED.0),
            ..stored
        };
        if !stored.status.contains(REGISTER_AGREED) {
            return Err(exception(&stored, Fault::RegisterUnchecked(stored.status)));
        }
        standing_rules(&own_flags, limits)
            .map(|()| ValidatedInterval::new(&own_flags, warnings(&own_flags, limits)))
            .map_err(|fault| exception(&stored, fault))
    }

    /// Forgets the registers of a meter: it was exchanged, retired, or its register was reset
    /// under supervision. The next reading starts a new history.
    pub fn forget(&mut self, meter: MeterId) {
        let (first, last) = (
            Period::from_secs(1).expect("a second divides the hour"),
            Period::HOUR,
        );
        let profiles: Vec<_> = self
            .trails
            .range((meter, first)..=(meter, last))
            .map(|(&profile, _)| profile)
            .collect();
        for profile in profiles {
            self.trails.remove(&profile);
        }
    }

    /// What was accepted, refused and warned about.
    pub const fn counts(&self) -> &ValidatorCounts {
        &self.counts
    }

    fn judge(
        &mut self,
        reading: &IntervalReading,
        interval: &StoredInterval,
        limits: &MeterLimits,
        now: UtcTime,
    ) -> Result<Seen, Fault> {
        if reading.status.0 & REGISTER_AGREED.0 != 0 {
            return Err(Fault::ReservedFlag(reading.status));
        }
        standing_rules(interval, limits)?;
        let latest = now + FUTURE_TOLERANCE;
        if reading.end > latest {
            return Err(Fault::InFuture { latest });
        }
        let at_to = reading.import_register;
        if at_to < MilliwattHours::ZERO {
            return Err(Fault::NegativeEnergy {
                channel: "the import register",
                milli: at_to.get(),
            });
        }
        let run = Run {
            from: reading.end - reading.period.duration(),
            at_from: at_to - reading.values.import,
            to: reading.end,
            at_to,
        };
        if run.at_from < MilliwattHours::ZERO {
            return Err(Fault::RegisterShort(RegisterEvidence {
                from: run.from,
                earlier: MilliwattHours::ZERO,
                to: run.from,
                later: run.at_from,
            }));
        }
        let profile = (reading.meter, reading.period);
        let remembered = self.trails.len();
        let trail = match self.trails.entry(profile) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if remembered >= self.profiles_max => {
                return Err(Fault::HistoryFull(remembered));
            }
            Entry::Vacant(new) => new.insert(RegisterTrail::default()),
        };
        trail.admit(run, reading.period, limits.energy_max(reading.period))
    }
}

fn exception(interval: &StoredInterval, fault: Fault) -> Exception {
    Exception {
        meter: interval.meter,
        end: interval.end,
        status: interval.status,
        fault,
    }
}

/// The rules that need nothing but the interval itself.
fn standing_rules(interval: &StoredInterval, limits: &MeterLimits) -> Result<(), Fault> {
    let status = interval.status;
    if status.contains(ReadingStatus::CRITICAL_ERROR) {
        return Err(Fault::CriticalError(status));
    }
    if status.contains(ReadingStatus::DATA_NOT_VALID) {
        return Err(Fault::DataNotValid(status));
    }
    if status.contains(ReadingStatus::CLOCK_INVALID) {
        return Err(Fault::ClockInvalid(status));
    }
    let length_ms = i64::from(interval.period.as_secs()) * 1_000;
    if interval.end.as_millis().rem_euclid(length_ms) != 0 {
        return Err(Fault::OffGrid(interval.period));
    }
    if interval.end < EARLIEST_END {
        return Err(Fault::TooOld {
            earliest: EARLIEST_END,
        });
    }
    non_negative(&interval.values)?;
    within_fuse(&interval.values, limits.energy_max(interval.period))?;
    match limits.triangle() {
        PowerTriangle::Captured => triangle(&interval.values),
        PowerTriangle::NotCaptured => Ok(()),
    }
}

fn non_negative(values: &IntervalValues) -> Result<(), Fault> {
    let [q1, q2, q3, q4] = values.reactive;
    let channels = [
        ("active energy imported", values.import.get()),
        ("active energy exported", values.export.get()),
        ("reactive energy of quadrant I", q1.get()),
        ("reactive energy of quadrant II", q2.get()),
        ("reactive energy of quadrant III", q3.get()),
        ("reactive energy of quadrant IV", q4.get()),
        ("apparent energy", values.apparent.get()),
    ];
    match channels.into_iter().find(|&(_, milli)| milli < 0) {
        Some((channel, milli)) => Err(Fault::NegativeEnergy { channel, milli }),
        None => Ok(()),
    }
}

/// Active power flows one way at a time and reactive power sits in one quadrant at a time, so the
/// limit holds for the sums.
fn within_fuse(values: &IntervalValues, max: MilliwattHours) -> Result<(), Fault> {
    let wide = |milli: i64| i128::from(milli);
    let sums = [
        (
            "active energy",
            wide(values.import.get()) + wide(values.export.get()),
        ),
        (
            "reactive energy",
            values.reactive.iter().map(|q| wide(q.get())).sum(),
        ),
        ("apparent energy", wide(values.apparent.get())),
    ];
    match sums
        .into_iter()
        .find(|&(_, milli)| milli > wide(max.get()) + REGISTER_STEP)
    {
        Some((channel, milli)) => Err(Fault::FuseLimit {
            channel,
            milli,
            max: max.get(),
        }),
        None => Ok(()),
    }
}

/// S ≥ √(P² + Q²) holds for the energies of an interval because it holds at every moment
/// (triangle inequality); equality needs a constant power factor. Apparent energy is counted while
/// active energy is imported, hence quadrants I and IV. Every channel is a difference of truncated
/// registers and may be off by one step.
fn triangle(values: &IntervalValues) -> Result<(), Fault> {
    let [q1, _, _, q4] = values.reactive.map(|q| i128::from(q.get()));
    // Most intervals are settled without squares: (P + Q)² ≥ P² + Q².
    if i128::from(values.apparent.get()) >= i128::from(values.import.get()) + q1 + q4 {
        return Ok(());
    }
    let s = i128::from(values.apparent.get()) + REGISTER_STEP;
    let p = (i128::from(values.import.get()) - REGISTER_STEP).max(0);
    let q = (q1 + q4 - 2 * REGISTER_STEP).max(0);
    // Within the fuse all three are far below 2⁶³: the squares fit.
    if s * s < p * p + q * q {
        return Err(Fault::PowerTriangle {
            apparent: values.apparent.get(),
            active: values.import.get(),
            reactive: q1 + q4,
        });
    }
    Ok(())
}

fn warnings(interval: &StoredInterval, limits: &MeterLimits) -> Warnings {
    let (low, high) = limits.voltage_band();
    let found = [
        interval.status.contains(ReadingStatus::POWER_DOWN),
        interval.status.contains(ReadingStatus::CLOCK_ADJUSTED),
        !(low..=high).contains(&interval.values.voltage),
    ];
    Warning::ALL
        .into_iter()
        .zip(found)
        .filter(|&(_, found)| found)
        .fold(Warnings::default(), |all, (warning, _)| all.with(warning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Phases;
    use gridloom_core::{MillivarHours, MillivoltAmpereHours, Millivolts};

    const NOW: UtcTime = UtcTime::from_secs(1_357_050_000); // 2013-01-01T14:20:00Z

    fn limits() -> MeterLimits {
        // 10 A × 253 V = 2 530 W: 1 265 Wh in half an hour.
        MeterLimits::new(
            10,
            Phases::One,
            Millivolts::new(230_000),
            PowerTriangle::Captured,
        )
        .unwrap()
    }

    /// A good half hour of 300 Wh, 100 varh and 317 VAh.
    fn good() -> IntervalReading {
        IntervalReading {
            meter: MeterId(5),
            period: Period::HALF_HOUR,
            end: UtcTime::parse("2013-01-01T10:30:00Z").unwrap(),
            status: ReadingStatus::GOOD,
            values: IntervalValues {
                import: MilliwattHours::new(300_000),
                export: MilliwattHours::ZERO,
                reactive: [100_000, 0, 0, 0].map(MillivarHours::new),
                apparent: MillivoltAmpereHours::new(317_000),
                voltage: Millivolts::new(231_000),
            },
            import_register: MilliwattHours::new(5_000_000),
        }
    }

    fn with(change: impl FnOnce(&mut IntervalReading)) -> IntervalReading {
        let mut reading = good();
        change(&mut reading);
        reading
    }

    fn flagged(status: ReadingStatus) -> IntervalReading {
        with(|r| r.status = status)
    }

    /// Readings that need no history to be judged, and whether storage would show it too.
    fn cases() -> Vec<(&'static str, IntervalReading, Option<Rule>)> {
        let mwh = MilliwattHours::new;
        vec![
            ("good", good(), None),
            (
                "reserved",
                flagged(REGISTER_AGREED),
                Some(Rule::ReservedFlag),
            ),
            (
                "critical",
                flagged(ReadingStatus::CRITICAL_ERROR),
                Some(Rule::CriticalError),
            ),
            (
                "invalid",
                flagged(ReadingStatus::DATA_NOT_VALID),
                Some(Rule::DataNotValid),
            ),
            (
                "clock",
                flagged(ReadingStatus::CLOCK_INVALID),
                Some(Rule::ClockInvalid),
            ),
            (
                "the first broken rule is named",
                flagged(ReadingStatus::CLOCK_INVALID.with(ReadingStatus::DATA_NOT_VALID)),
                Some(Rule::DataNotValid),
            ),
            (
                "off grid",
                with(|r| r.end = r.end + Duration::from_millis(1)),
                Some(Rule::OffGrid),
            ),
            (
                "before 2000",
                with(|r| r.end = UtcTime::from_secs(946_683_000)),
                Some(Rule::TooOld),
            ),
            ("at 2000", with(|r| r.end = EARLIEST_END), None),
            (
                "first of time",
                with(|r| r.end = UtcTime::from_millis(i64::MIN)),
                Some(Rule::OffGrid),
            ),
            (
                "ends within the tolerance",
                with(|r| r.end = UtcTime::parse("2013-01-01T14:00:00Z").unwrap()),
                None,
            ),
            (
                "ends in ten minutes",
                with(|r| r.end = UtcTime::parse("2013-01-01T14:30:00Z").unwrap()),
                Some(Rule::InFuture),
            ),
            (
                "last of time",
                with(|r| r.end = UtcTime::from_secs(i64::MAX / 1_800_000 * 1_800)),
                Some(Rule::InFuture),
            ),
            (
                "import below zero",
                with(|r| r.values.import = mwh(-1)),
                Some(Rule::NegativeEnergy),
            ),
            (
                "export below zero",
                with(|r| r.values.export = mwh(i64::MIN)),
                Some(Rule::NegativeEnergy),
            ),
            (
                "reactive below zero",
                with(|r| r.values.reactive[3] = MillivarHours::new(-1)),
                Some(Rule::NegativeEnergy),
            ),
            (
                "apparent below zero",
                with(|r| r.values.apparent = MillivoltAmpereHours::new(-1)),
                Some(Rule::NegativeEnergy),
            ),
            (
                "register below zero",
                with(|r| r.import_register = mwh(-1)),
                Some(Rule::NegativeEnergy),
            ),
            (
                "all the fuse lets through",
                with(|r| {
                    r.values.import = mwh(1_266_000);
                    r.values.reactive = [MillivarHours::ZERO; 4];
                    r.values.apparent = MillivoltAmpereHours::new(1_266_000);
                }),
                None,
            ),
            (
                "more than the fuse",
                with(|r| r.values.import = mwh(1_266_001)),
                Some(Rule::FuseLimit),
            ),
            (
                "import and export",
                with(|r| r.values.export = mwh(966_001)),
                Some(Rule::FuseLimit),
            ),
            (
                "import without end",
                with(|r| r.values.import = mwh(i64::MAX)),
                Some(Rule::FuseLimit),
            ),
            (
                "reactive without end",
                with(|r| r.values.reactive = [MillivarHours::new(i64::MAX); 4]),
                Some(Rule::FuseLimit),
            ),
            (
                "apparent without end",
                with(|r| r.values.apparent = MillivoltAmpereHours::new(i64::MAX)),
                Some(Rule::FuseLimit),
            ),
            // √(300² + 100²) = 316.2; one step of truncation per register is forgiven.
            (
                "apparent rounded down",
                with(|r| r.values.apparent = MillivoltAmpereHours::new(314_000)),
                None,
            ),
            (
                "apparent below active",
                with(|r| r.values.apparent = MillivoltAmpereHours::new(298_000)),
                Some(Rule::PowerTriangle),
            ),
            (
                "apparent below active and reactive",
                with(|r| r.values.apparent = MillivoltAmpereHours::new(310_000)),
                Some(Rule::PowerTriangle),
            ),
            (
                "capacitive reactive energy counts too",
                with(|r| {
                    r.values.reactive = [0, 0, 0, 100_000].map(MillivarHours::new);
                    r.values.apparent = MillivoltAmpereHours::new(310_000);
                }),
                Some(Rule::PowerTriangle),
            ),
            (
                "reactive energy during export does not",
                with(|r| {
                    r.values.reactive = [0, 100_000, 100_000, 0].map(MillivarHours::new);
                    r.values.apparent = MillivoltAmpereHours::new(300_000);
                }),
                None,
            ),
            (
                "apparent far above, a poor power factor",
                with(|r| r.values.apparent = MillivoltAmpereHours::new(900_000)),
                None,
            ),
            (
                "a register below its own interval",
                with(|r| r.import_register = mwh(299_999)),
                Some(Rule::RegisterShort),
            ),
        ]
    }

    #[test]
    fn each_rule_refuses_by_name_and_is_counted() {
        for (name, reading, expected) in cases() {
            let mut validator = Validator::new();
            let got = validator.validate(reading, &limits(), NOW);
            assert_eq!(
                got.map(|_| ()).map_err(|e| e.rule()).err(),
                expected,
                "{name}"
            );
            let counts = validator.counts();
            assert_eq!(counts.accepted(), u64::from(expected.is_none()), "{name}");
            for rule in Rule::ALL {
                assert_eq!(
                    counts.refused(rule),
                    u64::from(Some(rule) == expected),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn storage_repeats_every_rule_but_the_register() {
        for (name, reading, expected) in cases() {
            let judged = Validator::new().validate(reading, &limits(), NOW);
            let stored = StoredInterval {
                status: match &judged {
                    Ok(valid) => valid.stored_status(),
                    Err(refused) => refused.stored_status(),
                },
                ..StoredInterval::from(&reading)
            };
            let again = Validator::validate_stored(stored, &limits());
            if let Ok(valid) = judged {
                assert_eq!(again, Ok(valid), "{name}: the very same interval");
            } else {
                assert_eq!(
                    again.map_err(|e| e.rule()),
                    Err(Rule::RegisterUnchecked),
                    "{name}"
                );
            }
            // A mark on a bad interval, as from a corrupted block, does not help it.
            let marked = StoredInterval {
                status: reading.status.with(REGISTER_AGREED),
                ..stored
            };
            let arrival_only = [
                Rule::ReservedFlag,
                Rule::InFuture,
                Rule::RegisterShort,
                Rule::NegativeEnergy,
            ];
            match expected {
                Some(rule) if !arrival_only.contains(&rule) => assert_eq!(
                    Validator::validate_stored(marked, &limits()).map_err(|e| e.rule()),
                    Err(rule),
                    "{name}"
                ),
                Some(_) | None => {}
            }
        }
    }

    #[test]
    fn a_refused_register_cannot_come_back_through_storage() {
        let mut validator = Validator::new();
        validator.validate(good(), &limits(), NOW).unwrap();
        let rolled_back = with(|r| {
            r.end = r.end + r.period.duration();
            r.import_register = MilliwattHours::new(4_999_000);
        });
        let refused = validator.validate(rolled_back, &limits(), NOW).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "m5, interval ending 2013-01-01T11:00:00Z: register-rollback: the register ran back \
             from 5000000\u{a0}mWh at 2013-01-01T10:30:00Z to 4999000\u{a0}mWh at \
             2013-01-01T11:00:00Z"
        );
        let stored = StoredInterval {
            status: refused.stored_status(),
            ..StoredInterval::from(&rolled_back)
        };
        assert_eq!(
            Validator::validate_stored(stored, &limits()).map_err(|e| e.rule()),
            Err(Rule::RegisterUnchecked)
        );
    }

    #[test]
    fn warnings_do_not_refuse() {
        let volts = |mv| with(|r| r.values.voltage = Millivolts::new(mv));
        let cases = [
            (good(), vec![]),
            (flagged(ReadingStatus::POWER_DOWN), vec![Warning::PowerDown]),
            (
                flagged(ReadingStatus::CLOCK_ADJUSTED),
                vec![Warning::ClockAdjusted],
            ),
            (volts(206_999), vec![Warning::VoltageBand]),
            (volts(207_000), vec![]),
            (volts(253_000), vec![]),
            (volts(253_001), vec![Warning::VoltageBand]),
            (volts(i64::MIN), vec![Warning::VoltageBand]),
            (
                with(|r| {
                    r.status = ReadingStatus::POWER_DOWN;
                    r.values.voltage = Millivolts::ZERO;
                }),
                vec![Warning::PowerDown, Warning::VoltageBand],
            ),
        ];
        for (reading, expected) in cases {
            let mut validator = Validator::new();
            let valid = validator.validate(reading, &limits(), NOW).unwrap();
            assert_eq!(valid.warnings().iter().collect::<Vec<_>>(), expected);
            assert_eq!(valid.warnings().is_empty(), expected.is_empty());
            for warning in Warning::ALL {
                assert_eq!(
                    validator.counts().warned(warning),
                    u64::from(expected.contains(&warning)),
                    "{reading:?}"
                );
            }
        }
    }

    #[test]
    fn a_redelivery_is_accepted_again_and_counted_apart() {
        let mut validator = Validator::new();
        let first = validator.validate(good(), &limits(), NOW);
        assert_eq!(validator.validate(good(), &limits(), NOW), first);
        assert_eq!(validator.counts().accepted(), 1);
        assert_eq!(validator.counts().repeated(), 1);
        assert_eq!(validator.counts().refused_in_all(), 0);
    }

    #[test]
    fn a_meter_without_a_power_triangle_is_not_held_to_it() {
        let reading = with(|r| {
            r.values.reactive = [MillivarHours::ZERO; 4];
            r.values.apparent = MillivoltAmpereHours::ZERO;
        });
        let active_only = MeterLimits::new(
            10,
            Phases::One,
            Millivolts::new(230_000),
            PowerTriangle::NotCaptured,
        )
        .unwrap();
        let rule = |limits| {
            Validator::new()
                .validate(reading, limits, NOW)
                .map(|_| ())
                .map_err(|e| e.rule())
        };
        assert_eq!(rule(&active_only), Ok(()));
        assert_eq!(rule(&limits()), Err(Rule::PowerTriangle));
    }

    #[test]
    fn memory_is_bounded_and_forgetting_makes_room() {
        let mut validator = Validator::with_profiles_max(1);
        let other = with(|r| r.meter = MeterId(6));
        validator.validate(good(), &limits(), NOW).unwrap();
        let refused = validator.validate(other, &limits(), NOW).unwrap_err();
        assert_eq!(refused.fault, Fault::HistoryFull(1));
        validator.validate(good(), &limits(), NOW).unwrap();
        validator.forget(MeterId(5));
        validator.validate(other, &limits(), NOW).unwrap();
    }

    #[test]
    fn a_new_meter_on_an_old_number_starts_a_new_history() {
        let mut validator = Validator::new();
        validator.validate(good(), &limits(), NOW).unwrap();
        let exchanged = with(|r| {
            r.end = r.end + r.period.duration();
            r.import_register = r.values.import;
        });
        let rule = |validator: &mut Validator| {
            validator
                .validate(exchanged, &limits(), NOW)
                .map(|_| ())
                .map_err(|e| e.rule())
        };
        assert_eq!(rule(&mut validator), Err(Rule::RegisterRollback));
        validator.forget(MeterId(5));
        assert_eq!(rule(&mut validator), Ok(()));
    }
}
