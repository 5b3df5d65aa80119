//! What steps ask of the client, and what they share.

use std::collections::BTreeMap;

use gridloom_core::{Now, ObisCode};
use gridloom_dlms::apdu::{AttributeDescriptor, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{ClientError, Request, Response};
use gridloom_dlms::datetime::CosemDateTime;

use super::plan::{StepError, StepValue};
use crate::profile::{ProfileShape, date_time_of};
use crate::template::MeterTemplate;

/// Attributes in one question; a longer list is asked for in several.
const LIST_MAX: usize = 16;

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

pub(super) const fn done(result: Result<StepValue, StepError>) -> Next {
    Next::Done(result)
}

pub(super) const fn misfit(what: &'static str) -> StepError {
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

/// Reads the clock's time.
pub(super) fn clock_of(value: &Data) -> Result<CosemDateTime, StepError> {
    date_time_of(value).ok_or(misfit("the clock's time"))
}
