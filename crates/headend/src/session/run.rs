//! One step as a small machine: it asks, and each answer makes it ask again or end.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Now, ObisCode, UtcTime};
use gridloom_dlms::apdu::{AttributeDescriptor, DataAccessResult, MethodDescriptor};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{ClientError, Request, Response};
use gridloom_dlms::datetime::CosemDateTime;

use super::browse::objects_of;
use super::plan::{ClockReport, ControlState, Step, StepError, StepValue, Supply};
use super::reading::{ProfileRun, Wanted};
use crate::profile::{ProfileShape, date_time_of, integer_of, time_of};
use crate::template::MeterTemplate;

/// Attributes in one question; a longer list is asked for in several.
pub(super) const LIST_MAX: usize = 16;

const CLOCK: ObisCode = ObisCode([0, 0, 1, 0, 0, 255]);
const DISCONNECTOR: ObisCode = ObisCode([0, 0, 96, 3, 10, 255]);
const ASSOCIATION: ObisCode = ObisCode([0, 0, 40, 0, 0, 255]);

/// What every step of a session shares.
#[derive(Debug)]
pub(super) struct Memory {
    /// The shapes of profiles, known before or learned.
    pub(super) shapes: BTreeMap<ObisCode, ProfileShape>,
    /// Minutes from the meter's local time to UTC, once it was asked.
    pub(super) deviation: Option<i16>,
}

/// What a step sees of its session.
pub(super) struct Context<'a> {
    pub(super) template: &'a MeterTemplate,
    pub(super) memory: &'a mut Memory,
    pub(super) now: Now,
}

/// What a step wants next.
#[derive(Debug)]
pub(super) enum Next {
    Ask(Request),
    Done(Result<StepValue, StepError>),
}

/// An answer, or the meter's refusal of this one request.
pub(super) type Answer = Result<Response, ClientError>;

/// A step that runs.
#[derive(Debug)]
pub(super) enum Run {
    Get,
    List(ListRun),
    Profile(Box<ProfileRun>),
    Set,
    Invoke,
    Browse,
    Clock(ClockRun),
    Supply(SupplyRun),
}

impl Run {
    pub(super) fn begin(step: &Step, context: &mut Context<'_>) -> (Self, Next) {
        match step {
            Step::Get { attribute, access } => (
                Self::Get,
                Next::Ask(Request::Get {
                    attribute: *attribute,
                    access: access.clone(),
                }),
            ),
            Step::GetList(attributes) => {
                let mut run = ListRun::new(attributes.clone());
                let next = run.ask(context);
                (Self::List(run), next)
            }
            Step::ReadProfile {
                profile,
                selection,
                columns,
            } => {
                let wanted = Wanted::Rows(columns.clone());
                let (run, next) = ProfileRun::begin(*profile, *selection, wanted, context);
                (Self::Profile(Box::new(run)), next)
            }
            Step::ReadEvents { log, selection } => {
                let (run, next) = ProfileRun::begin(*log, *selection, Wanted::Events, context);
                (Self::Profile(Box::new(run)), next)
            }
            Step::Set {
                attribute,
                access,
                value,
            } => (
                Self::Set,
                Next::Ask(Request::Set {
                    attribute: *attribute,
                    access: access.clone(),
                    value: value.clone(),
                }),
            ),
            Step::Invoke { method, parameters } => (
                Self::Invoke,
                Next::Ask(Request::Invoke {
                    method: *method,
                    parameters: parameters.clone(),
                }),
            ),
            Step::Browse => (Self::Browse, get(15, ASSOCIATION, 2)),
            Step::SyncClock {
                tolerance,
                max_step,
            } => (
                Self::Clock(ClockRun {
                    tolerance: *tolerance,
                    max_step: *max_step,
                    asked: context.now,
                    stage: ClockStage::Look,
                }),
                get(8, CLOCK, 2),
            ),
            Step::ReadSupply => (
                Self::Supply(SupplyRun {
                    wanted: None,
                    stage: SupplyStage::Output,
                }),
                get(70, DISCONNECTOR, 2),
            ),
            Step::Connect => SupplyRun::order(true),
            Step::Disconnect => SupplyRun::order(false),
        }
    }

    /// Whether the order has left: from now on its outcome is not known until it is answered.
    pub(super) const fn has_acted(&self) -> bool {
        match self {
            Self::Set | Self::Invoke => true,
            Self::Clock(run) => !matches!(run.stage, ClockStage::Look),
            Self::Supply(run) => run.wanted.is_some(),
            Self::Get | Self::List(_) | Self::Profile(_) | Self::Browse => false,
        }
    }

    pub(super) fn answer(&mut self, answer: Answer, context: &mut Context<'_>) -> Next {
        match self {
            Self::List(run) => run.answer(answer, context),
            Self::Profile(run) => run.answer(answer, context),
            Self::Clock(run) => run.answer(answer, context),
            Self::Supply(run) => run.answer(answer),
            Self::Get => done(
                answer
                    .map_err(StepError::from)
                    .and_then(|response| value_of(response).map(StepValue::Data)),
            ),
            Self::Browse => done(
                answer
                    .map_err(StepError::from)
                    .and_then(|response| objects_of(&value_of(response)?).map(StepValue::Objects)),
            ),
            Self::Set => done(answer.map_err(StepError::from).and_then(
                |response| match response {
                    Response::Written => Ok(StepValue::Written),
                    Response::Value(_)
                    | Response::Values(_)
                    | Response::WrittenList(_)
                    | Response::Invoked(_) => Err(misfit("the answer to a SET")),
                },
            )),
            Self::Invoke => done(answer.map_err(StepError::from).and_then(
                |response| match response {
                    Response::Invoked(returned) => Ok(StepValue::Invoked(returned)),
                    Response::Value(_)
                    | Response::Values(_)
                    | Response::Written
                    | Response::WrittenList(_) => Err(misfit("the answer to an ACTION")),
                },
            )),
        }
    }
}

const fn done(result: Result<StepValue, StepError>) -> Next {
    Next::Done(result)
}

const fn misfit(what: &'static str) -> StepError {
    StepError::Type { what }
}

/// Asks for one attribute.
pub(super) const fn get(class_id: u16, instance: ObisCode, attribute: i8) -> Next {
    Next::Ask(Request::Get {
        attribute: AttributeDescriptor {
            class_id,
            instance,
            attribute,
        },
        access: None,
    })
}

/// The value of an answered GET.
pub(super) fn value_of(response: Response) -> Result<Data, StepError> {
    match response {
        Response::Value(value) => Ok(value),
        Response::Values(_)
        | Response::Written
        | Response::WrittenList(_)
        | Response::Invoked(_) => Err(misfit("the answer to a GET")),
    }
}

/// Several attributes, in lists or one by one.
#[derive(Debug)]
pub(super) struct ListRun {
    attributes: Vec<AttributeDescriptor>,
    results: Vec<Result<Data, DataAccessResult>>,
}

impl ListRun {
    pub(super) const fn new(attributes: Vec<AttributeDescriptor>) -> Self {
        Self {
            attributes,
            results: Vec::new(),
        }
    }

    /// The next question, or the results when everything is answered.
    pub(super) fn ask(&mut self, context: &Context<'_>) -> Next {
        let rest = &self.attributes[self.results.len()..];
        match rest {
            [] => done(Ok(StepValue::List(std::mem::take(&mut self.results)))),
            [one] => get(one.class_id, one.instance, one.attribute),
            [one, ..] if !context.template.supports.lists => {
                get(one.class_id, one.instance, one.attribute)
            }
            rest => Next::Ask(Request::GetList(
                rest.iter()
                    .take(LIST_MAX)
                    .map(|attribute| (*attribute, None))
                    .collect(),
            )),
        }
    }

    pub(super) fn answer(&mut self, answer: Answer, context: &Context<'_>) -> Next {
        match answer {
            Ok(Response::Value(value)) => self.results.push(Ok(value)),
            Ok(Response::Values(values)) => self.results.extend(values),
            Ok(Response::Written | Response::WrittenList(_) | Response::Invoked(_)) => {
                return done(Err(misfit("the answer to a GET")));
            }
            Err(ClientError::Object(result, _)) => self.results.push(Err(result)),
            Err(error) => return done(Err(error.into())),
        }
        if self.results.len() > self.attributes.len() {
            return done(Err(misfit("the number of answers to a GET with list")));
        }
        self.ask(context)
    }
}

/// Looks at the clock, sets it, looks again.
#[derive(Debug)]
pub(super) struct ClockRun {
    tolerance: Duration,
    max_step: Duration,
    asked: Now,
    stage: ClockStage,
}

#[derive(Debug)]
enum ClockStage {
    Look,
    Set(ClockReport),
    Verify(ClockReport),
}

impl ClockRun {
    fn answer(&mut self, answer: Answer, context: &mut Context<'_>) -> Next {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return done(Err(error.into())),
        };
        match self.advance(response, context) {
            Ok(next) => next,
            Err(error) => done(Err(error)),
        }
    }

    fn advance(
        &mut self,
        response: Response,
        context: &mut Context<'_>,
    ) -> Result<Next, StepError> {
        let asked = std::mem::replace(&mut self.asked, context.now);
        match self.stage {
            ClockStage::Look => {
                let stated = clock_of(&value_of(response)?)?;
                let offset_ms = offset(stated, asked, context)?;
                let report = ClockReport {
                    offset_ms,
                    after_ms: None,
                    status: stated.status,
                };
                if within(offset_ms, self.tolerance) && !stated.status.is_suspect() {
                    return Ok(done(Ok(StepValue::Clock(report))));
                }
                if !within(offset_ms, self.max_step) {
                    return Err(StepError::ClockStep {
                        offset_ms,
                        max: self.max_step,
                    });
                }
                self.stage = ClockStage::Set(report);
                let value = clock_value(context.now.utc, stated.deviation)?;
                Ok(Next::Ask(Request::Set {
                    attribute: AttributeDescriptor {
                        class_id: 8,
                        instance: CLOCK,
                        attribute: 2,
                    },
                    access: None,
                    value,
                }))
            }
            ClockStage::Set(report) => {
                if response != Response::Written {
                    return Err(misfit("the answer to a SET"));
                }
                self.stage = ClockStage::Verify(report);
                Ok(get(8, CLOCK, 2))
            }
            ClockStage::Verify(report) => {
                let stated = clock_of(&value_of(response)?)?;
                let offset_ms = offset(stated, asked, context)?;
                // The clock was written in whole seconds and needs one answer's time.
                if !within(offset_ms, self.tolerance.max(Duration::from_secs(2))) {
                    return Err(StepError::ClockNotSet { offset_ms });
                }
                Ok(done(Ok(StepValue::Clock(ClockReport {
                    after_ms: Some(offset_ms),
                    ..report
                }))))
            }
        }
    }
}

/// Reads the clock's time.
pub(super) fn clock_of(value: &Data) -> Result<CosemDateTime, StepError> {
    date_time_of(value).ok_or(misfit("the clock's time"))
}

/// The meter's time minus ours at the middle of question and answer, in milliseconds.
fn offset(stated: CosemDateTime, asked: Now, context: &mut Context<'_>) -> Result<i64, StepError> {
    let theirs = time_of(stated, context.memory.deviation.unwrap_or(0))?;
    let ours = (asked.utc.as_millis() + context.now.utc.as_millis()) / 2;
    Ok(theirs.as_millis() - ours)
}

fn within(offset_ms: i64, limit: Duration) -> bool {
    u128::from(offset_ms.unsigned_abs()) <= limit.as_millis()
}

/// The time to write, in the form in which the meter stated its own.
fn clock_value(utc: UtcTime, deviation: i16) -> Result<Data, StepError> {
    let whole = UtcTime::from_secs(utc.as_secs());
    let minutes = match deviation {
        CosemDateTime::DEVIATION_OPEN => 0,
        minutes => minutes,
    };
    let local = UtcTime::from_secs(whole.as_secs() - i64::from(minutes) * 60);
    let written = CosemDateTime {
        deviation,
        ..CosemDateTime::from_utc(local)?
    };
    Ok(Data::OctetString(written.to_bytes().to_vec()))
}

/// Switches supply, and looks whether it is.
#[derive(Debug)]
pub(super) struct SupplyRun {
    /// What was ordered; `None` only looks.
    wanted: Option<bool>,
    stage: SupplyStage,
}

#[derive(Debug)]
enum SupplyStage {
    Order,
    Output,
    Control { output: bool },
}

impl SupplyRun {
    /// The disconnector's methods: 1 is remote_disconnect, 2 is remote_reconnect.
    fn order(on: bool) -> (Run, Next) {
        let run = Self {
            wanted: Some(on),
            stage: SupplyStage::Order,
        };
        let next = Next::Ask(Request::Invoke {
            method: MethodDescriptor {
                class_id: 70,
                instance: DISCONNECTOR,
                method: if on { 2 } else { 1 },
            },
            parameters: Some(Data::Integer(0)),
        });
        (Run::Supply(run), next)
    }

    fn answer(&mut self, answer: Answer) -> Next {
        let response = match (answer, &self.stage) {
            (Ok(response), _) => response,
            (Err(error), SupplyStage::Order) => return done(Err(error.into())),
            // The order was taken, but nobody may look what came of it.
            (Err(error), _) if self.wanted.is_some() => {
                return done(Err(StepError::OutcomeUnknown(error)));
            }
            (Err(error), _) => return done(Err(error.into())),
        };
        match self.stage {
            SupplyStage::Order => {
                self.stage = SupplyStage::Output;
                get(70, DISCONNECTOR, 2)
            }
            SupplyStage::Output => match value_of(response) {
                Ok(Data::Boolean(output)) => {
                    self.stage = SupplyStage::Control { output };
                    get(70, DISCONNECTOR, 3)
                }
                Ok(_) => done(Err(misfit("the disconnector's output state"))),
                Err(error) => done(Err(error)),
            },
            SupplyStage::Control { output } => {
                let control = value_of(response).ok().and_then(|value| integer_of(&value));
                let control = match control {
                    Some(0) => ControlState::Disconnected,
                    Some(1) => ControlState::Connected,
                    Some(2) => ControlState::ReadyForReconnection,
                    Some(_) | None => {
                        return done(Err(misfit("the disconnector's control state")));
                    }
                };
                let supply = Supply { output, control };
                let as_wanted = match self.wanted {
                    None => true,
                    // The meter may leave the last move to the customer's hand.
                    Some(true) => output || control == ControlState::ReadyForReconnection,
                    Some(false) => !output,
                };
                done(if as_wanted {
                    Ok(StepValue::Supply(supply))
                } else {
                    Err(StepError::NotVerified(supply))
                })
            }
        }
    }
}
