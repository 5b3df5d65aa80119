//! Sequences: steps that follow one another, each only when the one before has proved itself.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Instant, Now, UtcTime};

use super::definition::{ControlError, DeviceId, Persons, condition};
use super::desk::{CommandEnd, CommandId, Controls, Effect, Request, Stage, is_other_person};
use crate::audit::{Action, Actor, AuditOutcome};
use crate::expression::{Expression, Scratch};
use crate::image::Image;
use crate::point::{Catalogue, Tag, Value};

/// Sequences under way, those of load shedding included; more are refused.
pub const RUNS_MAX: usize = 256;
/// Steps of a sequence; more are refused.
pub const STEPS_MAX: usize = 256;

/// The longest wait of a step.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// The number of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A command, done when its feedback shows it.
    Operate(DeviceId, Value),
    /// Time that passes.
    Wait(Duration),
    /// A yes or no over points that must hold within a time.
    Until(String, Duration),
}

/// Steps with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Its name.
    pub name: Tag,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// A step that has been read.
#[derive(Debug, Clone)]
enum Ready {
    Operate(DeviceId, Value),
    Wait(Duration),
    Until(Box<Expression>, Duration),
}

#[derive(Debug)]
struct Run {
    name: Tag,
    steps: Vec<Ready>,
    actor: Actor,
    second: Option<Actor>,
    /// The step that is next or under way.
    step: usize,
    doing: Doing,
    /// Whether it switches the shedding block of its name.
    of_block: bool,
}

#[derive(Debug)]
enum Doing {
    /// The step has not begun.
    Nothing,
    Commanding(CommandId),
    Until(Instant),
    Failed(String),
}

/// Every sequence and every run.
#[derive(Debug, Default)]
pub(super) struct Runs {
    sequences: BTreeMap<Tag, Vec<Ready>>,
    runs: BTreeMap<RunId, Run>,
    next: u64,
    scratch: Scratch,
}

impl Runs {
    pub(super) fn wake(&self) -> Option<Instant> {
        let deadline = |run: &Run| match run.doing {
            Doing::Until(at) => Some(at),
            Doing::Nothing | Doing::Commanding(_) | Doing::Failed(_) => None,
        };
        self.runs.values().filter_map(deadline).min()
    }

    pub(super) fn command_ended(&mut self, run: RunId, command: CommandId, end: &CommandEnd) {
        let Some(run) = self.runs.get_mut(&run) else {
            return;
        };
        if !matches!(run.doing, Doing::Commanding(own) if own == command) {
            return;
        }
        let why = match end {
            CommandEnd::Done => {
                run.step += 1;
                run.doing = Doing::Nothing;
                return;
            }
            CommandEnd::Cancelled(why) => format!("cancelled, {why}"),
            CommandEnd::Expired => "the selection expired".into(),
            CommandEnd::Refused(words) => format!("the station refused, {words}"),
            CommandEnd::Unknown => "no feedback, check on site".into(),
        };
        run.doing = Doing::Failed(why);
    }
}

impl Controls {
    /// Takes a sequence.
    ///
    /// # Errors
    ///
    /// [`ControlError`] names the sequence, the step's field and the remedy.
    pub fn add_sequence(
        &mut self,
        sequence: Sequence,
        catalogue: &Catalogue,
    ) -> Result<(), ControlError> {
        let name = sequence.name;
        let fault = |field, got: String, remedy| ControlError::Field {
            name: name.clone(),
            field,
            got,
            remedy,
        };
        if self.runs.sequences.contains_key(&name) {
            return Err(ControlError::Twice(name));
        }
        if sequence.steps.is_empty() || sequence.steps.len() > STEPS_MAX {
            let got = sequence.steps.len().to_string();
            return Err(fault("steps", got, "give 1 to 256"));
        }
        let mut ready = Vec::new();
        for step in sequence.steps {
            ready.push(match step {
                Step::Operate(device, value) => {
                    let feedback = self.device(device)?.feedback;
                    if !catalogue.get(feedback).kind.shape().fits(value) {
                        let remedy = "command what the device's feedback shows";
                        return Err(fault("value", value.to_string(), remedy));
                    }
                    Ready::Operate(device, value)
                }
                Step::Wait(time) | Step::Until(_, time) if time.is_zero() || time > WAIT_MAX => {
                    return Err(fault(
                        "time",
                        format!("{time:?}"),
                        "give up to a day, not zero",
                    ));
                }
                Step::Wait(time) => Ready::Wait(time),
                Step::Until(text, time) => {
                    Ready::Until(Box::new(condition(&name, &text, catalogue)?), time)
                }
            });
        }
        self.runs.sequences.insert(name, ready);
        Ok(())
    }

    /// Starts a sequence. Where a device wants two persons, the second is named here.
    ///
    /// # Errors
    ///
    /// [`ControlError::AutomationStopped`], [`ControlError::WrongPerson`] without a second person,
    /// [`ControlError::Full`], [`ControlError::UnknownSequence`].
    pub fn start(
        &mut self,
        sequence: &Tag,
        actor: &Actor,
        second: Option<&Actor>,
        image: &Image,
        now: Now,
    ) -> Result<RunId, ControlError> {
        self.assert_drained();
        let steps = self.runs.sequences.get(sequence).cloned();
        let steps = steps.ok_or_else(|| ControlError::UnknownSequence(sequence.clone()))?;
        let id = self.start_steps(sequence, steps, actor, second, now)?;
        self.go_on(image, now);
        Ok(id)
    }

    /// Ends a run: no further step begins. A command that was sent is supervised to its end.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownRun`] if it is over.
    pub fn abort(
        &mut self,
        run: RunId,
        actor: &Actor,
        reason: &str,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        if !self.runs.runs.contains_key(&run) {
            return Err(ControlError::UnknownRun(run));
        }
        self.end_run(
            run,
            Some(actor),
            Err(format!("aborted by {actor}: {reason}")),
            now,
        );
        Ok(())
    }

    /// The sequences under way: number, name, the step from 1, and how many steps.
    pub fn runs(&self) -> impl Iterator<Item = (RunId, &Tag, usize, usize)> {
        let runs = self.runs.runs.iter();
        runs.map(|(id, run)| (*id, &run.name, run.step + 1, run.steps.len()))
    }

    pub(super) fn start_command(
        &mut self,
        name: &Tag,
        (device, value): (DeviceId, Value),
        actor: &Actor,
        now: Now,
    ) -> Result<RunId, ControlError> {
        let id = self.start_steps(name, vec![Ready::Operate(device, value)], actor, None, now)?;
        if let Some(run) = self.runs.runs.get_mut(&id) {
            run.of_block = true;
        }
        Ok(id)
    }

    fn start_steps(
        &mut self,
        name: &Tag,
        steps: Vec<Ready>,
        actor: &Actor,
        second: Option<&Actor>,
        now: Now,
    ) -> Result<RunId, ControlError> {
        self.automation_runs()?;
        if self.runs.runs.len() >= RUNS_MAX {
            return Err(ControlError::Full {
                what: "sequences under way",
                max: RUNS_MAX,
            });
        }
        let second = second.filter(|second| is_other_person(second, actor));
        let two = |step: &Ready| match step {
            Ready::Operate(device, _) => self.devices[device.index()].persons == Persons::Two,
            Ready::Wait(_) | Ready::Until(..) => false,
        };
        if steps.iter().any(two) && second.is_none() {
            return Err(ControlError::WrongPerson {
                who: actor.to_string(),
                remedy: "a device of it wants a second person: name one",
            });
        }
        let id = RunId(self.runs.next);
        self.runs.next += 1;
        let run = Run {
            name: name.clone(),
            steps,
            actor: actor.clone(),
            second: second.cloned(),
            step: 0,
            doing: Doing::Nothing,
            of_block: false,
        };
        self.runs.runs.insert(id, run);
        let texts = (String::new(), format!("started [{}]", id.0), "");
        let target = (Action::Sequence, name.to_string());
        self.audit(target, actor, texts, AuditOutcome::Done, now);
        Ok(id)
    }

    pub(super) fn abort_all_runs(&mut self, actor: &Actor, why: &str, now: Now) {
        let runs: Vec<RunId> = self.runs.runs.keys().copied().collect();
        for run in runs {
            self.end_run(run, Some(actor), Err(why.to_owned()), now);
        }
    }

    /// Takes every run as far as it goes.
    pub(super) fn go_on(&mut self, image: &Image, now: Now) {
        let runs: Vec<RunId> = self.runs.runs.keys().copied().collect();
        for id in runs {
            // Each turn ends a step or stops: no more turns than steps.
            while self.advance(id, image, now) {}
        }
    }

    /// Whether something was done that allows a further step.
    fn advance(&mut self, id: RunId, image: &Image, now: Now) -> bool {
        let Runs { runs, scratch, .. } = &mut self.runs;
        let Some(run) = runs.get_mut(&id) else {
            return false;
        };
        let Some(step) = run.steps.get(run.step) else {
            self.end_run(id, None, Ok(()), now);
            return false;
        };
        match (&run.doing, step) {
            (Doing::Failed(why), _) => {
                let why = format!("step {}: {why}", run.step + 1);
                self.end_run(id, None, Err(why), now);
                false
            }
            (Doing::Commanding(command), _) => {
                let (command, actor) = (*command, run.actor.clone());
                let selected = self.commands.get(&command);
                if selected.is_none_or(|command| command.stage != Stage::Selected) {
                    return false;
                }
                let Err(error) = self.send(command, &actor, now.utc, image, now) else {
                    return false;
                };
                if let Some(run) = self.runs.runs.get_mut(&id) {
                    run.doing = Doing::Failed(error.to_string());
                }
                true
            }
            (_, Ready::Operate(device, value)) => {
                let (request, second) =
                    (request(run, *device, *value, now.utc), run.second.clone());
                let begun = self.begin(request, Some(id), image, now);
                let doing = match begun {
                    Ok(command) => {
                        if let Some(command) = self.commands.get_mut(&command) {
                            command.second = second;
                        }
                        Doing::Commanding(command)
                    }
                    Err(error) => Doing::Failed(error.to_string()),
                };
                if let Some(run) = self.runs.runs.get_mut(&id) {
                    run.doing = doing;
                }
                true
            }
            (Doing::Nothing, Ready::Wait(time) | Ready::Until(_, time)) => {
                run.doing = Doing::Until(now.instant + *time);
                true
            }
            (Doing::Until(at), Ready::Wait(_)) => {
                let over = *at <= now.instant;
                if over {
                    run.step += 1;
                    run.doing = Doing::Nothing;
                }
                over
            }
            (Doing::Until(at), Ready::Until(expression, time)) => {
                if expression.evaluate(image.frame(), scratch).holds() {
                    run.step += 1;
                    run.doing = Doing::Nothing;
                } else if *at <= now.instant {
                    let objections =
                        expression.objections(image.frame(), image.catalogue(), scratch);
                    let why = format!("not within {time:?}, {}", objections.join("; "));
                    run.doing = Doing::Failed(why);
                } else {
                    return false;
                }
                true
            }
        }
    }

    fn end_run(&mut self, id: RunId, by: Option<&Actor>, end: Result<(), String>, now: Now) {
        let Some(run) = self.runs.runs.remove(&id) else {
            return;
        };
        if let Doing::Commanding(command) = run.doing
            && let Some(standing) = self.commands.get(&command)
            && matches!(standing.stage, Stage::Selecting | Stage::Selected)
        {
            self.end(
                command,
                CommandEnd::Cancelled("its sequence ended".into()),
                now,
            );
        }
        if run.of_block && end.is_err() {
            self.blocks.undo(&run.name);
        }
        let outcome = match &end {
            Ok(()) => AuditOutcome::Done,
            Err(why) => AuditOutcome::Failed(why.clone()),
        };
        let texts = (String::new(), format!("ended [{}]", id.0), "");
        let target = (Action::Sequence, run.name.to_string());
        self.audit(target, by.unwrap_or(&run.actor), texts, outcome, now);
        self.effects.push_back(Effect::RunEnded(id, end));
    }
}

fn request(run: &Run, device: DeviceId, value: Value, now: UtcTime) -> Request {
    Request {
        device,
        value,
        actor: run.actor.clone(),
        issued_at: now,
        caution_read: false,
    }
}
