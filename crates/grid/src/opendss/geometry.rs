//! Line constants from wires and where they hang: earth return by Deri's complex depth or
//! Carson's simplified formula, capacitance from potentials, neutrals and screens (concentric
//! strands or tape) reduced by Kron.

use super::error::CircuitError;
use super::field::Field;
use super::script::{Object, Script};
use crate::network::complex::{ONE, inverse, logarithm, magnitude, square_root};
use crate::network::{LineCode, Matrix, ORDER_MAX, Phasor};

/// Earth resistivity, in ohm-metres.
const EARTH: f64 = 100.0;
/// Permeability of air over 2π, in henries per metre.
const MU_OVER_TAU: f64 = 2e-7;
/// Permittivity of air, in farads per metre.
const EPSILON: f64 = 8.854_187_812_8e-12;

/// Permeability of air, in henries per metre.
const MU: f64 = 4e-7 * core::f64::consts::PI;
/// Resistivity of a copper tape with its laps, in ohm-metres.
const TAPE: f64 = 2.3718e-8;
/// Beyond this argument a wire carries its current in its skin alone.
const SKIN_MAX: f64 = 35.0;

/// A bare wire or the core of a cable, in metres and ohms per metre.
#[derive(Debug, Clone, Copy)]
struct Wire {
    resistance: f64,
    direct: f64,
    gmr: f64,
    radius: f64,
    rating_amperes: Option<f64>,
    screen: Option<Screen>,
}

/// A concentric neutral or a tape shield.
#[derive(Debug, Clone, Copy)]
struct Screen {
    resistance: f64,
    gmr: f64,
    /// Radius of the circle its strands or its tape lie on.
    radius: f64,
    /// Radii of the insulation.
    inner: f64,
    outer: f64,
    permittivity: f64,
}

/// Wires at their places.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    wires: Vec<(Wire, f64, f64)>,
    phases: usize,
}

impl Geometry {
    pub(crate) fn of(script: &Script, object: &Object) -> Result<Self, CircuitError> {
        let (mut count, mut phases, mut reduce) = (3, 3, false);
        let mut at = 0;
        let mut wires: Vec<Option<Wire>> = vec![None; 3];
        let mut places = vec![(0.0, 0.0, 1.0); 3];
        for field in Field::all(object) {
            match field.property() {
                "nconds" => {
                    count = field.count(ORDER_MAX / 2)?;
                    wires.resize(count, None);
                    places.resize(count, (0.0, 0.0, 1.0));
                }
                "nphases" => phases = field.phases()?,
                "cond" => at = field.count(count)? - 1,
                "x" => places[at].0 = field.number()?,
                "h" => places[at].1 = field.number()?,
                "units" => {
                    let metres = field.metres()?.unwrap_or(1.0);
                    places[at].2 = metres;
                    // A unit holds for the wires that follow, too.
                    for place in &mut places[at..] {
                        place.2 = metres;
                    }
                }
                "reduce" => reduce = field.flag()?,
                "wire" => wires[at] = Some(wire(script, &field, "wiredata", &field.text())?),
                "cncable" => wires[at] = Some(wire(script, &field, "cndata", &field.text())?),
                "tscable" => wires[at] = Some(wire(script, &field, "tsdata", &field.text())?),
                "wires" | "cncables" | "tscables" => {
                    let class = match field.property() {
                        "wires" => "wiredata",
                        "cncables" => "cndata",
                        _ => "tsdata",
                    };
                    for (at, name) in field.words().iter().enumerate().take(count) {
                        let name = name.to_ascii_lowercase();
                        wires[at] = Some(wire(script, &field, class, &name)?);
                    }
                }
                "spacing" => {
                    let name = format!("linespacing.{}", field.text());
                    let found = script
                        .find(&name)
                        .ok_or_else(|| field.missing(format!("line spacing {}", field.text())))?;
                    let spaced = spacing(found)?;
                    count = spaced.len();
                    wires.resize(count, None);
                    places = spaced;
                }
                _ => return Err(field.refused()),
            }
        }
        let missing = |what: String| CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what,
        };
        let mut placed = Vec::new();
        for (at, (wire, (x, h, metres))) in wires.into_iter().zip(places).enumerate() {
            let wire = wire.ok_or_else(|| missing(format!("wire for conductor {}", at + 1)))?;
            placed.push((wire, x * metres, (h * metres).abs()));
        }
        let phases = if reduce || phases > count {
            phases.min(count)
        } else {
            count
        };
        Ok(Self {
            wires: placed,
            phases,
        })
    }

    pub(crate) fn phases(&self) -> usize {
        self.phases
    }

    pub(crate) fn rating_amperes(&self) -> Option<f64> {
        self.wires
            .first()
            .and_then(|(wire, _, _)| wire.rating_amperes)
    }

    /// Impedance and capacitance per metre; `None` if wires lie in each other.
    pub(crate) fn code(&self, frequency_hz: f64, simple_carson: bool) -> Option<LineCode> {
        let count = self.wires.len();
        let screens: Vec<usize> = (0..count)
            .filter(|at| self.wires[*at].0.screen.is_some())
            .collect();
        let order = count + screens.len();
        let omega = core::f64::consts::TAU * frequency_hz;
        let scale = Phasor::new(0.0, omega * MU_OVER_TAU);
        let mut impedance = Matrix::zeros(order);
        let place = |at: usize| {
            let wire = if at < count { at } else { screens[at - count] };
            (wire, self.wires[wire].1, self.wires[wire].2)
        };
        for one in 0..order {
            for other in 0..order {
                let ((of, x, h), (to, across, height)) = (place(one), place(other));
                let earth = if simple_carson {
                    let depth = 658.5 * (EARTH / frequency_hz).sqrt();
                    Phasor::new(omega * 1e-7 * core::f64::consts::PI / 2.0, 0.0)
                        + scale * libm::log(depth)
                } else {
                    let depth = square_root(
                        Phasor::new(EARTH / (omega * 4e-7 * core::f64::consts::PI), 0.0)
                            / Phasor::new(0.0, 1.0),
                    );
                    let sum = depth * 2.0 + (h + height);
                    let gap = x - across;
                    scale * logarithm(square_root(sum * sum + gap * gap))
                };
                let screen = self.wires[of].0.screen;
                let (resistance, distance) = match (one == other, of == to, screen) {
                    (true, _, Some(screen)) if one >= count => (screen.resistance, screen.gmr),
                    (true, _, _) if simple_carson => {
                        (self.wires[of].0.resistance, self.wires[of].0.gmr)
                    }
                    (true, _, _) => (self.wires[of].0.internal(omega), self.wires[of].0.gmr),
                    (false, true, Some(screen)) => (0.0, screen.radius),
                    (false, _, _) => {
                        let (dx, dy) = (x - across, h - height);
                        (0.0, (dx * dx + dy * dy).sqrt())
                    }
                };
                *impedance.at(one, other) =
                    Phasor::new(resistance, 0.0) + earth - scale * libm::log(distance);
            }
        }
        Some(LineCode {
            impedance: impedance.reduced(self.phases),
            capacitance: self.capacitance()?,
            frequency_hz,
            rating_amperes: self.rating_amperes(),
        })
    }

    fn capacitance(&self) -> Option<Matrix> {
        let count = self.wires.len();
        if self.wires.iter().any(|(wire, _, _)| wire.screen.is_some()) {
            let mut own = Matrix::zeros(self.phases);
            for at in 0..self.phases {
                if let Some(screen) = self.wires[at].0.screen {
                    let farads = core::f64::consts::TAU * EPSILON * screen.permittivity
                        / libm::log(screen.outer / screen.inner);
                    *own.at(at, at) = Phasor::new(farads, 0.0);
                }
            }
            return Some(own);
        }
        let mut potential = Matrix::zeros(count);
        for one in 0..count {
            for other in 0..count {
                let ((wire, x, h), (_, across, height)) = (self.wires[one], self.wires[other]);
                let (dx, dy, image) = (x - across, h - height, h + height);
                let ratio = if one == other {
                    2.0 * h / wire.radius
                } else {
                    ((dx * dx + image * image) / (dx * dx + dy * dy)).sqrt()
                };
                *potential.at(one, other) =
                    Phasor::new(libm::log(ratio) / (core::f64::consts::TAU * EPSILON), 0.0);
            }
        }
        Some(potential.inverse()?.corner(self.phases))
    }
}

fn spacing(object: &Object) -> Result<Vec<(f64, f64, f64)>, CircuitError> {
    let (mut count, mut metres) = (3, 1.0);
    let (mut x, mut h) = (Vec::new(), Vec::new());
    for field in Field::all(object) {
        match field.property() {
            "nconds" => count = field.count(ORDER_MAX / 2)?,
            "nphases" => {}
            "x" => x = field.numbers()?,
            "h" => h = field.numbers()?,
            "units" => metres = field.metres()?.unwrap_or(1.0),
            _ => return Err(field.refused()),
        }
    }
    if x.len() != count || h.len() != count {
        return Err(CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what: format!("x and h for each of {count} conductors"),
        });
    }
    Ok(x.into_iter().zip(h).map(|(x, h)| (x, h, metres)).collect())
}

impl Wire {
    /// The resistance that the current in the wire meets, in ohms per metre: a round conductor
    /// with its skin effect. The reactance inside is in the geometric mean radius.
    fn internal(&self, omega: f64) -> f64 {
        let square = Phasor::new(0.0, omega * MU / core::f64::consts::PI / self.direct);
        let alpha = square_root(square);
        let share = if magnitude(alpha) > SKIN_MAX {
            ONE
        } else {
            // I0 over I1 by their series; each term shrinks once it has passed alpha.
            let quarter = square / 4.0;
            let (mut zero, mut one) = (ONE, ONE);
            let (mut sum_zero, mut sum_one) = (ONE, ONE);
            for at in 1..=120_u32 {
                let at = f64::from(at);
                zero *= quarter / (at * at);
                one *= quarter / (at * (at + 1.0));
                sum_zero += zero;
                sum_one += one;
            }
            sum_zero * inverse(sum_one * alpha / 2.0)
        };
        (alpha * share).re * self.direct / 2.0
    }
}

/// A wire or cable core; lengths default to one another as the language has it.
fn wire(script: &Script, of: &Field<'_>, class: &str, name: &str) -> Result<Wire, CircuitError> {
    let object = script
        .find(&format!("{class}.{name}"))
        .ok_or_else(|| of.missing(format!("{class} {name}")))?;
    let (mut rdc, mut rac, mut gmr, mut radius) = (None, None, None, None);
    let (mut r_unit, mut gmr_unit, mut radius_unit) = (1.0, 1.0, 1.0);
    let mut rating_amperes = None;
    let (mut strands, mut strand, mut strand_gmr, mut strand_r) = (2.0, None, None, None);
    let (mut over_shield, mut tape, mut lap) = (None, None, 20.0);
    let (mut permittivity, mut layer, mut over_insulation, mut over_cable) =
        (2.3, None, None, None);
    for field in Field::all(object) {
        match field.property() {
            "rdc" => rdc = Some(field.number()?),
            "rac" => rac = Some(field.number()?),
            "runits" => r_unit = field.metres()?.unwrap_or(1.0),
            "gmrac" => gmr = Some(field.positive()?),
            "gmrunits" => gmr_unit = field.metres()?.unwrap_or(1.0),
            "radius" => radius = Some(field.positive()?),
            "diam" => radius = Some(field.positive()? / 2.0),
            "capradius" => radius = Some(field.positive()?),
            "radunits" => radius_unit = field.metres()?.unwrap_or(1.0),
            "normamps" => rating_amperes = Some(field.number()?).filter(|amps| *amps > 0.0),
            "k" => strands = field.positive()?,
            "diastrand" => strand = Some(field.positive()?),
            "gmrstrand" => strand_gmr = Some(field.positive()?),
            "rstrand" => strand_r = Some(field.positive()?),
            "diashield" => over_shield = Some(field.positive()?),
            "tapelayer" => tape = Some(field.positive()?),
            "tapelap" => {
                lap = field.number()?;
                if !(0.0..100.0).contains(&lap) {
                    return Err(field.wrong("a share below 100 percent"));
                }
            }
            "epsr" => permittivity = field.positive()?,
            "inslayer" => layer = Some(field.positive()?),
            "diains" => over_insulation = Some(field.positive()?),
            "diacable" => over_cable = Some(field.positive()?),
            _ => return Err(field.refused()),
        }
    }
    let missing = |what: &str| CircuitError::Missing {
        origin: object.origin.clone(),
        object: object.label.clone(),
        what: what.to_owned(),
    };
    let radius = radius.map(|radius| radius * radius_unit);
    let gmr = gmr.map(|gmr| gmr * gmr_unit);
    let radius = radius
        .or(gmr.map(|gmr| gmr / 0.7788))
        .ok_or_else(|| missing("radius or GMRac"))?;
    let gmr = gmr.unwrap_or(radius * 0.7788);
    let resistance = rac
        .or(rdc.map(|rdc| rdc * 1.02))
        .filter(|rac| *rac > 0.0)
        .ok_or_else(|| missing("Rac above zero"))?
        / r_unit;
    let direct = rdc
        .filter(|rdc| *rdc > 0.0)
        .map_or(resistance / 1.02, |rdc| rdc / r_unit);
    let screen = if class == "tsdata" {
        let all = (over_shield, tape, layer, over_insulation);
        let (Some(shield), Some(tape), Some(layer), Some(insulation)) = all else {
            return Err(missing("DiaShield, TapeLayer, InsLayer or DiaIns"));
        };
        let (shield, tape) = (shield * radius_unit, tape * radius_unit);
        let circle = (shield - tape) / 2.0;
        let outer = insulation / 2.0 * radius_unit;
        // A lapped tape conducts like a tube that is thicker by the root of its overlap.
        let section = core::f64::consts::PI * shield * tape * (50.0 / (100.0 - lap)).sqrt();
        Some(Screen {
            resistance: TAPE / section,
            gmr: circle,
            radius: circle,
            inner: outer - layer * radius_unit,
            outer,
            permittivity,
        })
    } else if class == "cndata" {
        let all = (strand, strand_r, layer, over_insulation, over_cable);
        let (Some(strand), Some(strand_r), Some(layer), Some(insulation), Some(cable)) = all else {
            return Err(missing("DiaStrand, Rstrand, InsLayer, DiaIns or DiaCable"));
        };
        let circle = (cable - strand) / 2.0 * radius_unit;
        let strand_gmr =
            strand_gmr.map_or(0.7788 * strand / 2.0 * radius_unit, |gmr| gmr * gmr_unit);
        let outer = insulation / 2.0 * radius_unit;
        Some(Screen {
            resistance: strand_r / r_unit / strands,
            gmr: libm::pow(
                strand_gmr * strands * libm::pow(circle, strands - 1.0),
                1.0 / strands,
            ),
            radius: circle,
            inner: outer - layer * radius_unit,
            outer,
            permittivity,
        })
    } else {
        None
    };
    if let Some(screen) = &screen
        && !(screen.inner > 0.0 && screen.inner < screen.outer && screen.radius > 0.0)
    {
        return Err(missing(
            "room for its core inside its insulation and screen",
        ));
    }
    Ok(Wire {
        resistance,
        direct,
        gmr,
        radius,
        rating_amperes,
        screen,
    })
}
