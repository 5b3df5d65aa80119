//! Derived points: in which order, and which of them a change reaches.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::UtcTime;

use super::{ImageError, is_derived};
use crate::expression::{Expression, Scratch, Type};
use crate::point::{Catalogue, Frame, Kind, PointId, Quality, Reason, Row, Shape};
use crate::unit::Dimension;

/// The derived points, each after its operands.
#[derive(Debug)]
pub(super) struct Derived {
    steps: Vec<Step>,
    /// Whether a step has to be evaluated.
    due: Vec<bool>,
    /// The first step that may be due.
    first_due: usize,
    /// For each point, where its dependents begin in `dependents`; one more at the end.
    starts: Vec<usize>,
    /// Steps.
    dependents: Vec<usize>,
    ranks: BTreeMap<PointId, usize>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Step {
    point: PointId,
    expression: Expression,
}

impl Derived {
    pub(super) fn new(catalogue: &Catalogue) -> Result<Self, ImageError> {
        let mut expressions = BTreeMap::new();
        for (id, point) in catalogue.iter() {
            if let Kind::Derived { shape, expression } = &point.kind {
                let tag = &point.tag;
                let expression = Expression::parse(expression, catalogue).map_err(|source| {
                    ImageError::Expression {
                        tag: tag.clone(),
                        source,
                    }
                })?;
                check_result(catalogue, id, *shape, expression.kind())?;
                expressions.insert(id, expression);
            }
        }
        let order = order(catalogue, &expressions)?;
        let ranks: BTreeMap<PointId, usize> = order
            .iter()
            .enumerate()
            .map(|(rank, id)| (*id, rank))
            .collect();
        let steps: Vec<Step> = order
            .into_iter()
            .map(|point| Step {
                point,
                expression: expressions
                    .remove(&point)
                    .expect("each stands once in the order"),
            })
            .collect();
        let mut reads = vec![BTreeSet::new(); catalogue.len()];
        for (rank, step) in steps.iter().enumerate() {
            for point in step.expression.points() {
                reads[point.index()].insert(rank);
            }
        }
        let mut starts = vec![0];
        let mut dependents = Vec::new();
        for ranks in reads {
            dependents.extend(ranks);
            starts.push(dependents.len());
        }
        Ok(Self {
            due: vec![true; steps.len()],
            first_due: 0,
            steps,
            starts,
            dependents,
            ranks,
            scratch: Scratch::default(),
        })
    }

    pub(super) fn contains(&self, point: PointId) -> bool {
        self.ranks.contains_key(&point)
    }

    /// A change of `point` makes what depends on it due.
    pub(super) fn reach(&mut self, point: PointId) {
        let place = point.index();
        for &rank in &self.dependents[self.starts[place]..self.starts[place + 1]] {
            self.due[rank] = true;
            self.first_due = self.first_due.min(rank);
        }
    }

    /// Makes the point itself due, if it is derived.
    pub(super) fn renew(&mut self, point: PointId) {
        if let Some(&rank) = self.ranks.get(&point) {
            self.due[rank] = true;
            self.first_due = self.first_due.min(rank);
        }
    }

    /// Evaluates what is due, in order, and adds what changed.
    pub(super) fn evaluate(
        &mut self,
        frozen: &mut Frame,
        live: &mut Frame,
        deadband: &[i64],
        by_hand: &BTreeMap<PointId, Row>,
        changed: &mut Vec<PointId>,
        now: UtcTime,
    ) {
        let mut rank = core::mem::replace(&mut self.first_due, self.steps.len());
        while rank < self.steps.len() {
            if core::mem::take(&mut self.due[rank])
                && let step = &self.steps[rank]
                && !by_hand.contains_key(&step.point)
            {
                let point = step.point;
                let row = row_of(step, frozen, &mut self.scratch, now);
                let before = frozen.row(point);
                let near = row.raw.abs_diff(before.raw) <= deadband[point.index()].unsigned_abs();
                // A blocked point keeps what it was.
                if !(before.quality.is_blocked() || (near && row.quality == before.quality)) {
                    frozen.set_row(point, row);
                    live.set_row(point, row);
                    changed.push(point);
                    self.reach(point);
                }
            }
            rank += 1;
        }
        // Everything reached lies behind what reached it.
        self.first_due = self.steps.len();
    }
}

fn row_of(step: &Step, frame: &Frame, scratch: &mut Scratch, now: UtcTime) -> Row {
    let outcome = step.expression.evaluate(frame, scratch);
    let raw = match frame.shape(step.point) {
        Shape::Number(unit) => outcome.millionths(unit),
        Shape::Single | Shape::Double | Shape::Step => Some(outcome.code()),
    };
    let mut quality = outcome.quality();
    if raw.is_none() {
        quality = Quality::bad(Reason::Arithmetic).worst(quality);
    }
    let times = step
        .expression
        .points()
        .map(|point| frame.source_time(point));
    Row {
        raw: raw.unwrap_or(0),
        quality,
        source: times.max().unwrap_or(now),
        server: now,
    }
}

fn check_result(
    catalogue: &Catalogue,
    id: PointId,
    shape: Shape,
    kind: Type,
) -> Result<(), ImageError> {
    let (fits, wanted, remedy) = match shape {
        Shape::Number(unit) => (
            kind == Type::Number(unit.dimension()),
            format!("a number in {unit}"),
            "correct the unit of the point or of the expression",
        ),
        Shape::Single | Shape::Step | Shape::Double => (
            kind == Type::Boolean,
            "a yes or no".into(),
            "compare with something",
        ),
    };
    if fits {
        return Ok(());
    }
    let got = match kind {
        Type::Number(Dimension::NONE) => "a number without unit".into(),
        Type::Number(dimension) => format!("a number in {dimension}"),
        Type::Boolean => "a yes or no".into(),
        Type::Position => "a position".into(),
    };
    Err(ImageError::Result {
        tag: catalogue.tag(id).clone(),
        got,
        wanted,
        remedy,
    })
}

/// Each derived point after the derived points that it reads.
fn order(
    catalogue: &Catalogue,
    expressions: &BTreeMap<PointId, Expression>,
) -> Result<Vec<PointId>, ImageError> {
    let mut missing: BTreeMap<PointId, usize> = BTreeMap::new();
    let mut readers: BTreeMap<PointId, Vec<PointId>> = BTreeMap::new();
    for (id, expression) in expressions {
        let operands: BTreeSet<PointId> = expression
            .points()
            .filter(|point| is_derived(&catalogue.get(*point).kind))
            .collect();
        missing.insert(*id, operands.len());
        for operand in operands {
            readers.entry(operand).or_default().push(*id);
        }
    }
    let mut order: Vec<PointId> = missing
        .iter()
        .filter_map(|(id, count)| (*count == 0).then_some(*id))
        .collect();
    let mut next = 0;
    while let Some(done) = order.get(next).copied() {
        next += 1;
        for reader in readers.get(&done).into_iter().flatten() {
            let count = missing.get_mut(reader).expect("every reader is counted");
            *count -= 1;
            if *count == 0 {
                order.push(*reader);
            }
        }
    }
    if order.len() == expressions.len() {
        return Ok(order);
    }
    let placed: BTreeSet<PointId> = order.into_iter().collect();
    Err(ImageError::Circle(circle(catalogue, expressions, &placed)))
}

/// The names of one circle among the points that found no place.
fn circle(
    catalogue: &Catalogue,
    expressions: &BTreeMap<PointId, Expression>,
    placed: &BTreeSet<PointId>,
) -> String {
    let unplaced = |id: &PointId| expressions.contains_key(id) && !placed.contains(id);
    let first = expressions.keys().copied().find(unplaced);
    let mut path = vec![first.expect("one found no place")];
    loop {
        let last = path[path.len() - 1];
        // Whoever found no place reads another that found none.
        let next = expressions[&last].points().find(unplaced);
        let next = next.expect("it waits for one");
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            path.drain(..start);
            path.push(next);
            let names: Vec<_> = path.iter().map(|id| catalogue.tag(*id).as_str()).collect();
            return names.join(" -> ");
        }
        path.push(next);
    }
}
