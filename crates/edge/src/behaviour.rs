//! The fifth step: whether the values can be true, by physics, and by a learnt model if there is
//! one.

use std::time::Duration;

use gridloom_core::{ReadingStatus, UtcTime};
use gridloom_dlms::push::IntervalPush;

use crate::config::ScreeningSettings;
use crate::quality::LinkQuality;
use crate::reason::{Reason, Reasons};
use crate::registry::{Phases, Site};
use crate::score::Score;

/// One step of a register, in mWh, mvarh and mVAh: a push carries whole units.
///
/// The energy of an interval is the difference of two registers that were cut to whole units, so
/// it may be off by less than one step to either side.
const STEP: i128 = 1_000;

/// By how much S of three phases may fall short of √(P² + Q²), in thousandths: a meter of class 2
/// (EN 50470-3) measures each of the three by elements of their own.
const THREE_PHASE_MILLI: i128 = 20;

/// A meter's own load profile reaches back so far; what is older cannot come from it.
const PROFILE: Duration = Duration::from_secs(40 * 86_400);

/// What a learnt model gets to see of one reading. Nothing of it is personal but the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Bytes of the packet.
    pub bytes: u32,
    /// Seconds from the end of the newest interval before it; 0 for the first.
    pub since_last_s: u32,
    /// Seconds from the interval's end to its arrival.
    pub delay_s: u32,
    /// I.
    pub identity: Score,
    /// B as physics sees it.
    pub physics: Score,
    /// What the link knew.
    pub link: LinkQuality,
    /// Invocation counters skipped since the last believed packet.
    pub counters_skipped: u32,
    /// Energy of the interval, import less export, in watt-hours.
    pub energy_wh: i64,
    /// Its distance from the device's own mean, in sixteenths of the device's mean deviation.
    pub deviation: i32,
    /// Mean voltage in tenths of a volt.
    pub decivolts: u16,
    /// Power at the end, in watts.
    pub power_w: i64,
}

/// A learnt model. None is installed by default; B is then what physics says.
///
/// It lowers B and never raises it: what physics forbids stays forbidden.
pub trait Model: std::fmt::Debug + Send {
    /// Which model it is: whoever looks at a score can say what gave it. Later ones have higher
    /// numbers.
    fn version(&self) -> u32;

    /// How usual a reading looks, from 0, never seen, to 1, as ever.
    fn score(&self, features: &Features) -> Score;
}

/// What is remembered of one device's readings, in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trail {
    /// The end of the newest forwarded interval, in seconds since 1970; 0 before the first.
    end_s: u32,
    /// The import register at that end, in watt-hours, as it rolls over.
    register_wh: u32,
    /// The usual energy of an interval, import less export, in watt-hours.
    mean_wh: i32,
    /// The usual distance from it.
    spread_wh: u32,
}

/// A run of held readings whose registers could be true and whose energies could not: the next
/// interval is measured by the last register of the run, or every second lie would follow a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The end of the first interval of the run, in seconds since 1970.
    from_s: u32,
    /// The end of the last one.
    end_s: u32,
    /// The import register at that end, in watt-hours, as it rolls over. Nothing proves it.
    register_wh: u32,
}

impl Anchor {
    /// The anchor after a reading was held for what `found` says; what it was before if that says
    /// more than that register and energy disagree: a register that cannot be true proves nothing.
    pub(crate) fn after(before: Option<Self>, push: &IntervalPush, found: Reasons) -> Option<Self> {
        let physics = Reason::ALL
            .into_iter()
            .filter(|reason| cost(*reason) == Score::FULL.get() && found.contains(*reason));
        if !physics.eq([Reason::RegisterMismatch]) || found.contains(Reason::Cloned) {
            return before;
        }
        let (end_s, register_wh) = position(push);
        match before {
            Some(before) if end_s <= before.end_s => Some(before),
            Some(before) if end_s - before.end_s == push.period.as_secs() => Some(Self {
                end_s,
                register_wh,
                ..before
            }),
            Some(_) | None => Some(Self {
                from_s: end_s,
                end_s,
                register_wh,
            }),
        }
    }

    /// Whether an interval disagrees with the run: it is one of it, or the one after it and its
    /// energy is not what the register grew by.
    fn is_contradicted_by(&self, push: &IntervalPush) -> bool {
        let (end_s, register_wh) = position(push);
        if (self.from_s..=self.end_s).contains(&end_s) {
            return true;
        }
        if end_s.checked_sub(self.end_s) != Some(push.period.as_secs()) {
            return false;
        }
        let grown = i64::from(register_wh.wrapping_sub(self.register_wh));
        let rest = grown - push.values.import.get() / 1_000;
        rest < -1 || (is_whole(push) && rest > 1)
    }

    /// Whether the device was believed about a later interval.
    pub(crate) const fn is_passed(&self, trail: &Trail) -> bool {
        trail.end_s >= self.end_s
    }
}

/// Whether no outage and no change of the clock cut the interval: then no energy of it is a
/// neighbour's.
fn is_whole(push: &IntervalPush) -> bool {
    !push.status.contains(ReadingStatus::POWER_DOWN)
        && !push.status.contains(ReadingStatus::CLOCK_ADJUSTED)
}

/// Each reason's price, in ten-thousandths of B. What physics forbids costs everything.
fn cost(reason: Reason) -> u16 {
    match reason {
        Reason::PowerTriangle => 8_000,
        Reason::EnergyAgainstPower => 5_000,
        Reason::VoltageBand => 3_000,
        Reason::Stale => 1_000,
        Reason::RegisterBackwards
        | Reason::RegisterMismatch
        | Reason::RegisterJump
        | Reason::Conflict
        | Reason::EnergyAboveFuse
        | Reason::PowerAboveFuse => 10_000,
        Reason::Malformed
        | Reason::UnknownTitle
        | Reason::BadTag
        | Reason::Replayed
        | Reason::ClockAhead
        | Reason::WrongPeriod
        | Reason::Unexpected
        | Reason::Revoked
        | Reason::NeighbourPath
        | Reason::Cloned
        | Reason::PathFlooded
        | Reason::GatewayFlooded
        | Reason::TitleFlooded
        | Reason::DeviceRate
        | Reason::Model
        | Reason::PoorLink
        | Reason::LowTrust
        | Reason::QuarantineFull => 0,
    }
}

/// B by physics, and what it found.
pub(crate) fn judge(
    push: &IntervalPush,
    site: &Site,
    (trail, anchor): (&Trail, Option<&Anchor>),
    settings: &ScreeningSettings,
    now: UtcTime,
) -> (Score, Reasons) {
    let mut found = Reasons::NONE;
    within_fuse(push, site, &mut found);
    if !triangle_holds(push, site.phases) {
        found.add(Reason::PowerTriangle);
    }
    let nominal = site.voltage.get();
    let band = nominal * i64::from(settings.voltage_band_milli) / 1_000;
    let voltage = push.values.voltage.get();
    // Without supply for the whole interval there is no voltage to judge.
    let absent = voltage == 0 && push.status.contains(ReadingStatus::POWER_DOWN);
    if !absent && !(nominal - band..=nominal + band).contains(&voltage) {
        found.add(Reason::VoltageBand);
    }
    if now.since(push.end) > PROFILE {
        found.add(Reason::Stale);
    }
    trail.judge(push, site, &mut found);
    if anchor.is_some_and(|anchor| !anchor.is_passed(trail) && anchor.is_contradicted_by(push)) {
        found.add(Reason::RegisterMismatch);
    }
    let score = found
        .iter()
        .fold(Score::FULL, |score, reason| score.less(cost(reason)));
    (score, found)
}

/// Active power flows one way at a time and reactive power sits in one quadrant at a time, so the
/// limit holds for the sums.
fn within_fuse(push: &IntervalPush, site: &Site, found: &mut Reasons) {
    let values = &push.values;
    let wide = |milli: i64| i128::from(milli);
    let active = wide(values.import.get()) + wide(values.export.get());
    let reactive: i128 = values.reactive.iter().map(|q| wide(q.get())).sum();
    let apparent = wide(values.apparent.get());
    // Two steps: each sum is of two registers at least, one of which stands still.
    let most = energy_max(site, push.period.duration()) + 2 * STEP;
    if active.max(reactive).max(apparent) > most {
        found.add(Reason::EnergyAboveFuse);
    }
    let power = push.power.get().abs();
    if power > site.power_max.get() {
        found.add(Reason::PowerAboveFuse);
    }
    // A meter that counts nothing while much flows was bridged or told to.
    if active == 0 && power * 4 > site.power_max.get() {
        found.add(Reason::EnergyAgainstPower);
    }
}

/// The most energy in mWh that the fuse lets through in a time, rounded up.
fn energy_max(site: &Site, time: Duration) -> i128 {
    // W · ms / 3600 = mWh.
    let watt_millis = i128::from(site.power_max.get()) * i128::from(time.as_secs()) * 1_000;
    watt_millis / 3_600 + 1
}

/// P² + Q² = S² at every moment of one phase, with S counted while active power is imported
/// (quadrants I and IV), means for the energies of an interval √(P² + Q²) ≤ S ≤ P + Q: the left
/// side by the triangle inequality, with equality at a constant power factor; the right side
/// because no hypotenuse is longer than its legs. Each of the four channels may be off by a step.
///
/// Of three phases only the left side holds. A meter's P and Q are sums over the phases with their
/// signs, so what one phase exports or gives capacitively takes away from the others, but its S
/// may be the arithmetic sum |S₁| + |S₂| + |S₃| (IEEE 1459 §3.2.2.5), from which nothing is taken
/// away. The vector sum √(P² + Q²) is the least it can be; what it is at most the fuse says.
fn triangle_holds(push: &IntervalPush, phases: Phases) -> bool {
    let [q1, _, _, q4] = push.values.reactive.map(|q| i128::from(q.get()));
    let p = i128::from(push.values.import.get());
    let (q, s) = (q1 + q4, i128::from(push.values.apparent.get()));
    if phases == Phases::One && s > p + q + 4 * STEP {
        return false;
    }
    // Q changes its sign within an interval, P does not while it is imported: over the interval
    // the quadrants' amounts add up, and ∫√(P² + Q²) ≥ √((∫P)² + (∫|Q|)²) all the same.
    let (p, q, mut s) = ((p - STEP).max(0), (q - 2 * STEP).max(0), s + STEP);
    if phases == Phases::Three {
        s += s * THREE_PHASE_MILLI / 1_000;
    }
    s >= p + q || s * s >= p * p + q * q
}

impl Trail {
    /// The usual energy changes by a sixteenth of the distance per interval.
    const SHARE: i64 = 16;

    fn judge(&self, push: &IntervalPush, site: &Site, found: &mut Reasons) {
        if self.end_s == 0 {
            return;
        }
        let (end_s, register_wh) = position(push);
        if end_s == self.end_s {
            if register_wh != self.register_wh {
                found.add(Reason::Conflict);
            }
            return;
        }
        // Registers have 32 bits of watt-hours and roll over; half their range is never used up
        // between two readings, so what seems to be more ran backwards.
        let (from, to, later) = if end_s > self.end_s {
            (self.register_wh, register_wh, true)
        } else {
            (register_wh, self.register_wh, false)
        };
        let grown = to.wrapping_sub(from);
        if grown > u32::MAX / 2 {
            found.add(Reason::RegisterBackwards);
            return;
        }
        let apart = end_s.abs_diff(self.end_s);
        let most = energy_max(site, Duration::from_secs(apart.into())) + STEP;
        if i128::from(grown) * STEP > most {
            found.add(Reason::RegisterJump);
        }
        if !later {
            return;
        }
        let energy_wh = push.values.import.get() / 1_000;
        let rest = i64::from(grown) - energy_wh;
        // One interval further the register grew by its energy; further on by that at least. A
        // step for meters that cut the two apart. An interval cut by an outage or a clock change
        // may have given energy to its neighbour.
        if rest < -1 || (is_whole(push) && apart == push.period.as_secs() && rest > 1) {
            found.add(Reason::RegisterMismatch);
        }
    }

    /// A reading was forwarded or released. Only the newest moves the trail; whether it did.
    pub(crate) fn follow(&mut self, push: &IntervalPush) -> bool {
        let (end_s, register_wh) = position(push);
        if end_s <= self.end_s {
            return false;
        }
        let energy = net_wh(push);
        let first = self.end_s == 0;
        self.end_s = end_s;
        self.register_wh = register_wh;
        if first {
            self.mean_wh = i32::try_from(energy).unwrap_or(i32::MAX);
            return true;
        }
        let mean = i64::from(self.mean_wh);
        let distance = energy - mean;
        let moved = mean + distance / Self::SHARE;
        self.mean_wh = i32::try_from(moved).unwrap_or(i32::MAX);
        let spread = i64::from(self.spread_wh);
        let spread = spread + (distance.abs() - spread) / Self::SHARE;
        self.spread_wh = u32::try_from(spread).unwrap_or(u32::MAX);
        true
    }

    /// Whether an interval cannot be one that the device's newest forwarded packet came after: it
    /// is newer, or it is the same and says otherwise. A device that was not heard yet proves
    /// nothing.
    pub(crate) fn is_contradicted_by(&self, push: &IntervalPush) -> bool {
        let (end_s, register_wh) = position(push);
        let same = end_s == self.end_s;
        self.end_s != 0 && (end_s > self.end_s || (same && register_wh != self.register_wh))
    }

    /// How far an interval is from the device's usual one, in sixteenths of its usual deviation.
    pub(crate) fn deviation(&self, push: &IntervalPush) -> i32 {
        if self.end_s == 0 {
            return 0;
        }
        let distance = net_wh(push) - i64::from(self.mean_wh);
        let sixteenths = distance * 16 / (i64::from(self.spread_wh) + 1);
        i32::try_from(sixteenths).unwrap_or(if sixteenths < 0 { i32::MIN } else { i32::MAX })
    }

    /// Seconds between the newest forwarded interval and this one.
    pub(crate) fn seconds_to(&self, push: &IntervalPush) -> u32 {
        if self.end_s == 0 {
            0
        } else {
            position(push).0.saturating_sub(self.end_s)
        }
    }
}

/// An interval's end in seconds since 1970 (until 2106), and the register there.
fn position(push: &IntervalPush) -> (u32, u32) {
    let end_s = u32::try_from(push.end.as_secs()).unwrap_or(if push.end.as_secs() < 0 {
        0
    } else {
        u32::MAX
    });
    let register_wh = push.import_register.get() / 1_000;
    // A push carries 32 bits of watt-hours.
    (end_s, u32::try_from(register_wh).unwrap_or(u32::MAX))
}

/// Import less export, in whole watt-hours.
pub(crate) fn net_wh(push: &IntervalPush) -> i64 {
    (push.values.import.get() - push.values.export.get()) / 1_000
}

/// Seconds from an interval's end to now.
pub(crate) fn delay_s(push: &IntervalPush, now: UtcTime) -> u32 {
    u32::try_from(now.since(push.end).as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::{
        IntervalValues, MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours, Period,
        Seed, Watts,
    };
    use gridloom_dlms::push::BillingStatus;
    use rand_core::Rng as _;

    const PERIOD: Period = Period::QUARTER_HOUR;
    const NOW: UtcTime = UtcTime::from_secs(1_359_675_900);

    fn push() -> IntervalPush {
        IntervalPush {
            period: PERIOD,
            end: UtcTime::from_secs(1_359_675_000),
            status: ReadingStatus::GOOD,
            values: IntervalValues {
                import: MilliwattHours::new(300_000),
                export: MilliwattHours::ZERO,
                reactive: [100_000, 0, 0, 20_000].map(MillivarHours::new),
                apparent: MillivoltAmpereHours::new(330_000),
                voltage: Millivolts::new(230_000),
            },
            import_register: MilliwattHours::new(10_300_000),
            power: Watts::new(1_200),
            billing: BillingStatus::default(),
        }
    }

    /// What the device said an interval earlier.
    fn trail() -> Trail {
        let mut earlier = push();
        earlier.end = earlier.end - PERIOD.duration();
        earlier.import_register = MilliwattHours::new(10_000_000);
        let mut trail = Trail::default();
        trail.follow(&earlier);
        trail
    }

    fn found(change: impl Fn(&mut IntervalPush)) -> (u16, Vec<Reason>) {
        let mut push = push();
        change(&mut push);
        let settings = ScreeningSettings::default();
        let site = Site {
            phases: Phases::One,
            ..Site::default()
        };
        let (score, reasons) = judge(&push, &site, (&trail(), None), &settings, NOW);
        (score.get(), reasons.iter().collect())
    }

    /// Whole units of something that was summed in thousandths.
    fn whole(milli: f64) -> i64 {
        let units = format!("{:.0}", (milli / 1_000.0).floor());
        units.parse::<i64>().unwrap() * 1_000
    }

    #[test]
    fn no_honest_load_of_three_phases_breaks_the_triangle_and_a_lie_does() {
        let mut rng = Seed::new(5).child("phases").rng();
        let mut between = |low: f64, high: f64| {
            low + (high - low) * f64::from(rng.next_u32()) / f64::from(u32::MAX)
        };
        let (mut above_legs, mut lies, mut lies_found) = (0, 0, 0);
        for case in 0..20_000 {
            // One phase: its P, Q and S. Three: sums with their signs, S arithmetic or vector.
            let is_single = case % 3 == 0;
            let is_vector = case % 2 == 0;
            let phases = if is_single { 1 } else { 3 };
            let (mut p_in, mut s_in) = (0.0, 0.0);
            let mut q_in = [0.0_f64; 2];
            for _ in 0..15 {
                // A minute; a roof on one of the phases may feed in more than that phase takes.
                let parts: Vec<(f64, f64)> = (0..phases)
                    .map(|_| (between(-3_000.0, 9_000.0), between(-4_000.0, 4_000.0)))
                    .collect();
                let p: f64 = parts.iter().map(|(p, _)| p).sum();
                let q: f64 = parts.iter().map(|(_, q)| q).sum();
                let arithmetic: f64 = parts.iter().map(|(p, q)| p.hypot(*q)).sum();
                if p > 0.0 {
                    p_in += p / 60.0;
                    q_in[usize::from(q < 0.0)] += q.abs() / 60.0;
                    s_in += if is_vector { p.hypot(q) } else { arithmetic } / 60.0;
                }
            }
            let mut push = push();
            push.values.import = MilliwattHours::new(whole(p_in * 1_000.0));
            push.values.reactive =
                [q_in[0], 0.0, 0.0, q_in[1]].map(|q| MillivarHours::new(whole(q * 1_000.0)));
            push.values.apparent = MillivoltAmpereHours::new(whole(s_in * 1_000.0));
            let kind = if is_single {
                Phases::One
            } else {
                Phases::Three
            };
            assert!(triangle_holds(&push, kind), "{case}: {:?}", push.values);
            above_legs += i32::from(!is_single && !triangle_holds(&push, Phases::One));
            // Whoever takes two fifths away from S alone is found wherever P and Q are mostly one
            // of them; from the vector sum at a steady load always.
            if is_vector && p_in > 100.0 {
                push.values.apparent = MillivoltAmpereHours::new(whole(s_in * 600.0));
                lies += 1;
                lies_found += i32::from(!triangle_holds(&push, kind));
            }
        }
        assert!(
            above_legs > 1_000,
            "an arithmetic S above P + Q occurs: {above_legs}"
        );
        assert!(lies_found * 10 > lies * 9, "{lies_found} of {lies}");
    }

    #[test]
    fn each_lie_about_physics_is_found_and_the_truth_is_not() {
        use Reason::{
            Conflict, EnergyAboveFuse, EnergyAgainstPower, PowerAboveFuse, PowerTriangle,
            RegisterBackwards, RegisterJump, RegisterMismatch, Stale, VoltageBand,
        };
        type Change = fn(&mut IntervalPush);
        fn register(push: &mut IntervalPush, wh: i64) {
            push.import_register = MilliwattHours::new(wh * 1_000);
        }
        fn ends(push: &mut IntervalPush, intervals: i32) {
            let seconds = push.end.as_secs() + i64::from(intervals) * 900;
            push.end = UtcTime::from_secs(seconds);
        }
        let cases: [(&str, Change, u16, &[Reason]); 31] = [
            ("the truth", |_| {}, 10_000, &[]),
            ("a step more", |p| register(p, 10_301), 10_000, &[]),
            ("a step less", |p| register(p, 10_299), 10_000, &[]),
            (
                "two steps more",
                |p| register(p, 10_302),
                0,
                &[RegisterMismatch],
            ),
            (
                "two steps less",
                |p| register(p, 10_298),
                0,
                &[RegisterMismatch],
            ),
            ("backwards", |p| register(p, 9_999), 0, &[RegisterBackwards]),
            (
                "after an outage energy may be a neighbour's",
                |p| {
                    p.status = ReadingStatus::POWER_DOWN;
                    register(p, 10_350);
                },
                10_000,
                &[],
            ),
            (
                "but not vanish",
                |p| {
                    p.status = ReadingStatus::POWER_DOWN;
                    register(p, 10_298);
                },
                0,
                &[RegisterMismatch],
            ),
            (
                "a jump",
                |p| {
                    p.status = ReadingStatus::POWER_DOWN;
                    register(p, 10_000 + 18_977);
                },
                0,
                &[RegisterJump],
            ),
            (
                "all that the fuse gives",
                |p| {
                    p.status = ReadingStatus::POWER_DOWN;
                    register(p, 10_000 + 18_975);
                },
                10_000,
                &[],
            ),
            (
                "a gap: the register grew by more than this interval",
                |p| {
                    ends(p, 3);
                    register(p, 11_500);
                },
                10_000,
                &[],
            ),
            (
                "a gap: by less",
                |p| {
                    ends(p, 3);
                    register(p, 10_200);
                },
                0,
                &[RegisterMismatch],
            ),
            (
                "an older interval below",
                |p| {
                    ends(p, -5);
                    register(p, 9_500);
                },
                10_000,
                &[],
            ),
            (
                "an older interval above",
                |p| {
                    ends(p, -5);
                    register(p, 10_001);
                },
                0,
                &[RegisterBackwards],
            ),
            (
                "the same interval again",
                |p| {
                    ends(p, -1);
                    register(p, 10_000);
                },
                10_000,
                &[],
            ),
            (
                "the same interval otherwise",
                |p| {
                    ends(p, -1);
                    register(p, 10_001);
                },
                0,
                &[Conflict],
            ),
            (
                "more than the fuse",
                |p| {
                    p.values.import = MilliwattHours::new(18_978_000);
                    p.values.apparent = MillivoltAmpereHours::new(18_978_000);
                    p.status = ReadingStatus::POWER_DOWN;
                    register(p, 28_975);
                },
                0,
                &[RegisterMismatch, EnergyAboveFuse],
            ),
            (
                "export and import together",
                |p| p.values.export = MilliwattHours::new(18_700_000),
                0,
                &[EnergyAboveFuse],
            ),
            (
                "power at the fuse",
                |p| p.power = Watts::new(-75_900),
                10_000,
                &[],
            ),
            (
                "power above it",
                |p| p.power = Watts::new(-75_901),
                0,
                &[PowerAboveFuse],
            ),
            (
                "a triangle at its least",
                // √(299² + 118²) = 321.4; a step of S makes 321 enough.
                |p| p.values.apparent = MillivoltAmpereHours::new(321_000),
                10_000,
                &[],
            ),
            (
                "S below √(P² + Q²)",
                |p| p.values.apparent = MillivoltAmpereHours::new(320_000),
                2_000,
                &[PowerTriangle],
            ),
            (
                "S at P + Q",
                |p| p.values.apparent = MillivoltAmpereHours::new(424_000),
                10_000,
                &[],
            ),
            (
                "S above P + Q",
                |p| p.values.apparent = MillivoltAmpereHours::new(425_000),
                2_000,
                &[PowerTriangle],
            ),
            (
                "voltage at the band's end",
                |p| p.values.voltage = Millivolts::new(207_000),
                10_000,
                &[],
            ),
            (
                "voltage below it",
                |p| p.values.voltage = Millivolts::new(206_900),
                7_000,
                &[VoltageBand],
            ),
            (
                "no supply, no voltage",
                |p| {
                    p.values.voltage = Millivolts::ZERO;
                    p.status = ReadingStatus::POWER_DOWN;
                },
                10_000,
                &[],
            ),
            (
                "no voltage in spite of supply",
                |p| p.values.voltage = Millivolts::ZERO,
                7_000,
                &[VoltageBand],
            ),
            (
                "nothing counted at high power",
                |p| {
                    p.values = IntervalValues {
                        voltage: p.values.voltage,
                        ..IntervalValues::default()
                    };
                    register(p, 10_000);
                    p.power = Watts::new(18_976);
                },
                5_000,
                &[EnergyAgainstPower],
            ),
            (
                "older than a profile",
                |p| {
                    ends(p, -40 * 96);
                    register(p, 5_000);
                },
                9_000,
                &[Stale],
            ),
            (
                "two flaws add up",
                |p| {
                    p.values.voltage = Millivolts::new(100_000);
                    p.values.apparent = MillivoltAmpereHours::ZERO;
                },
                0,
                &[PowerTriangle, VoltageBand],
            ),
        ];
        for (name, change, score, reasons) in cases {
            assert_eq!(found(change), (score, reasons.to_vec()), "{name}");
        }
    }

    #[test]
    fn a_register_rolls_over_and_a_trail_follows_the_newest() {
        let mut push = push();
        push.import_register = MilliwattHours::new(i64::from(u32::MAX) * 1_000);
        let mut trail = Trail::default();
        trail.follow(&push);
        let mut next = push;
        next.end = next.end + PERIOD.duration();
        next.import_register = MilliwattHours::new(299_000);
        let settings = ScreeningSettings::default();
        let site = Site::default();
        let judged =
            |trail: &Trail, it: &IntervalPush| judge(it, &site, (trail, None), &settings, NOW).1;
        assert_eq!(judged(&trail, &next), Reasons::NONE);
        trail.follow(&next);
        trail.follow(&push); // Late, and no reason to go back.
        assert_eq!(
            judged(&trail, &push),
            Reasons::NONE,
            "the older one is still below"
        );
        assert_eq!(trail.seconds_to(&next), 0);
    }

    #[test]
    fn a_device_is_measured_by_its_own_habits() {
        let mut trail = Trail::default();
        let mut push = push();
        for round in 0..64 {
            push.end = push.end + PERIOD.duration();
            // 280 and 320 Wh in turn.
            push.values.import = MilliwattHours::new(280_000 + round % 2 * 40_000);
            trail.follow(&push);
        }
        let deviation = |wh: i64| {
            let mut other = push;
            other.values.import = MilliwattHours::new(wh * 1_000);
            trail.deviation(&other)
        };
        assert!(deviation(300).abs() < 8, "{}", deviation(300));
        assert!(deviation(30) < -160, "{}", deviation(30));
        assert!(deviation(600) > 160, "{}", deviation(600));
        assert_eq!(Trail::default().deviation(&push), 0, "nothing is known yet");
    }
}
