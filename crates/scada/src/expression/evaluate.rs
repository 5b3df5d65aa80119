//! What an expression gives on a frame, and why.

use super::compile::{BILLIONTHS, Binary, Node, Test, Unary};
use super::{Expression, Type};
use crate::fixed::divide_rounded;
use crate::point::{Catalogue, Frame, Quality, Reason, Validity};
use crate::unit::Unit;

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Billionths of base units; 0 or 1; the code of a position.
    number: i128,
    quality: Quality,
}

/// Room for intermediate results, to be used again and again.
#[derive(Debug, Clone, Default)]
pub struct Scratch(Vec<Outcome>);

impl Outcome {
    /// How far it may be believed.
    pub const fn quality(self) -> Quality {
        self.quality
    }

    /// Whether it holds and may be relied on. For a yes or no.
    pub const fn holds(self) -> bool {
        self.number != 0 && self.quality.is_trusted()
    }

    /// The number in millionths of a unit; `None` if it does not fit.
    pub(crate) fn millionths(self, unit: Unit) -> Option<i64> {
        let (numerator, denominator) = unit.factor();
        let number = self.number.checked_mul(denominator)?;
        i64::try_from(divide_rounded(
            number,
            numerator * (BILLIONTHS / 1_000_000),
        )?)
        .ok()
    }

    /// The code of a yes or no, or of a position.
    pub(crate) fn code(self) -> i64 {
        i64::try_from(self.number).expect("states have small codes")
    }

    const fn truth(truth: bool, quality: Quality) -> Self {
        Self {
            number: truth as i128,
            quality,
        }
    }

    fn computed(number: Option<i128>, quality: Quality) -> Self {
        match number {
            Some(number) => Self { number, quality },
            None => Self {
                number: 0,
                quality: Quality::bad(Reason::Arithmetic).worst(quality),
            },
        }
    }
}

impl Expression {
    /// What it gives on a frame of the catalogue it was read for.
    pub fn evaluate(&self, frame: &Frame, scratch: &mut Scratch) -> Outcome {
        let done = &mut scratch.0;
        done.clear();
        for node in &self.nodes {
            done.push(step(*node, frame, done));
        }
        done[done.len() - 1]
    }

    /// The parts that keep a yes or no from holding, each with the points it reads and their
    /// values; empty if it holds.
    pub fn objections(
        &self,
        frame: &Frame,
        catalogue: &Catalogue,
        scratch: &mut Scratch,
    ) -> Vec<String> {
        if self.kind != Type::Boolean || self.evaluate(frame, scratch).holds() {
            return Vec::new();
        }
        let failed = self
            .conjuncts
            .iter()
            .filter(|part| !scratch.0[part.last].holds());
        failed
            .map(|part| {
                let mut line = format!("not: {}", self.text[part.from..part.to].trim());
                let mut named = Vec::new();
                for point in self.nodes[part.first..=part.last]
                    .iter()
                    .filter_map(|node| node.point())
                {
                    if named.contains(&point) {
                        continue;
                    }
                    line += if named.is_empty() { " (" } else { ", " };
                    named.push(point);
                    let (value, quality) = (frame.value(point), frame.quality(point));
                    line += &format!("{} is {value}", catalogue.tag(point));
                    if quality != Quality::GOOD {
                        line += &format!(", {quality}");
                    }
                }
                if !named.is_empty() {
                    line.push(')');
                }
                line
            })
            .collect()
    }
}

fn step(node: Node, frame: &Frame, done: &[Outcome]) -> Outcome {
    match node {
        Node::Literal(number) => Outcome {
            number,
            quality: Quality::GOOD,
        },
        Node::Point {
            id,
            numerator,
            denominator,
        } => {
            // An i64 times a factor of at most 3.6e15 fits.
            let number = i128::from(frame.raw(id)) * numerator;
            let number = if denominator == 1 {
                Some(number)
            } else {
                divide_rounded(number, denominator)
            };
            Outcome::computed(number, frame.quality(id))
        }
        Node::Test(test, id) => {
            let quality = frame.quality(id);
            let truth = match test {
                Test::Good => quality.is_trusted(),
                Test::Bad => quality.validity() == Validity::Bad,
                Test::Old => quality.is_old(),
                Test::Substituted => quality.is_substituted(),
                Test::Blocked => quality.is_blocked(),
            };
            Outcome::truth(truth, Quality::GOOD)
        }
        Node::Unary(operation, operand) => {
            let Outcome { number, quality } = done[operand];
            let number = match operation {
                Unary::Negate => number.checked_neg(),
                Unary::Not => Some(i128::from(number == 0)),
                Unary::Abs => number.checked_abs(),
                Unary::Root => root(number),
            };
            Outcome::computed(number, quality)
        }
        Node::Binary(operation, left, right) => binary(operation, done[left], done[right]),
        Node::If(condition, then, otherwise) => {
            let condition = done[condition];
            let chosen = done[if condition.number != 0 {
                then
            } else {
                otherwise
            }];
            Outcome {
                number: chosen.number,
                quality: condition.quality.worst(chosen.quality),
            }
        }
    }
}

fn binary(operation: Binary, left: Outcome, right: Outcome) -> Outcome {
    let quality = left.quality.worst(right.quality);
    let (a, b) = (left.number, right.number);
    let number = match operation {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a
            .checked_mul(b)
            .and_then(|product| divide_rounded(product, BILLIONTHS)),
        Binary::Divide => a
            .checked_mul(BILLIONTHS)
            .and_then(|number| divide_rounded(number, b)),
        Binary::Min => Some(a.min(b)),
        Binary::Max => Some(a.max(b)),
        Binary::Less => Some(i128::from(a < b)),
        Binary::LessOrEqual => Some(i128::from(a <= b)),
        Binary::Equal => Some(i128::from(a == b)),
        Binary::NotEqual => Some(i128::from(a != b)),
        Binary::And | Binary::Or => return connect(operation, left, right),
        Binary::Instead if left.quality.validity() == Validity::Bad => return right,
        Binary::Instead => return left,
    };
    Outcome::computed(number, quality)
}

/// A trusted operand that decides by itself makes the other one irrelevant.
fn connect(operation: Binary, left: Outcome, right: Outcome) -> Outcome {
    let decisive = operation == Binary::Or;
    for side in [left, right] {
        if side.quality.is_trusted() && (side.number != 0) == decisive {
            return Outcome::truth(decisive, side.quality);
        }
    }
    let truth = if decisive {
        left.number != 0 || right.number != 0
    } else {
        left.number != 0 && right.number != 0
    };
    Outcome::truth(truth, left.quality.worst(right.quality))
}

/// The root in billionths, rounded to the nearest.
fn root(number: i128) -> Option<i128> {
    let scaled = u128::try_from(number.checked_mul(BILLIONTHS)?).ok()?;
    let floor = scaled.isqrt();
    // Above the middle of floor and floor + 1, whose square is floor² + floor + ¼.
    let up = scaled - floor * floor > floor;
    i128::try_from(floor + u128::from(up)).ok()
}

#[cfg(test)]
mod tests {
    use gridloom_core::UtcTime;

    use super::*;
    use crate::fixed::Fixed;
    use crate::point::{Definition, Kind, Position, Tag, Value};

    fn plant() -> (Catalogue, Frame) {
        let unit = |symbol| Unit::parse(symbol).unwrap();
        let number = |text| Value::Number(Fixed::parse(text).unwrap());
        let points = [
            ("P", Kind::Measured(unit("MW")), number("3"), Quality::GOOD),
            (
                "Q",
                Kind::Measured(unit("Mvar")),
                number("4"),
                Quality::GOOD,
            ),
            (
                "U",
                Kind::Measured(unit("kV")),
                number("20.5"),
                Quality::GOOD,
            ),
            ("E", Kind::Counter(unit("MWh")), number("1"), Quality::GOOD),
            ("tap", Kind::Step, Value::Step(-3), Quality::GOOD),
            (
                "CB-1",
                Kind::Double,
                Value::Double(Position::Open),
                Quality::GOOD,
            ),
            (
                "remote",
                Kind::Single,
                Value::Single(true),
                Quality::GOOD.old(),
            ),
            (
                "dead",
                Kind::Single,
                Value::Single(false),
                Quality::NEVER_REPORTED,
            ),
            (
                "lost",
                Kind::Measured(unit("kW")),
                number("7"),
                Quality::bad(Reason::LinkDown),
            ),
        ];
        let mut catalogue = Catalogue::default();
        let mut rows = Vec::new();
        for (tag, kind, value, quality) in points {
            let definition = Definition::new(Tag::parse(tag).unwrap(), kind);
            rows.push((catalogue.add(definition).unwrap(), value, quality));
        }
        let mut frame = Frame::new(&catalogue);
        for (point, value, quality) in rows {
            let mut row = frame.row(point);
            (row.raw, row.quality) = (value.raw(), quality);
            row.source = UtcTime::from_secs(1);
            frame.set_row(point, row);
        }
        (catalogue, frame)
    }

    #[test]
    fn expressions_give_numbers_in_the_wanted_unit() {
        let (catalogue, frame) = plant();
        let cases = [
            ("sqrt(P*P + Q*Q)", "MVA", "5", "good"),
            ("sqrt(P × P + Q × Q) ÷ (1.5 × U)", "A", "162.601626", "good"),
            ("P - 250 kW", "kW", "2750", "good"),
            ("E / 2 h", "kW", "500", "good"),
            ("P * 30 min", "MWh", "1.5", "good"),
            ("-tap + 2", "", "5", "good"),
            ("min(P, 2 MW, 9 MW) − max(0, -P)", "MW", "2", "good"),
            ("abs(-U) / 20 kV * 1 pu", "%", "102.5", "good"),
            ("2 + 3 * 4 - 10 / 4", "", "11.5", "good"),
            ("if([CB-1] == open, 1, 2)", "", "1", "good"),
            ("if(remote, 1, 2)", "", "1", "good, old"),
            ("P + lost", "kW", "3007", "bad (link down)"),
            ("value(lost, P) + value(Q, lost)", "MW", "7", "good"),
            ("1 / (tap + 3)", "", "0", "bad (arithmetic)"),
            ("sqrt(0 - U*U)", "kV", "0", "bad (arithmetic)"),
            ("2 / 3", "", "0.666667", "good"),
            ("sqrt(2)", "", "1.414214", "good"),
        ];
        for (text, unit, number, quality) in cases {
            let expression = Expression::parse(text, &catalogue).unwrap();
            let outcome = expression.evaluate(&frame, &mut Scratch::default());
            let unit = Unit::parse(unit).unwrap();
            assert_eq!(expression.kind(), Type::Number(unit.dimension()), "{text}");
            let got = outcome.millionths(unit).map(Fixed::from_millionths);
            assert_eq!(got, Fixed::parse(number), "{text}");
            assert_eq!(outcome.quality().to_string(), quality, "{text}");
        }
    }

    #[test]
    fn a_yes_holds_only_when_it_is_trusted() {
        let (catalogue, frame) = plant();
        let cases = [
            ("U > 20 kV and [CB-1] == open", true, true),
            ("U >= 20.5 kV and U <= 20500 V and U = 20.5 kV", true, true),
            ("[CB-1] != closed and not false", true, true),
            ("remote", true, false),
            ("remote or P > 0", true, true),
            ("dead and P < 0", false, false),
            ("remote and P > 0", true, false),
            ("good(P) and bad(lost) and old(remote)", true, true),
            (
                "not substituted(P) and not blocked(P) and not good(remote)",
                true,
                true,
            ),
            ("not dead", true, false),
            ("true == (P > 1 MW)", true, true),
        ];
        for (text, truth, holds) in cases {
            let expression = Expression::parse(text, &catalogue).unwrap();
            let outcome = expression.evaluate(&frame, &mut Scratch::default());
            assert_eq!(
                (outcome.code() == 1, outcome.holds()),
                (truth, holds),
                "{text}"
            );
        }
    }

    #[test]
    fn faults_are_named_with_column_and_remedy() {
        let (catalogue, _) = plant();
        let nested = format!("{}1{}", "(".repeat(DEPTHS), ")".repeat(DEPTHS));
        const DEPTHS: usize = 33;
        let long = " ".repeat(5_000);
        let cases = [
            (
                "P + U",
                3,
                "one side is in W, the other in V; give both in the same, such as W",
            ),
            (
                "U > 5",
                3,
                "one side is in V, the other in no unit; give both in the same, such as V",
            ),
            ("P + ", 5, "is missing"),
            ("P Q", 3, "should have ended"),
            ("(P", 3, "( is not closed; add )"),
            ("nothing + 1", 1, "there is no point nothing"),
            ("cos(1)", 1, "there is no function cos; use min, max"),
            ("sqrt(U)", 1, "V has no root"),
            ("remote + 1", 8, "a number is wanted, not a yes or no"),
            (
                "P and remote",
                3,
                "a yes or no is wanted, not a number in W",
            ),
            ("[CB-1] < open", 8, "only numbers have an order"),
            ("[CB-1] == 1", 8, "one side is a position"),
            ("if(P, 1, 2)", 1, "a yes or no is wanted"),
            ("if(remote, 1)", 13, "if takes a condition"),
            ("good(1)", 1, "it tests a point"),
            ("", 1, "is missing"),
            (&nested, 33, "more than 32 levels"),
            (&long, 1, "5000 bytes"),
            ("not", 4, "is missing"),
        ];
        for (text, column, words) in cases {
            let Err(error) = Expression::parse(text, &catalogue) else {
                panic!("{text} was taken");
            };
            assert_eq!(error.column(), column, "{text}: {error}");
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn objections_name_what_fails_and_its_values() {
        let (catalogue, frame) = plant();
        let objections = |text| {
            let expression = Expression::parse(text, &catalogue).unwrap();
            expression.objections(&frame, &catalogue, &mut Scratch::default())
        };
        assert_eq!(
            objections("P > 1 MW and [CB-1] == open"),
            Vec::<String>::new()
        );
        assert_eq!(
            objections("P > 1 MW and [CB-1] == closed and remote"),
            [
                "not: [CB-1] == closed (CB-1 is open)",
                "not: remote (remote is on, good, old)"
            ]
        );
        assert_eq!(
            objections("P < Q and P < 0 or P > 9 MW and remote"),
            [
                "not: P < Q and P < 0 or P > 9 MW and remote (P is 3, Q is 4, remote is on, good, old)"
            ]
        );
        assert_eq!(
            objections("(P < 0 and P < Q)"),
            ["not: (P < 0 and P < Q) (P is 3, Q is 4)"]
        );
    }

    #[test]
    fn overflow_is_bad_and_not_a_panic() {
        let (mut catalogue, _) = plant();
        let unit = Unit::parse("GW").unwrap();
        let tag = Tag::parse("huge").unwrap();
        let point = catalogue
            .add(Definition::new(tag, Kind::Measured(unit)))
            .unwrap();
        let mut frame = Frame::new(&catalogue);
        let mut row = frame.row(point);
        (row.raw, row.quality) = (i64::MIN, Quality::GOOD);
        frame.set_row(point, row);
        for text in [
            "huge * huge",
            "huge * 9000000000 / 1 W",
            "abs(huge) * 1000000000000",
        ] {
            let expression = Expression::parse(text, &catalogue).unwrap();
            let outcome = expression.evaluate(&frame, &mut Scratch::default());
            assert_eq!(
                outcome.quality(),
                Quality::bad(Reason::Arithmetic),
                "{text}"
            );
        }
        let text = "huge + huge";
        let expression = Expression::parse(text, &catalogue).unwrap();
        let outcome = expression.evaluate(&frame, &mut Scratch::default());
        assert_eq!(outcome.millionths(Unit::parse("W").unwrap()), None);
    }
}
