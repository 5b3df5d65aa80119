//! Reads an expression and checks its units, in one pass.

use super::lexer::{Sign, Token, Word, words};
use super::{Conjunct, Expression, Type};
use crate::point::{Catalogue, PointId, Position, Shape, TEXT_BYTES_MAX, Value};
use crate::unit::{Dimension, Unit};

/// Brackets, functions and signs within each other; more are refused.
pub const DEPTH_MAX: usize = 32;

/// What one computes with: billionths of base units.
pub(super) const BILLIONTHS: i128 = 1_000_000_000;
const BILLIONTHS_PER_MILLIONTH: i128 = 1_000;

/// Why an expression is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expression, column {column}: {what}; {remedy}")]
pub struct ExpressionError {
    column: usize,
    what: String,
    remedy: String,
}

impl ExpressionError {
    pub(super) fn at(
        text: &str,
        byte: usize,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            column: text[..byte].chars().count() + 1,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// The column of the fault, in characters from 1.
    pub const fn column(&self) -> usize {
        self.column
    }

    /// What to do.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// One operation; operands are places of earlier nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Literal(i128),
    /// A point's column times `numerator` over `denominator`.
    Point {
        id: PointId,
        numerator: i128,
        denominator: i128,
    },
    Test(Test, PointId),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    If(usize, usize, usize),
}

impl Node {
    pub(super) const fn point(self) -> Option<PointId> {
        match self {
            Self::Point { id, .. } | Self::Test(_, id) => Some(id),
            Self::Literal(_) | Self::Unary(..) | Self::Binary(..) | Self::If(..) => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Good,
    Bad,
    Old,
    Substituted,
    Blocked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Negate,
    Not,
    Abs,
    Root,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Min,
    Max,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
    /// The first, or the second where the first is bad.
    Instead,
}

const TESTS: [(&str, Test); 5] = [
    ("good", Test::Good),
    ("bad", Test::Bad),
    ("old", Test::Old),
    ("substituted", Test::Substituted),
    ("blocked", Test::Blocked),
];

impl Expression {
    /// Reads and checks an expression over the points of a catalogue.
    ///
    /// # Errors
    ///
    /// [`ExpressionError`] names the column, what is wrong there, and the remedy.
    pub fn parse(text: &str, catalogue: &Catalogue) -> Result<Self, ExpressionError> {
        if text.len() > TEXT_BYTES_MAX {
            let what = format!("it is {} bytes long", text.len());
            let remedy = format!("shorten it to {TEXT_BYTES_MAX}, or make two points of it");
            return Err(ExpressionError::at(text, 0, what, remedy));
        }
        let mut compiler = Compiler {
            text,
            tokens: words(text)?,
            next: 0,
            catalogue,
            nodes: Vec::new(),
            depth: 0,
            conjuncts: Vec::new(),
        };
        let result = compiler.either()?;
        let last = compiler.peek();
        if last.word != Word::End {
            let what = "the expression should have ended before this";
            return Err(compiler.fault(last, what, "put an operator between, or remove it"));
        }
        let whole = Conjunct {
            from: 0,
            to: text.len(),
            first: 0,
            last: result.node,
        };
        let mut conjuncts = compiler.conjuncts;
        if conjuncts.is_empty() {
            conjuncts.push(whole);
        }
        Ok(Self {
            text: text.into(),
            nodes: compiler.nodes.into(),
            kind: result.kind,
            conjuncts: conjuncts.into(),
        })
    }
}

/// A part that has been read.
#[derive(Debug, Clone, Copy)]
struct Part {
    node: usize,
    kind: Type,
    /// The literal zero, which fits every unit.
    zero: bool,
}

struct Compiler<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    catalogue: &'a Catalogue,
    nodes: Vec<Node>,
    depth: usize,
    conjuncts: Vec<Conjunct>,
}

type Parsed = Result<Part, ExpressionError>;

impl<'a> Compiler<'a> {
    fn either(&mut self) -> Parsed {
        let mut left = self.both()?;
        while let Some(token) = self.take_name("or") {
            // What stands below an `or` need not hold.
            if self.depth == 0 {
                self.conjuncts.clear();
            }
            self.expect(left, Type::Boolean, token)?;
            let right = self.both_below()?;
            self.expect(right, Type::Boolean, token)?;
            left = self.binary(Binary::Or, left, right, Type::Boolean);
        }
        Ok(left)
    }

    /// The right side of an `or`, whose terms are no terms of the whole.
    fn both_below(&mut self) -> Parsed {
        self.depth += 1;
        let part = self.both();
        self.depth -= 1;
        part
    }

    fn both(&mut self) -> Parsed {
        let mut terms = Vec::new();
        let (from, first) = (self.peek().from, self.nodes.len());
        let mut left = self.negation()?;
        terms.push(self.conjunct(from, first));
        while let Some(token) = self.take_name("and") {
            self.expect(left, Type::Boolean, token)?;
            let (from, first) = (self.peek().from, self.nodes.len());
            let right = self.negation()?;
            terms.push(self.conjunct(from, first));
            self.expect(right, Type::Boolean, token)?;
            left = self.binary(Binary::And, left, right, Type::Boolean);
        }
        if self.depth == 0 {
            self.conjuncts = terms;
        }
        Ok(left)
    }

    fn conjunct(&self, from: usize, first: usize) -> Conjunct {
        Conjunct {
            from,
            to: self.tokens[self.next - 1].to,
            first,
            last: self.nodes.len() - 1,
        }
    }

    fn negation(&mut self) -> Parsed {
        let Some(token) = self.take_name("not") else {
            return self.comparison();
        };
        let part = self.deeper(token, Self::negation)?;
        self.expect(part, Type::Boolean, token)?;
        Ok(self.unary(Unary::Not, part, Type::Boolean))
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        let token = self.peek();
        let (operation, swapped) = match token.word {
            Word::Sign(Sign::Less) => (Binary::Less, false),
            Word::Sign(Sign::LessOrEqual) => (Binary::LessOrEqual, false),
            Word::Sign(Sign::More) => (Binary::Less, true),
            Word::Sign(Sign::MoreOrEqual) => (Binary::LessOrEqual, true),
            Word::Sign(Sign::Equal) => (Binary::Equal, false),
            Word::Sign(Sign::NotEqual) => (Binary::NotEqual, false),
            Word::Sign(
                Sign::Plus
                | Sign::Minus
                | Sign::Times
                | Sign::Over
                | Sign::Open
                | Sign::Close
                | Sign::Comma,
            )
            | Word::Number(..)
            | Word::Name(_)
            | Word::Bracketed(_)
            | Word::End => return Ok(left),
        };
        self.next += 1;
        let right = self.sum()?;
        self.same(left, right, token)?;
        let ordered = matches!(operation, Binary::Less | Binary::LessOrEqual);
        if ordered && !matches!(left.kind, Type::Number(_)) {
            let what = "only numbers have an order";
            return Err(self.fault(token, what, "compare with == or !="));
        }
        let (left, right) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        Ok(self.binary(operation, left, right, Type::Boolean))
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let token = self.peek();
            let operation = if token.word == Word::Sign(Sign::Plus) {
                Binary::Add
            } else if token.word == Word::Sign(Sign::Minus) {
                Binary::Subtract
            } else {
                return Ok(left);
            };
            self.next += 1;
            let right = self.product()?;
            self.dimension(left, token)?;
            self.dimension(right, token)?;
            let kind = self.same(left, right, token)?;
            left = self.binary(operation, left, right, kind);
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.signed()?;
        loop {
            let token = self.peek();
            let times = token.word == Word::Sign(Sign::Times);
            if !times && token.word != Word::Sign(Sign::Over) {
                return Ok(left);
            }
            self.next += 1;
            let right = self.signed()?;
            let (a, b) = (self.dimension(left, token)?, self.dimension(right, token)?);
            let (operation, dimension) = if times {
                (Binary::Multiply, a.times(b))
            } else {
                (Binary::Divide, a.over(b))
            };
            let Some(dimension) = dimension else {
                return Err(self.fault(token, "the unit's power is too high", "simplify it"));
            };
            left = self.binary(operation, left, right, Type::Number(dimension));
        }
    }

    fn signed(&mut self) -> Parsed {
        let token = self.peek();
        if token.word != Word::Sign(Sign::Minus) {
            return self.primary();
        }
        self.next += 1;
        let part = self.deeper(token, Self::signed)?;
        self.dimension(part, token)?;
        Ok(Part {
            zero: part.zero,
            ..self.unary(Unary::Negate, part, part.kind)
        })
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek();
        self.next += 1;
        match token.word {
            Word::Number(number, unit) => {
                let (numerator, denominator) = unit.unwrap_or(Unit::ONE).factor();
                let scaled = i128::from(number.millionths()) * BILLIONTHS_PER_MILLIONTH * numerator;
                if scaled % denominator != 0 {
                    let what = "more than nine decimals in base units";
                    return Err(self.fault(token, what, "shorten the number"));
                }
                let dimension = unit.unwrap_or(Unit::ONE).dimension();
                let literal = Node::Literal(scaled / denominator);
                Ok(Part {
                    zero: scaled == 0 && unit.is_none(),
                    ..self.push(literal, Type::Number(dimension))
                })
            }
            Word::Bracketed(tag) => self.point(tag, token),
            Word::Name(name) => self.name(name, token),
            Word::Sign(Sign::Open) => {
                let part = self.deeper(token, Self::either)?;
                self.sign(Sign::Close, "( is not closed", "add )")?;
                Ok(part)
            }
            Word::Sign(_) | Word::End => {
                self.next -= 1;
                let what = "a number, a point, a function or ( is missing";
                Err(self.fault(token, what, "write one here"))
            }
        }
    }

    fn name(&mut self, name: &'a str, token: Token<'a>) -> Parsed {
        for (truth, word) in [(0, "false"), (1, "true")] {
            if name == word {
                return Ok(self.push(Node::Literal(truth), Type::Boolean));
            }
        }
        if let Some((position, _)) = Position::ALL.iter().find(|(_, word)| *word == name) {
            let code = i128::from(Value::Double(*position).raw());
            return Ok(self.push(Node::Literal(code), Type::Position));
        }
        if self.peek().word != Word::Sign(Sign::Open) {
            return self.point(name, token);
        }
        self.next += 1;
        let part = match name {
            "min" => self.fold(Binary::Min, token)?,
            "max" => self.fold(Binary::Max, token)?,
            "abs" => {
                let part = self.deeper(token, Self::either)?;
                self.dimension(part, token)?;
                self.unary(Unary::Abs, part, part.kind)
            }
            "sqrt" => {
                let part = self.deeper(token, Self::either)?;
                let dimension = self.dimension(part, token)?;
                let Some(root) = dimension.root() else {
                    let what = format!("{dimension} has no root");
                    return Err(self.fault(token, what, "take the root of a square"));
                };
                self.unary(Unary::Root, part, Type::Number(root))
            }
            "if" => self.choice(token)?,
            "value" => {
                let left = self.deeper(token, Self::either)?;
                self.sign(
                    Sign::Comma,
                    "value takes two",
                    "add , and what to take instead",
                )?;
                let right = self.deeper(token, Self::either)?;
                let kind = self.same(left, right, token)?;
                self.binary(Binary::Instead, left, right, kind)
            }
            _ => match TESTS.iter().find(|(word, _)| *word == name) {
                Some((_, test)) => self.test(*test, token)?,
                None => {
                    let what = format!("there is no function {name}");
                    let remedy = "use min, max, abs, sqrt, if, value, good, bad, old, \
                                  substituted or blocked";
                    return Err(self.fault(token, what, remedy));
                }
            },
        };
        self.sign(Sign::Close, "the function is not closed", "add )")?;
        Ok(part)
    }

    fn fold(&mut self, operation: Binary, token: Token<'a>) -> Parsed {
        let mut left = self.deeper(token, Self::either)?;
        self.dimension(left, token)?;
        while self.peek().word == Word::Sign(Sign::Comma) {
            self.next += 1;
            let right = self.deeper(token, Self::either)?;
            self.dimension(right, token)?;
            let kind = self.same(left, right, token)?;
            left = self.binary(operation, left, right, kind);
        }
        Ok(left)
    }

    fn choice(&mut self, token: Token<'a>) -> Parsed {
        let comma = "if takes a condition, a value and another value";
        let condition = self.deeper(token, Self::either)?;
        self.expect(condition, Type::Boolean, token)?;
        self.sign(Sign::Comma, comma, "add , and the value when it holds")?;
        let then = self.deeper(token, Self::either)?;
        self.sign(
            Sign::Comma,
            comma,
            "add , and the value when it does not hold",
        )?;
        let otherwise = self.deeper(token, Self::either)?;
        let kind = self.same(then, otherwise, token)?;
        Ok(self.push(Node::If(condition.node, then.node, otherwise.node), kind))
    }

    fn test(&mut self, test: Test, token: Token<'a>) -> Parsed {
        let place = self.peek();
        let (Word::Name(tag) | Word::Bracketed(tag)) = place.word else {
            return Err(self.fault(token, "it tests a point", "name a point in the brackets"));
        };
        self.next += 1;
        let id = self.find(tag, place)?;
        Ok(self.push(Node::Test(test, id), Type::Boolean))
    }

    fn point(&mut self, tag: &str, token: Token<'a>) -> Parsed {
        let id = self.find(tag, token)?;
        let (kind, numerator, denominator) = match self.catalogue.get(id).kind.shape() {
            Shape::Number(unit) => {
                let (numerator, denominator) = unit.factor();
                (
                    Type::Number(unit.dimension()),
                    BILLIONTHS_PER_MILLIONTH * numerator,
                    denominator,
                )
            }
            Shape::Step => (Type::Number(Dimension::NONE), BILLIONTHS, 1),
            Shape::Single => (Type::Boolean, 1, 1),
            Shape::Double => (Type::Position, 1, 1),
        };
        let node = Node::Point {
            id,
            numerator,
            denominator,
        };
        Ok(self.push(node, kind))
    }

    fn find(&self, tag: &str, token: Token<'a>) -> Result<PointId, ExpressionError> {
        self.catalogue.find(tag).ok_or_else(|| {
            let what = format!("there is no point {tag}");
            self.fault(token, what, "define it, or correct its name")
        })
    }

    fn deeper(&mut self, token: Token<'a>, read: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} levels within each other");
            return Err(self.fault(token, what, "make a point of the inner part"));
        }
        self.depth += 1;
        let part = read(self);
        self.depth -= 1;
        part
    }

    fn same(&self, a: Part, b: Part, token: Token<'a>) -> Result<Type, ExpressionError> {
        match (a.kind, b.kind) {
            (left, right) if left == right => Ok(left),
            (Type::Number(_), right @ Type::Number(_)) if a.zero => Ok(right),
            (left @ Type::Number(_), Type::Number(_)) if b.zero => Ok(left),
            (Type::Number(left), Type::Number(right)) => {
                let what = format!("one side is in {left}, the other in {right}");
                let known = if left == Dimension::NONE { right } else { left };
                let remedy = match known.example() {
                    Some(unit) => format!("give both in the same, such as {unit}"),
                    None => "give both in the same".into(),
                };
                Err(self.fault(token, what, remedy))
            }
            (left, right) => {
                let what = format!("one side is {}, the other {}", name(left), name(right));
                Err(self.fault(token, what, "give both of the same kind"))
            }
        }
    }

    fn expect(&self, part: Part, kind: Type, token: Token<'a>) -> Result<(), ExpressionError> {
        if part.kind == kind {
            return Ok(());
        }
        let what = format!("{} is wanted, not {}", name(kind), name(part.kind));
        Err(self.fault(token, what, "compare it with something"))
    }

    fn dimension(&self, part: Part, token: Token<'a>) -> Result<Dimension, ExpressionError> {
        match part.kind {
            Type::Number(dimension) => Ok(dimension),
            Type::Boolean | Type::Position => {
                let what = format!("a number is wanted, not {}", name(part.kind));
                Err(self.fault(token, what, "choose with if(condition, 1, 0)"))
            }
        }
    }

    fn binary(&mut self, operation: Binary, left: Part, right: Part, kind: Type) -> Part {
        self.push(Node::Binary(operation, left.node, right.node), kind)
    }

    fn unary(&mut self, operation: Unary, part: Part, kind: Type) -> Part {
        self.push(Node::Unary(operation, part.node), kind)
    }

    fn push(&mut self, node: Node, kind: Type) -> Part {
        self.nodes.push(node);
        Part {
            node: self.nodes.len() - 1,
            kind,
            zero: false,
        }
    }

    /// The next word; the end stays the end.
    fn peek(&self) -> Token<'a> {
        let last = self.tokens.len() - 1;
        self.tokens[self.next.min(last)]
    }

    fn take_name(&mut self, name: &str) -> Option<Token<'a>> {
        let token = self.peek();
        (token.word == Word::Name(name)).then(|| {
            self.next += 1;
            token
        })
    }

    fn sign(&mut self, sign: Sign, what: &str, remedy: &str) -> Result<(), ExpressionError> {
        let token = self.peek();
        if token.word != Word::Sign(sign) {
            return Err(self.fault(token, what, remedy));
        }
        self.next += 1;
        Ok(())
    }

    fn fault(
        &self,
        token: Token<'a>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ExpressionError {
        ExpressionError::at(self.text, token.from, what, remedy)
    }
}

fn name(kind: Type) -> String {
    match kind {
        Type::Number(dimension) => format!("a number in {dimension}"),
        Type::Boolean => "a yes or no".into(),
        Type::Position => "a position".into(),
    }
}
