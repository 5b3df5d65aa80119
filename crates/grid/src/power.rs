//! The power triangle: active, reactive and apparent power from voltage, current and phase angle,
//! for direct, single-phase and three-phase current, and each side of the triangle from the
//! other two.
//!
//! Sign convention (IEC 62053-23, consumer's view): active power is positive when consumed;
//! reactive power is positive where the current lags the voltage (inductive) and negative where it
//! leads (capacitive); the angle φ is positive when lagging.
//!
//! These are instantaneous electrical quantities, hence `f64`. What is integrated into energy is
//! integer: [`ActivePower::to_milliwatts`] and [`ReactivePower::to_millivars`] are the crossing.

mod quantity;

pub(crate) use quantity::round_to_i64;
pub use quantity::{
    ActivePower, ApparentPower, Current, Displacement, PhaseAngle, PowerError, PowerFactor,
    ReactivePower, Voltage,
};

/// √3, between line and phase quantities of a symmetrical three-phase system.
const SQRT_3: f64 = 1.732_050_807_568_877_2;

/// How far a side may miss the triangle before we call it impossible, relative to S.
const RELATIVE_TOLERANCE: f64 = 1e-9;

/// A quadrant of the P–Q plane, as a meter counts reactive energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quadrant {
    /// P ≥ 0, Q ≥ 0: consumes, inductive.
    I,
    /// P < 0, Q ≥ 0: feeds back, Q consumed.
    II,
    /// P < 0, Q < 0: feeds back, Q delivered.
    III,
    /// P ≥ 0, Q < 0: consumes, capacitive.
    IV,
}

impl Quadrant {
    /// The quadrant of integer powers as a meter sees them.
    pub const fn of_milli(active_mw: i64, reactive_mvar: i64) -> Self {
        match (active_mw >= 0, reactive_mvar >= 0) {
            (true, true) => Self::I,
            (false, true) => Self::II,
            (false, false) => Self::III,
            (true, false) => Self::IV,
        }
    }

    /// 0 for quadrant I to 3 for IV: the place among the four reactive registers.
    pub const fn index(self) -> usize {
        match self {
            Self::I => 0,
            Self::II => 1,
            Self::III => 2,
            Self::IV => 3,
        }
    }
}

/// A closed triangle: S² = P² + Q² by construction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PowerTriangle {
    active: ActivePower,
    reactive: ReactivePower,
}

impl PowerTriangle {
    /// From P and Q.
    pub const fn from_active_and_reactive(active: ActivePower, reactive: ReactivePower) -> Self {
        Self { active, reactive }
    }

    /// From S and φ: P = S·cos φ, Q = S·sin φ.
    pub fn from_apparent_and_angle(apparent: ApparentPower, angle: PhaseAngle) -> Self {
        Self {
            active: ActivePower(apparent.0 * libm::cos(angle.0)),
            reactive: ReactivePower(apparent.0 * libm::sin(angle.0)),
        }
    }

    /// From S and P: |Q| = √(S² − P²), with the displacement's sign.
    ///
    /// # Errors
    ///
    /// [`PowerError::OpenTriangle`] if S < |P|.
    pub fn from_apparent_and_active(
        apparent: ApparentPower,
        active: ActivePower,
        displacement: Displacement,
    ) -> Result<Self, PowerError> {
        let side = third_side(apparent, "active power", active.0)?;
        Ok(Self {
            active,
            reactive: ReactivePower(displacement.sign() * side),
        })
    }

    /// From S and Q: P = √(S² − Q²), consumed.
    ///
    /// # Errors
    ///
    /// [`PowerError::OpenTriangle`] if S < |Q|.
    pub fn from_apparent_and_reactive(
        apparent: ApparentPower,
        reactive: ReactivePower,
    ) -> Result<Self, PowerError> {
        let side = third_side(apparent, "reactive power", reactive.0)?;
        Ok(Self {
            active: ActivePower(side),
            reactive,
        })
    }

    /// From P and its power factor: |Q| = |P|·tan(arccos |PF|), with the displacement's sign.
    ///
    /// # Errors
    ///
    /// [`PowerError::Undefined`] if PF is 0 or its sign is not that of P: no such load.
    pub fn from_active_and_power_factor(
        active: ActivePower,
        factor: PowerFactor,
        displacement: Displacement,
    ) -> Result<Self, PowerError> {
        if active.0 != 0.0 && active.0 * factor.0 <= 0.0 {
            return Err(PowerError::Undefined {
                quantity: "reactive power",
                divisor: "a power factor with the sign of active power",
            });
        }
        let pf = factor.0.abs();
        let tan = if pf > 0.0 {
            libm::sqrt(1.0 - pf * pf) / pf
        } else {
            0.0
        };
        Ok(Self {
            active,
            reactive: ReactivePower(displacement.sign() * active.0.abs() * tan),
        })
    }

    /// Direct current: P = U·I, and no reactive power.
    pub fn direct(voltage: Voltage, current: Current) -> Self {
        Self {
            active: ActivePower(voltage.0 * current.0),
            reactive: ReactivePower(0.0),
        }
    }

    /// Single phase: P = U·I·cos φ, Q = U·I·sin φ, S = U·I.
    pub fn single_phase(voltage: Voltage, current: Current, angle: PhaseAngle) -> Self {
        Self::from_apparent_and_angle(ApparentPower(voltage.0 * current.0), angle)
    }

    /// Symmetrical three-phase from line quantities: S = √3·U_L·I_L. φ is the angle between
    /// *phase* voltage and *phase* current, star or delta alike.
    pub fn three_phase_line(voltage: Voltage, current: Current, angle: PhaseAngle) -> Self {
        Self::from_apparent_and_angle(ApparentPower(SQRT_3 * voltage.0 * current.0), angle)
    }

    /// Symmetrical three-phase from phase quantities: S = 3·U_ph·I_ph.
    pub fn three_phase(voltage: Voltage, current: Current, angle: PhaseAngle) -> Self {
        Self::from_apparent_and_angle(ApparentPower(3.0 * voltage.0 * current.0), angle)
    }

    /// Any three phases: the sums of P and of Q. S of the sum is the vector sum, which is at most
    /// the sum of the three S.
    pub fn unbalanced(phases: [Self; 3]) -> Self {
        let [a, b, c] = phases;
        Self {
            active: a.active + b.active + c.active,
            reactive: a.reactive + b.reactive + c.reactive,
        }
    }

    /// P.
    pub const fn active(self) -> ActivePower {
        self.active
    }

    /// Q.
    pub const fn reactive(self) -> ReactivePower {
        self.reactive
    }

    /// S = √(P² + Q²).
    pub fn apparent(self) -> ApparentPower {
        ApparentPower(libm::hypot(self.active.0, self.reactive.0))
    }

    /// PF = P/S.
    ///
    /// # Errors
    ///
    /// [`PowerError::Undefined`] without apparent power.
    pub fn power_factor(self) -> Result<PowerFactor, PowerError> {
        let apparent = self.apparent().0;
        if apparent == 0.0 {
            return Err(PowerError::Undefined {
                quantity: "power factor",
                divisor: "apparent power",
            });
        }
        // hypot may be one bit short of the longer side.
        Ok(PowerFactor((self.active.0 / apparent).clamp(-1.0, 1.0)))
    }

    /// φ = atan2(Q, P); 0 without apparent power.
    pub fn angle(self) -> PhaseAngle {
        PhaseAngle(libm::atan2(self.reactive.0, self.active.0))
    }

    /// Lagging or leading; `None` if Q is 0.
    pub fn displacement(self) -> Option<Displacement> {
        if self.reactive.0 > 0.0 {
            Some(Displacement::Lagging)
        } else if self.reactive.0 < 0.0 {
            Some(Displacement::Leading)
        } else {
            None
        }
    }

    /// The quadrant of P and Q; the axes belong to I, or to the neighbour whose sign they have.
    pub fn quadrant(self) -> Quadrant {
        match (self.active.0 >= 0.0, self.reactive.0 >= 0.0) {
            (true, true) => Quadrant::I,
            (false, true) => Quadrant::II,
            (false, false) => Quadrant::III,
            (true, false) => Quadrant::IV,
        }
    }
}

/// √(S² − side²); a side longer than S only by rounding counts as S.
fn third_side(apparent: ApparentPower, name: &'static str, side: f64) -> Result<f64, PowerError> {
    let (s, x) = (apparent.0, side.abs());
    if x > s * (1.0 + RELATIVE_TOLERANCE) {
        return Err(PowerError::OpenTriangle {
            apparent: s,
            side: name,
            other: side,
        });
    }
    // (S − x)(S + x) keeps the digits that S² − x² would cancel.
    Ok(libm::sqrt(((s - x) * (s + x)).max(0.0)))
}

/// How three-phase windings are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Connection {
    /// Star: U_L = √3·U_ph, I_L = I_ph.
    Star,
    /// Delta: U_L = U_ph, I_L = √3·I_ph.
    Delta,
}

impl Connection {
    /// Line voltage from phase voltage.
    pub fn line_voltage(self, phase: Voltage) -> Voltage {
        match self {
            Self::Star => Voltage(SQRT_3 * phase.0),
            Self::Delta => phase,
        }
    }

    /// Phase voltage from line voltage.
    pub fn phase_voltage(self, line: Voltage) -> Voltage {
        match self {
            Self::Star => Voltage(line.0 / SQRT_3),
            Self::Delta => line,
        }
    }

    /// Line current from phase current.
    pub fn line_current(self, phase: Current) -> Current {
        match self {
            Self::Star => phase,
            Self::Delta => Current(SQRT_3 * phase.0),
        }
    }

    /// Phase current from line current.
    pub fn phase_current(self, line: Current) -> Current {
        match self {
            Self::Star => line,
            Self::Delta => Current(line.0 / SQRT_3),
        }
    }
}

/// The current that draws S at a voltage: I = S/U, single-phase.
///
/// # Errors
///
/// [`PowerError::Undefined`] at zero volts.
pub fn single_phase_current(
    apparent: ApparentPower,
    voltage: Voltage,
) -> Result<Current, PowerError> {
    if voltage.0 == 0.0 {
        return Err(PowerError::Undefined {
            quantity: "current",
            divisor: "voltage",
        });
    }
    Ok(Current(apparent.0 / voltage.0))
}
#[cfg(test)]
mod tests {
    use super::*;

    fn v(volts: f64) -> Voltage {
        Voltage::from_volts(volts).unwrap()
    }

    fn a(amperes: f64) -> Current {
        Current::from_amperes(amperes).unwrap()
    }

    fn deg(degrees: f64) -> PhaseAngle {
        PhaseAngle::from_degrees(degrees).unwrap()
    }

    fn p(watts: f64) -> ActivePower {
        ActivePower::from_watts(watts).unwrap()
    }

    fn q(vars: f64) -> ReactivePower {
        ReactivePower::from_vars(vars).unwrap()
    }

    fn s(volt_amperes: f64) -> ApparentPower {
        ApparentPower::from_volt_amperes(volt_amperes).unwrap()
    }

    #[track_caller]
    fn assert_near(got: f64, expected: f64, what: &str) {
        assert!(
            (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
            "{what}: {got}, expected {expected}"
        );
    }

    #[test]
    fn every_form_of_the_triangle() {
        let cases = [
            // Name, triangle, P, Q, S.
            (
                "direct",
                PowerTriangle::direct(v(48.0), a(10.0)),
                480.0,
                0.0,
                480.0,
            ),
            (
                "ohmic",
                PowerTriangle::single_phase(v(230.0), a(10.0), deg(0.0)),
                2_300.0,
                0.0,
                2_300.0,
            ),
            (
                "lagging 60°",
                PowerTriangle::single_phase(v(230.0), a(10.0), deg(60.0)),
                1_150.0,
                1_991.858_428,
                2_300.0,
            ),
            (
                "leading 30°",
                PowerTriangle::single_phase(v(230.0), a(10.0), deg(-30.0)),
                1_991.858_428,
                -1_150.0,
                2_300.0,
            ),
            (
                "fed back, 150°",
                PowerTriangle::single_phase(v(230.0), a(10.0), deg(150.0)),
                -1_991.858_428,
                1_150.0,
                2_300.0,
            ),
            (
                "three-phase line, 400 V 10 A cos φ 0.8",
                PowerTriangle::three_phase_line(
                    v(400.0),
                    a(10.0),
                    PowerFactor::new(0.8).unwrap().angle(Displacement::Lagging),
                ),
                5_542.562_584,
                4_156.921_938,
                6_928.203_230,
            ),
            (
                "three-phase phase quantities, 230 V 10 A cos φ 0.8",
                PowerTriangle::three_phase(
                    v(230.0),
                    a(10.0),
                    PowerFactor::new(0.8).unwrap().angle(Displacement::Leading),
                ),
                5_520.0,
                -4_140.0,
                6_900.0,
            ),
            (
                "unbalanced",
                PowerTriangle::unbalanced([
                    PowerTriangle::from_active_and_reactive(p(1_000.0), q(500.0)),
                    PowerTriangle::from_active_and_reactive(p(2_000.0), q(-100.0)),
                    PowerTriangle::from_active_and_reactive(p(0.0), q(0.0)),
                ]),
                3_000.0,
                400.0,
                3_026.549_190,
            ),
            (
                "from S and P, 3-4-5",
                PowerTriangle::from_apparent_and_active(s(5.0), p(4.0), Displacement::Leading)
                    .unwrap(),
                4.0,
                -3.0,
                5.0,
            ),
            (
                "from S and Q, 3-4-5",
                PowerTriangle::from_apparent_and_reactive(s(5.0), q(3.0)).unwrap(),
                4.0,
                3.0,
                5.0,
            ),
            (
                "from P and PF",
                PowerTriangle::from_active_and_power_factor(
                    p(800.0),
                    PowerFactor::new(0.8).unwrap(),
                    Displacement::Lagging,
                )
                .unwrap(),
                800.0,
                600.0,
                1_000.0,
            ),
        ];
        for (name, triangle, active, reactive, apparent) in cases {
            assert_near(triangle.active().watts(), active, name);
            assert_near(triangle.reactive().vars(), reactive, name);
            assert_near(triangle.apparent().volt_amperes(), apparent, name);
            let factor = triangle.power_factor().unwrap().get();
            assert_near(factor, active / apparent, name);
            assert_near(libm::cos(triangle.angle().radians()), factor, name);
        }
    }

    #[test]
    fn impossible_input_is_refused() {
        let lag = Displacement::Lagging;
        assert_eq!(
            PowerFactor::new(1.01),
            Err(PowerError::PowerFactor { got: 1.01 })
        );
        assert_eq!(
            PowerFactor::new(-1.01),
            Err(PowerError::PowerFactor { got: -1.01 })
        );
        assert!(matches!(
            PowerTriangle::from_apparent_and_active(s(4.9), p(-5.0), lag),
            Err(PowerError::OpenTriangle {
                side: "active power",
                ..
            })
        ));
        assert!(matches!(
            PowerTriangle::from_apparent_and_reactive(s(4.9), q(5.0)),
            Err(PowerError::OpenTriangle {
                side: "reactive power",
                ..
            })
        ));
        assert!(matches!(
            Voltage::from_volts(-1.0),
            Err(PowerError::Negative { .. })
        ));
        assert!(matches!(
            Current::from_amperes(f64::NAN),
            Err(PowerError::NotFinite { .. })
        ));
        assert!(matches!(
            ActivePower::from_watts(f64::INFINITY),
            Err(PowerError::NotFinite { .. })
        ));
        assert!(matches!(
            PhaseAngle::from_degrees(f64::NAN),
            Err(PowerError::NotFinite { .. })
        ));
        assert!(PowerTriangle::default().power_factor().is_err());
        assert!(single_phase_current(s(1.0), v(0.0)).is_err());
        for factor in [0.0, -0.5] {
            let factor = PowerFactor::new(factor).unwrap();
            assert!(PowerTriangle::from_active_and_power_factor(p(1.0), factor, lag).is_err());
        }
        // Rounding alone does not open a triangle.
        let third = s(0.1 + 0.2);
        assert!(PowerTriangle::from_apparent_and_active(third, p(0.3), lag).is_ok());
    }

    #[test]
    fn signs_make_quadrants() {
        let cases = [
            (1.0, 1.0, Quadrant::I, Some(Displacement::Lagging)),
            (-1.0, 1.0, Quadrant::II, Some(Displacement::Lagging)),
            (-1.0, -1.0, Quadrant::III, Some(Displacement::Leading)),
            (1.0, -1.0, Quadrant::IV, Some(Displacement::Leading)),
            (0.0, 0.0, Quadrant::I, None),
            (0.0, -1.0, Quadrant::IV, Some(Displacement::Leading)),
        ];
        for (active, reactive, quadrant, displacement) in cases {
            let triangle = PowerTriangle::from_active_and_reactive(p(active), q(reactive));
            assert_eq!(triangle.quadrant(), quadrant, "{active} {reactive}");
            assert_eq!(triangle.displacement(), displacement, "{active} {reactive}");
            let milli = Quadrant::of_milli(p(active).to_milliwatts(), q(reactive).to_millivars());
            assert_eq!(milli, quadrant, "{active} {reactive}");
        }
        assert_eq!(
            [Quadrant::I, Quadrant::II, Quadrant::III, Quadrant::IV].map(Quadrant::index),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn star_and_delta() {
        let (star, delta) = (Connection::Star, Connection::Delta);
        assert_near(star.line_voltage(v(230.0)).volts(), 398.371_686, "star U_L");
        assert_near(
            star.phase_voltage(v(400.0)).volts(),
            230.940_108,
            "star U_ph",
        );
        assert_near(star.line_current(a(10.0)).amperes(), 10.0, "star I_L");
        assert_near(delta.line_voltage(v(400.0)).volts(), 400.0, "delta U_L");
        assert_near(
            delta.line_current(a(10.0)).amperes(),
            17.320_508,
            "delta I_L",
        );
        assert_near(
            delta.phase_current(a(17.320_508)).amperes(),
            10.0,
            "delta I_ph",
        );
        // The same load by line and by phase quantities, in either connection.
        for connection in [star, delta] {
            let by_phase = PowerTriangle::three_phase(v(230.0), a(5.0), deg(25.0));
            let by_line = PowerTriangle::three_phase_line(
                connection.line_voltage(v(230.0)),
                connection.line_current(a(5.0)),
                deg(25.0),
            );
            assert_near(by_line.active().watts(), by_phase.active().watts(), "P");
            assert_near(by_line.reactive().vars(), by_phase.reactive().vars(), "Q");
        }
    }

    #[test]
    fn units_convert() {
        assert_near(
            ActivePower::from_kilowatts(1.5).unwrap().watts(),
            1_500.0,
            "kW",
        );
        assert_near(q(250.0).kilovars(), 0.25, "kvar");
        assert_near(s(250.0).kilovolt_amperes(), 0.25, "kVA");
        assert_eq!(p(-0.000_5).to_milliwatts(), -1);
        assert_eq!(ReactivePower::from_millivars(-7).to_millivars(), -7);
        assert_eq!(round_to_i64(f64::NAN), 0);
        assert_eq!(round_to_i64(1e300), i64::MAX);
        assert_near(deg(270.0).degrees(), -90.0, "wrapped");
        let current = single_phase_current(s(2_300.0), v(230.0)).unwrap();
        assert_near(current.amperes(), 10.0, "I = S/U");
    }
}
