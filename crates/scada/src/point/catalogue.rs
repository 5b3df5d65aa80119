//! Which points there are.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tag::Tag;
use super::update::PointId;
use super::value::Shape;
use crate::fixed::Fixed;
use crate::unit::Unit;

/// Points of a catalogue; more are refused.
pub const POINTS_MAX: usize = 1_000_000;
/// Bytes of a description or an expression; a longer one is refused.
pub const TEXT_BYTES_MAX: usize = 4_096;

/// What a point is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An analogue measurement.
    Measured(Unit),
    /// A growing count.
    Counter(Unit),
    /// A wanted value.
    Setpoint(Unit),
    /// The step of a tap changer.
    Step,
    /// One bit of status.
    Single,
    /// Two bits of status.
    Double,
    /// What an expression over other points gives.
    Derived {
        /// What the expression must give: a number (its unit is the point's) or a yes or no.
        shape: Shape,
        /// The expression; [`crate::expression`] says how it is written.
        expression: String,
    },
}

impl Kind {
    /// What the point holds.
    pub const fn shape(&self) -> Shape {
        match self {
            Self::Measured(unit) | Self::Counter(unit) | Self::Setpoint(unit) => {
                Shape::Number(*unit)
            }
            Self::Step => Shape::Step,
            Self::Single => Shape::Single,
            Self::Double => Shape::Double,
            Self::Derived { shape, .. } => *shape,
        }
    }
}

/// One point as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub tag: Tag,
    /// What it is.
    pub kind: Kind,
    /// A change of a number that is not larger than this is no change.
    pub deadband: Fixed,
    /// The lowest and highest plausible number; outside, its quality is uncertain.
    pub range: Option<(Fixed, Fixed)>,
    /// After this long without a report the value is old; `None` for a point that reports only
    /// what changes.
    pub age_max: Option<Duration>,
    /// What an operator reads.
    pub description: String,
}

impl Definition {
    /// A point with no deadband, range, age or description.
    pub const fn new(tag: Tag, kind: Kind) -> Self {
        Self {
            tag,
            kind,
            deadband: Fixed::ZERO,
            range: None,
            age_max: None,
            description: String::new(),
        }
    }
}

/// Why a point is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointError {
    /// There is no room.
    #[error("point {0}: the catalogue holds {POINTS_MAX} points already")]
    Full(Tag),
    /// The name is taken.
    #[error("point {0} is defined twice: rename one")]
    Twice(Tag),
    /// A field cannot be.
    #[error("point {tag}: {field} {got}: {remedy}")]
    Field {
        /// Which point.
        tag: Tag,
        /// Which field.
        field: &'static str,
        /// What it says.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// The points by name and by number.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    points: Vec<Definition>,
    by_tag: BTreeMap<Tag, PointId>,
}

impl Catalogue {
    /// Takes a point; its number is its place.
    ///
    /// # Errors
    ///
    /// [`PointError`] names the point and the field.
    pub fn add(&mut self, point: Definition) -> Result<PointId, PointError> {
        let tag = &point.tag;
        if self.by_tag.contains_key(tag) {
            return Err(PointError::Twice(tag.clone()));
        }
        let id = u32::try_from(self.points.len()).ok();
        let Some(id) = id.filter(|_| self.points.len() < POINTS_MAX) else {
            return Err(PointError::Full(tag.clone()));
        };
        check(&point)?;
        self.by_tag.insert(tag.clone(), PointId(id));
        self.points.push(point);
        Ok(PointId(id))
    }

    /// The point of this name.
    pub fn find(&self, tag: &str) -> Option<PointId> {
        let tag = Tag::parse(tag).ok()?;
        self.by_tag.get(&tag).copied()
    }

    /// The points of a group, in the order of their names.
    pub fn within<'a>(&'a self, group: &'a Tag) -> impl Iterator<Item = PointId> + 'a {
        // Names below `a.b` and the neighbours `a.b-c` are mixed in the order of bytes, so the walk
        // ends only where the prefix does.
        self.by_tag
            .range(group..)
            .take_while(|(tag, _)| tag.as_str().starts_with(group.as_str()))
            .filter(|(tag, _)| tag.is_within(group))
            .map(|(_, id)| *id)
    }

    /// A point as configured.
    pub fn get(&self, point: PointId) -> &Definition {
        &self.points[point.index()]
    }

    /// A point whose limits change at run time.
    pub(crate) fn get_mut(&mut self, point: PointId) -> &mut Definition {
        &mut self.points[point.index()]
    }

    /// Its name.
    pub fn tag(&self, point: PointId) -> &Tag {
        &self.get(point).tag
    }

    /// Every point, in the order of its number.
    pub fn iter(&self) -> impl Iterator<Item = (PointId, &Definition)> {
        (0_u32..).map(PointId).zip(&self.points)
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

fn check(point: &Definition) -> Result<(), PointError> {
    let fault = |field, got: String, remedy| PointError::Field {
        tag: point.tag.clone(),
        field,
        got,
        remedy,
    };
    let number = matches!(point.kind.shape(), Shape::Number(_));
    if point.deadband < Fixed::ZERO || (!number && point.deadband != Fixed::ZERO) {
        let remedy = "give a number of zero or more, and only to numbers";
        return Err(fault("deadband", point.deadband.to_string(), remedy));
    }
    if let Some((low, high)) = point.range
        && (!number || low >= high)
    {
        let remedy = "give the lower end first, and only to numbers";
        return Err(fault("range", format!("{low} to {high}"), remedy));
    }
    if point.age_max == Some(Duration::ZERO) {
        return Err(fault("age_max", "0".into(), "give a time above zero"));
    }
    let expression = match &point.kind {
        Kind::Derived { shape, expression } => {
            if matches!(shape, Shape::Step | Shape::Double) {
                let remedy = "an expression gives a number or a single: choose one of them";
                return Err(fault("shape", shape.name().into(), remedy));
            }
            expression.len()
        }
        Kind::Measured(_)
        | Kind::Counter(_)
        | Kind::Setpoint(_)
        | Kind::Step
        | Kind::Single
        | Kind::Double => 0,
    };
    for (field, length) in [
        ("description", point.description.len()),
        ("expression", expression),
    ] {
        if length > TEXT_BYTES_MAX {
            let got = format!("{length} bytes");
            return Err(fault(field, got, "shorten it to 4096 bytes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(tag: &str, kind: Kind) -> Definition {
        Definition::new(Tag::parse(tag).unwrap(), kind)
    }

    #[test]
    fn points_are_found_by_name_and_by_group() {
        let mut catalogue = Catalogue::default();
        for tag in ["N.F3.I", "N.F3-b.I", "N.F3.CB.pos", "N.F31.I", "N.F2.I"] {
            catalogue.add(point(tag, Kind::Single)).unwrap();
        }
        let group = Tag::parse("N.F3").unwrap();
        let found: Vec<_> = catalogue
            .within(&group)
            .map(|id| catalogue.tag(id).as_str())
            .collect();
        assert_eq!(found, ["N.F3.CB.pos", "N.F3.I"]);
        assert_eq!(catalogue.find("N.F31.I"), Some(PointId(3)));
        assert_eq!(catalogue.find("N.F3"), None);
        let twice = catalogue.add(point("N.F3.I", Kind::Single));
        assert_eq!(twice, Err(PointError::Twice(Tag::parse("N.F3.I").unwrap())));
    }

    #[test]
    fn impossible_fields_are_named() {
        let volt = || Kind::Measured(Unit::parse("V").unwrap());
        let derived = |shape| Kind::Derived {
            shape,
            expression: "1".into(),
        };
        let whole = Fixed::whole;
        let with = |kind, change: fn(&mut Definition)| {
            let mut point = point("p", kind);
            change(&mut point);
            point
        };
        let cases = [
            (with(volt(), |p| p.deadband = Fixed::whole(-1)), "deadband"),
            (
                with(Kind::Single, |p| p.deadband = Fixed::whole(1)),
                "deadband",
            ),
            (
                with(volt(), |p| {
                    p.range = Some((Fixed::whole(2), Fixed::whole(2)))
                }),
                "range",
            ),
            (
                with(volt(), |p| p.age_max = Some(Duration::ZERO)),
                "age_max",
            ),
            (with(derived(Shape::Double), |_| {}), "shape"),
            (
                with(volt(), |p| p.description = "x".repeat(TEXT_BYTES_MAX + 1)),
                "description",
            ),
        ];
        for (definition, expected) in cases {
            match Catalogue::default().add(definition) {
                Err(PointError::Field { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        let fine = with(volt(), |p| {
            p.range = Some((Fixed::ZERO, Fixed::whole(500)));
        });
        assert!(Catalogue::default().add(fine).is_ok());
        assert_eq!(whole(1).millionths(), 1_000_000);
    }
}
