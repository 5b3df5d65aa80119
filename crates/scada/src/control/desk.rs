//! One command after another: who holds which device, what was sent, what came back.

use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{Instant, Now, UtcTime, Wake};

use super::definition::{
    CLOCK_AHEAD_MAX, Check, ControlError, Device, DeviceId, Persons, Selecting, check,
};
use super::note::{Note, NoteId, NoteKind, Notes, Remover};
use super::sequence::{RunId, Runs};
use super::shedding::Blocks;
use crate::audit::{Action, Actor, AuditOutcome, AuditRecord};
use crate::expression::Scratch;
use crate::image::Image;
use crate::point::{Catalogue, Frame, Position, Tag, Value};

/// Commands under way; more are refused.
pub const SELECTED_MAX: usize = 1_024;

/// The number of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub(super) u64);

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of which device.
    pub device: DeviceId,
    /// Which state or number.
    pub value: Value,
    /// Who.
    pub actor: Actor,
    /// When, by the clock of the desk.
    pub issued_at: UtcTime,
    /// Whether the caution tags of the device were read.
    pub caution_read: bool,
}

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The station was asked to reserve the object.
    Selecting,
    /// It is reserved: operate, or cancel.
    Selected,
    /// It was sent.
    Sent,
    /// The station took it: the feedback is awaited.
    Accepted,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEnd {
    /// The feedback shows what was wanted.
    Done,
    /// Somebody or something took it back before it was sent.
    Cancelled(String),
    /// The selection was not used in time.
    Expired,
    /// The station refused.
    Refused(String),
    /// It was sent, and no feedback came: the state is unknown, check on site.
    Unknown,
}

/// What a station answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The object is reserved.
    Selected,
    /// The command is taken.
    Accepted,
    /// It refuses, with its words.
    Refused(String),
}

/// A command under way, for every desk to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its number.
    pub command: CommandId,
    /// Of which device.
    pub device: DeviceId,
    /// What is wanted.
    pub value: Value,
    /// Who wants it.
    pub by: Actor,
    /// Who agreed.
    pub second: Option<Actor>,
    /// Where it stands.
    pub stage: Stage,
    /// When this stage ends by itself.
    pub until: UtcTime,
}

/// What the host carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the station to reserve the object.
    Select(CommandId, DeviceId, Value),
    /// Send the command.
    Operate(CommandId, DeviceId, Value),
    /// Ask the station to let the object go.
    Cancel(CommandId, DeviceId, Value),
    /// A command is over.
    Ended(CommandId, CommandEnd),
    /// A sequence is over; `Err` says why it stopped.
    RunEnded(RunId, Result<(), String>),
    /// Limit what the meters of a group let through, or end the limit.
    LimitMeters(String, Option<u32>),
    /// Append to the audit log.
    Audit(Box<AuditRecord>),
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) device: DeviceId,
    pub(super) value: Value,
    pub(super) by: Actor,
    pub(super) second: Option<Actor>,
    caution_read: bool,
    pub(super) stage: Stage,
    until: Instant,
    until_utc: UtcTime,
    /// The sequence that it belongs to.
    pub(super) run: Option<RunId>,
}

/// Who stopped all automation, and why.
#[derive(Debug)]
struct Stop {
    by: String,
    reason: String,
}

/// Every device, command, tag, sequence and shedding block.
///
/// The host calls [`Controls::look`] after each cycle of the image and
/// [`Controls::handle_timeout`] at [`Controls::wake`], and drains [`Controls::poll_effect`] after
/// each call.
#[derive(Debug)]
pub struct Controls {
    pub(super) devices: Vec<Device>,
    checks: Vec<Vec<Check>>,
    by_name: BTreeMap<Tag, DeviceId>,
    pub(super) commands: BTreeMap<CommandId, Command>,
    held: BTreeMap<DeviceId, CommandId>,
    next: u64,
    notes: Notes,
    stop: Option<Stop>,
    pub(super) runs: Runs,
    pub(super) blocks: Blocks,
    scratch: Scratch,
    pub(super) effects: VecDeque<Effect>,
}

impl Controls {
    /// The controls of these devices.
    ///
    /// # Errors
    ///
    /// [`ControlError`] names the device, the field and the remedy.
    pub fn new(devices: Vec<Device>, catalogue: &Catalogue) -> Result<Self, ControlError> {
        let mut by_name = BTreeMap::new();
        let mut checks = Vec::new();
        for (device, number) in devices.iter().zip(0_u32..) {
            checks.push(check(device, catalogue)?);
            if by_name
                .insert(device.name.clone(), DeviceId(number))
                .is_some()
            {
                return Err(ControlError::Twice(device.name.clone()));
            }
        }
        Ok(Self {
            devices,
            checks,
            by_name,
            commands: BTreeMap::new(),
            held: BTreeMap::new(),
            next: 1,
            notes: Notes::default(),
            stop: None,
            runs: Runs::default(),
            blocks: Blocks::default(),
            scratch: Scratch::default(),
            effects: VecDeque::new(),
        })
    }

    /// The device of this name.
    pub fn find(&self, name: &str) -> Option<DeviceId> {
        self.by_name.get(&Tag::parse(name).ok()?).copied()
    }

    /// A device as configured.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownDevice`].
    pub fn device(&self, device: DeviceId) -> Result<&Device, ControlError> {
        let known = self.devices.get(device.index());
        known.ok_or(ControlError::UnknownDevice(device))
    }

    /// Every command under way.
    pub fn standing(&self) -> impl Iterator<Item = Standing> + '_ {
        self.commands.iter().map(|(id, command)| Standing {
            command: *id,
            device: command.device,
            value: command.value,
            by: command.by.clone(),
            second: command.second.clone(),
            stage: command.stage,
            until: command.until_utc,
        })
    }

    /// Whether a command would be taken now, and if not, why. Nothing is reserved.
    ///
    /// # Errors
    ///
    /// What [`Controls::select`] would say.
    pub fn try_request(
        &mut self,
        request: &Request,
        image: &Image,
        now: Now,
    ) -> Result<(), ControlError> {
        self.allow(request, None, image, now)
    }

    /// Reserves a device for a command.
    ///
    /// # Errors
    ///
    /// [`ControlError`] says why not, with the reasons of interlocks and tags. The refusal is
    /// audited.
    pub fn select(
        &mut self,
        request: Request,
        image: &Image,
        now: Now,
    ) -> Result<CommandId, ControlError> {
        self.assert_drained();
        self.begin(request, None, image, now)
    }

    /// A second person agrees.
    ///
    /// # Errors
    ///
    /// [`ControlError::WrongPerson`] if it is the first one or no person,
    /// [`ControlError::Stage`] if it was sent already.
    pub fn agree(
        &mut self,
        command: CommandId,
        actor: &Actor,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        let standing = self.command(command)?;
        if !matches!(standing.stage, Stage::Selecting | Stage::Selected) {
            return Err(ControlError::Stage {
                stage: standing.stage,
                remedy: "a second person agrees before it is sent",
            });
        }
        if !is_other_person(actor, &standing.by) {
            return Err(ControlError::WrongPerson {
                who: actor.to_string(),
                remedy: "a second person has to agree, other than the first",
            });
        }
        standing.second = Some(actor.clone());
        self.audit_command(command, actor, "agreed", AuditOutcome::Done, now);
        Ok(())
    }

    /// Sends a selected command, if everything still allows it.
    ///
    /// # Errors
    ///
    /// [`ControlError`] says why not. A refusal by age, tag or interlock ends the selection.
    pub fn operate(
        &mut self,
        command: CommandId,
        actor: &Actor,
        issued_at: UtcTime,
        image: &Image,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        self.send(command, actor, issued_at, image, now)
    }

    /// Takes a command back before it is sent.
    ///
    /// # Errors
    ///
    /// [`ControlError::Stage`] once it was sent.
    pub fn cancel(
        &mut self,
        command: CommandId,
        actor: &Actor,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        let standing = self.command(command)?;
        if !matches!(standing.stage, Stage::Selecting | Stage::Selected) {
            return Err(ControlError::Stage {
                stage: standing.stage,
                remedy: "it was sent: command the opposite instead",
            });
        }
        self.end(command, CommandEnd::Cancelled(format!("by {actor}")), now);
        Ok(())
    }

    /// Takes the answer of a station. One that comes too late, or twice, changes nothing.
    pub fn handle_answer(&mut self, command: CommandId, answer: Answer, image: &Image, now: Now) {
        self.assert_drained();
        let Some(standing) = self.commands.get_mut(&command) else {
            return;
        };
        match (answer, standing.stage) {
            (Answer::Selected, Stage::Selecting) => standing.stage = Stage::Selected,
            (Answer::Accepted, Stage::Sent) => standing.stage = Stage::Accepted,
            (Answer::Refused(words), _) => self.end(command, CommandEnd::Refused(words), now),
            (Answer::Selected | Answer::Accepted, _) => {}
        }
        self.go_on(image, now);
    }

    /// Compares the feedback of commands that were sent with what was wanted.
    pub fn look(&mut self, image: &Image, now: Now) {
        self.assert_drained();
        let frame = image.frame();
        let reached = |(id, command): (&CommandId, &Command)| {
            let sent = matches!(command.stage, Stage::Sent | Stage::Accepted);
            let device = &self.devices[command.device.index()];
            (sent && is_reached(device, command.value, frame)).then_some(*id)
        };
        let done: Vec<CommandId> = self.commands.iter().filter_map(reached).collect();
        for command in done {
            self.end(command, CommandEnd::Done, now);
        }
        self.go_on(image, now);
    }

    /// Ends selections and feedback times that are over, and goes on with sequences.
    pub fn handle_timeout(&mut self, image: &Image, now: Now) {
        self.assert_drained();
        let over: Vec<(CommandId, Stage)> = self
            .commands
            .iter()
            .filter(|(_, command)| command.until <= now.instant)
            .map(|(id, command)| (*id, command.stage))
            .collect();
        for (command, stage) in over {
            let end = match stage {
                Stage::Selecting | Stage::Selected => CommandEnd::Expired,
                Stage::Sent | Stage::Accepted => CommandEnd::Unknown,
            };
            self.end(command, end, now);
        }
        self.go_on(image, now);
    }

    /// When [`Controls::handle_timeout`] is to be called next.
    pub fn wake(&self) -> Wake {
        let commands = self.commands.values().map(|command| command.until).min();
        let earliest = |at: Option<Instant>, cause| Wake {
            instant: at.map(|at| (at, cause)),
            utc: None,
        };
        earliest(commands, "command").earliest(earliest(self.runs.wake(), "sequence"))
    }

    /// What the host is to carry out next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Hangs a tag on a device. One that forbids commands cancels a selection.
    ///
    /// # Errors
    ///
    /// [`ControlError::Full`] beyond [`super::NOTES_MAX`], [`ControlError::NoReason`] without text.
    pub fn place(
        &mut self,
        device: DeviceId,
        kind: NoteKind,
        actor: &Actor,
        text: &str,
        now: Now,
    ) -> Result<NoteId, ControlError> {
        self.assert_drained();
        let name = self.device(device)?.name.clone();
        if text.trim().is_empty() {
            return Err(ControlError::NoReason(format!("tag on {name}")));
        }
        let after = kind.name().to_owned();
        let note = Note {
            kind,
            owner: actor.name().to_owned(),
            text: text.to_owned(),
            placed_at: now.utc,
        };
        let id = self.notes.place(device, note)?;
        let texts = (String::new(), after, text);
        self.audit(
            (Action::Tag, name.to_string()),
            actor,
            texts,
            AuditOutcome::Done,
            now,
        );
        if let Some(command) = self.held.get(&device).copied() {
            let standing = &self.commands[&command];
            let sent = matches!(standing.stage, Stage::Sent | Stage::Accepted);
            let automatic = is_automatic(&standing.by, standing.run);
            let read = standing.caution_read;
            let objection = self
                .notes
                .objection(device, &name, &standing.by, read, automatic);
            if let (false, Err(objection)) = (sent, objection) {
                self.end(command, CommandEnd::Cancelled(objection.to_string()), now);
            }
        }
        Ok(id)
    }

    /// Takes a tag down.
    ///
    /// # Errors
    ///
    /// [`ControlError::WrongPerson`] if it is somebody else's, [`ControlError::NoReason`].
    pub fn remove(
        &mut self,
        note: NoteId,
        actor: &Actor,
        remover: Remover,
        reason: &str,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        let (device, note) = self.notes.remove(note, actor, remover, reason)?;
        let name = self.device(device)?.name.to_string();
        let before = format!("{} of {}: {}", note.kind.name(), note.owner, note.text);
        let texts = (before, String::new(), reason);
        self.audit((Action::Tag, name), actor, texts, AuditOutcome::Done, now);
        Ok(())
    }

    /// The tags of a device.
    pub fn notes(&self, device: DeviceId) -> impl Iterator<Item = (NoteId, &Note)> {
        self.notes.of(device)
    }

    /// Stops all automation: sequences end, automatic selections are cancelled, and nothing but a
    /// person's own command is taken. What was sent is supervised to its end.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoReason`].
    pub fn stop_automation(
        &mut self,
        actor: &Actor,
        reason: &str,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        if reason.trim().is_empty() {
            return Err(ControlError::NoReason("stop of automation".into()));
        }
        let before = if self.stop.is_some() {
            "stopped"
        } else {
            "running"
        };
        self.stop = Some(Stop {
            by: actor.name().to_owned(),
            reason: reason.to_owned(),
        });
        let texts = (before.into(), "stopped".into(), reason);
        let target = (Action::EmergencyStop, "automation".into());
        self.audit(target, actor, texts, AuditOutcome::Done, now);
        self.abort_all_runs(actor, "automation stopped", now);
        let pending = |(id, command): (&CommandId, &Command)| {
            let unsent = matches!(command.stage, Stage::Selecting | Stage::Selected);
            (unsent && is_automatic(&command.by, command.run)).then_some(*id)
        };
        let cancelled: Vec<CommandId> = self.commands.iter().filter_map(pending).collect();
        for command in cancelled {
            self.end(
                command,
                CommandEnd::Cancelled("automation stopped".into()),
                now,
            );
        }
        Ok(())
    }

    /// Lets automation go on. Nothing that was ended begins again by itself.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoReason`].
    pub fn release_automation(
        &mut self,
        actor: &Actor,
        reason: &str,
        now: Now,
    ) -> Result<(), ControlError> {
        self.assert_drained();
        if reason.trim().is_empty() {
            return Err(ControlError::NoReason("release of automation".into()));
        }
        let before = if self.stop.take().is_some() {
            "stopped"
        } else {
            "running"
        };
        let texts = (before.into(), "running".into(), reason);
        let target = (Action::EmergencyStop, "automation".into());
        self.audit(target, actor, texts, AuditOutcome::Done, now);
        Ok(())
    }

    pub(super) fn begin(
        &mut self,
        request: Request,
        run: Option<RunId>,
        image: &Image,
        now: Now,
    ) -> Result<CommandId, ControlError> {
        if let Err(error) = self.allow(&request, run, image, now) {
            if let Ok(device) = self.device(request.device) {
                let target = (Action::Command, device.name.to_string());
                let texts = (String::new(), request.value.to_string(), "");
                let outcome = AuditOutcome::Refused(error.to_string());
                self.audit(target, &request.actor, texts, outcome, now);
            }
            return Err(error);
        }
        let device = &self.devices[request.device.index()];
        let id = CommandId(self.next);
        self.next += 1;
        let stage = match device.selecting {
            Selecting::AtStation => {
                self.effects
                    .push_back(Effect::Select(id, request.device, request.value));
                Stage::Selecting
            }
            Selecting::Here => Stage::Selected,
        };
        let command = Command {
            device: request.device,
            value: request.value,
            by: request.actor.clone(),
            second: None,
            caution_read: request.caution_read,
            stage,
            until: now.instant + device.select_time,
            until_utc: now.utc + device.select_time,
            run,
        };
        self.held.insert(request.device, id);
        self.commands.insert(id, command);
        self.audit_command(id, &request.actor, "selected", AuditOutcome::Done, now);
        Ok(id)
    }

    pub(super) fn send(
        &mut self,
        id: CommandId,
        actor: &Actor,
        issued_at: UtcTime,
        image: &Image,
        now: Now,
    ) -> Result<(), ControlError> {
        let command = self.command(id)?;
        if command.stage != Stage::Selected {
            return Err(ControlError::Stage {
                stage: command.stage,
                remedy: "operate is for what is selected and not sent",
            });
        }
        if command.by != *actor {
            return Err(ControlError::WrongPerson {
                who: actor.to_string(),
                remedy: "who selected operates",
            });
        }
        let (run, agreed) = (command.run, command.second.is_some());
        let request = Request {
            device: command.device,
            value: command.value,
            actor: actor.clone(),
            issued_at,
            caution_read: command.caution_read,
        };
        let device = &self.devices[request.device.index()];
        let (feedback_time, name) = (device.feedback_time, device.name.clone());
        if device.persons == Persons::Two && !agreed {
            return Err(ControlError::WrongPerson {
                who: actor.to_string(),
                remedy: "a second person has to agree first",
            });
        }
        if let Err(error) = self
            .fresh(&name, &request, now)
            .and_then(|()| self.permit(&request, run, image))
        {
            self.end(id, CommandEnd::Cancelled(error.to_string()), now);
            return Err(error);
        }
        let command = self.command(id)?;
        command.stage = Stage::Sent;
        command.until = now.instant + feedback_time;
        command.until_utc = now.utc + feedback_time;
        self.effects
            .push_back(Effect::Operate(id, request.device, request.value));
        self.audit_command(id, actor, "sent", AuditOutcome::Done, now);
        Ok(())
    }

    /// Everything that has to hold at a selection.
    fn allow(
        &mut self,
        request: &Request,
        run: Option<RunId>,
        image: &Image,
        now: Now,
    ) -> Result<(), ControlError> {
        let device = self.device(request.device)?.clone();
        self.fresh(&device.name, request, now)?;
        if let Some(holder) = self.held.get(&request.device) {
            let holder = &self.commands[holder];
            return Err(ControlError::Held {
                device: device.name,
                by: holder.by.to_string(),
                until: holder.until_utc,
            });
        }
        if self.commands.len() >= SELECTED_MAX {
            return Err(ControlError::Full {
                what: "commands",
                max: SELECTED_MAX,
            });
        }
        suits(&device, request.value, image.frame())?;
        self.permit(request, run, image)
    }

    fn fresh(&self, name: &Tag, request: &Request, now: Now) -> Result<(), ControlError> {
        let device = name.clone();
        let ahead = request.issued_at.since(now.utc);
        if ahead > CLOCK_AHEAD_MAX {
            return Err(ControlError::FromTheFuture { device, ahead });
        }
        let limit = self.devices[request.device.index()].age_max;
        let age = now.utc.since(request.issued_at);
        if age > limit {
            return Err(ControlError::TooOld { device, age, limit });
        }
        Ok(())
    }

    /// Stop of automation, tags, interlocks.
    fn permit(
        &mut self,
        request: &Request,
        run: Option<RunId>,
        image: &Image,
    ) -> Result<(), ControlError> {
        let automatic = is_automatic(&request.actor, run);
        if automatic {
            self.automation_runs()?;
        }
        let (id, actor) = (request.device, &request.actor);
        let name = &self.devices[id.index()].name;
        // The person who started a sequence stands for its tags, not the machine.
        let alone = matches!(actor, Actor::Automation(_));
        self.notes
            .objection(id, name, actor, request.caution_read, alone)?;
        let mut reasons = Vec::new();
        for check in &self.checks[id.index()] {
            if check.value.is_none_or(|value| value == request.value) {
                let frame = image.frame();
                let catalogue = image.catalogue();
                let objections = check
                    .expression
                    .objections(frame, catalogue, &mut self.scratch);
                reasons.extend(
                    objections
                        .into_iter()
                        .map(|objection| format!("{}, {objection}", check.reason)),
                );
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        Err(ControlError::Interlocked {
            device: name.clone(),
            reasons,
        })
    }

    pub(super) fn automation_runs(&self) -> Result<(), ControlError> {
        match &self.stop {
            None => Ok(()),
            Some(stop) => Err(ControlError::AutomationStopped {
                by: stop.by.clone(),
                reason: stop.reason.clone(),
            }),
        }
    }

    pub(super) fn end(&mut self, id: CommandId, end: CommandEnd, now: Now) {
        let Some(command) = self.commands.get(&id) else {
            return;
        };
        let unsent = matches!(command.stage, Stage::Selecting | Stage::Selected);
        let (device, value, by) = (command.device, command.value, command.by.clone());
        let at_station = self.devices[device.index()].selecting == Selecting::AtStation;
        if unsent && at_station && !matches!(end, CommandEnd::Refused(_)) {
            self.effects.push_back(Effect::Cancel(id, device, value));
        }
        let (word, outcome) = match &end {
            CommandEnd::Done => ("verified", AuditOutcome::Done),
            CommandEnd::Cancelled(why) => ("cancelled", AuditOutcome::Refused(why.clone())),
            CommandEnd::Expired => (
                "expired",
                AuditOutcome::Refused("the selection was not used in time".into()),
            ),
            CommandEnd::Refused(words) => {
                ("refused", AuditOutcome::Failed(format!("station: {words}")))
            }
            CommandEnd::Unknown => (
                "sent",
                AuditOutcome::Unknown("no feedback in time: check on site".into()),
            ),
        };
        self.audit_command(id, &by, word, outcome, now);
        self.held.remove(&device);
        if let Some(run) = self.commands.remove(&id).and_then(|command| command.run) {
            self.runs.command_ended(run, id, &end);
        }
        self.effects.push_back(Effect::Ended(id, end));
    }

    fn command(&mut self, id: CommandId) -> Result<&mut Command, ControlError> {
        self.commands
            .get_mut(&id)
            .ok_or(ControlError::UnknownCommand(id))
    }

    pub(super) fn assert_drained(&self) {
        assert!(
            self.effects.is_empty(),
            "host must drain effects between inputs"
        );
    }

    fn audit_command(
        &mut self,
        id: CommandId,
        actor: &Actor,
        word: &str,
        outcome: AuditOutcome,
        now: Now,
    ) {
        let Some(command) = self.commands.get(&id) else {
            return;
        };
        let target = self.devices[command.device.index()].name.to_string();
        let second = command
            .second
            .as_ref()
            .map_or(String::new(), |second| format!(", with {second}"));
        let after = format!("{} {word}{second} [{}]", command.value, id.0);
        let texts = (String::new(), after, "");
        self.audit((Action::Command, target), actor, texts, outcome, now);
    }

    pub(super) fn audit(
        &mut self,
        (action, target): (Action, String),
        actor: &Actor,
        (before, after, reason): (String, String, &str),
        outcome: AuditOutcome,
        now: Now,
    ) {
        self.effects.push_back(Effect::Audit(Box::new(AuditRecord {
            at: now.utc,
            actor: actor.clone(),
            action,
            target,
            before,
            after,
            reason: reason.to_owned(),
            outcome,
        })));
    }
}

/// Whether `actor` is a person and another one than `first`.
pub(super) fn is_other_person(actor: &Actor, first: &Actor) -> bool {
    matches!(actor, Actor::Person(_)) && actor.name() != first.name()
}

const fn is_automatic(actor: &Actor, run: Option<RunId>) -> bool {
    run.is_some() || matches!(actor, Actor::Automation(_))
}

/// Whether a device can be set to a value, and is not there already.
fn suits(device: &Device, value: Value, frame: &Frame) -> Result<(), ControlError> {
    let (shape, quality) = (frame.shape(device.feedback), frame.quality(device.feedback));
    let refuse = |remedy| ControlError::Value {
        device: device.name.clone(),
        value,
        remedy,
    };
    if !shape.fits(value) {
        return Err(refuse("command what its feedback shows"));
    }
    let undecided = [Position::Intermediate, Position::Faulty].map(Value::Double);
    if undecided.contains(&value) {
        return Err(refuse("command open or closed"));
    }
    if let (Value::Number(number), Some((low, high))) = (value, device.range)
        && !(low <= number && number <= high)
    {
        return Err(refuse("stay within its range"));
    }
    if !quality.is_trusted() {
        return Err(ControlError::StateUnknown {
            device: device.name.clone(),
            quality: quality.to_string(),
        });
    }
    let state = matches!(value, Value::Single(_) | Value::Double(_));
    if state && frame.value(device.feedback) == value {
        return Err(ControlError::AlreadyThere {
            device: device.name.clone(),
            value,
        });
    }
    Ok(())
}

fn is_reached(device: &Device, value: Value, frame: &Frame) -> bool {
    let distance = frame.raw(device.feedback).abs_diff(value.raw());
    let tolerance = device.tolerance.millionths().unsigned_abs();
    frame.quality(device.feedback).is_trusted() && distance <= tolerance
}

#[cfg(test)]
mod tests;
