//! Tags on devices: somebody's word to everybody else, several to a device.
//!
//! In code they are notes, so that the name of a point, also a tag, keeps its word.

use std::collections::BTreeMap;

use gridloom_core::UtcTime;

use super::definition::{ControlError, DeviceId};
use crate::audit::Actor;
use crate::point::Tag;

/// Notes on one device; more are refused.
pub const NOTES_MAX: usize = 16;

/// The number of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteId(u64);

/// What a note does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteKind {
    /// Whoever commands must say that it was read. Automation does not command.
    Caution,
    /// Nobody commands.
    ControlInhibit,
    /// Only this person commands.
    ControlAuthority(String),
}

impl NoteKind {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Caution => "caution",
            Self::ControlInhibit => "control inhibit",
            Self::ControlAuthority(_) => "control authority",
        }
    }
}

/// One note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it does.
    pub kind: NoteKind,
    /// Who placed it.
    pub owner: String,
    /// What it says.
    pub text: String,
    /// Since when.
    pub placed_at: UtcTime,
}

/// With which right a note is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remover {
    /// As its owner.
    Owner,
    /// As a supervisor, who may remove the note of somebody who is away; a reason is needed.
    Supervisor,
}

/// Every note.
#[derive(Debug, Default)]
pub(super) struct Notes {
    by_device: BTreeMap<DeviceId, BTreeMap<NoteId, Note>>,
    next: u64,
}

impl Notes {
    pub(super) fn place(&mut self, device: DeviceId, note: Note) -> Result<NoteId, ControlError> {
        let notes = self.by_device.entry(device).or_default();
        if notes.len() >= NOTES_MAX {
            return Err(ControlError::Full {
                what: "tags of a device",
                max: NOTES_MAX,
            });
        }
        let id = NoteId(self.next);
        self.next += 1;
        notes.insert(id, note);
        Ok(id)
    }

    pub(super) fn remove(
        &mut self,
        id: NoteId,
        actor: &Actor,
        remover: Remover,
        reason: &str,
    ) -> Result<(DeviceId, Note), ControlError> {
        let found = self
            .by_device
            .iter()
            .find_map(|(device, notes)| notes.get(&id).map(|note| (*device, note.clone())));
        let (device, note) = found.ok_or(ControlError::UnknownNote(id))?;
        match remover {
            Remover::Owner if note.owner != actor.name() => {
                return Err(ControlError::WrongPerson {
                    who: actor.to_string(),
                    remedy: "its owner or a supervisor removes a tag",
                });
            }
            Remover::Supervisor if reason.trim().is_empty() => {
                return Err(ControlError::NoReason("removal of a tag".into()));
            }
            Remover::Owner | Remover::Supervisor => {}
        }
        if let Some(notes) = self.by_device.get_mut(&device) {
            notes.remove(&id);
        }
        Ok((device, note))
    }

    pub(super) fn of(&self, device: DeviceId) -> impl Iterator<Item = (NoteId, &Note)> {
        let notes = self.by_device.get(&device);
        notes.into_iter().flatten().map(|(id, note)| (*id, note))
    }

    /// The first note that forbids a command.
    pub(super) fn objection(
        &self,
        device: DeviceId,
        name: &Tag,
        actor: &Actor,
        caution_read: bool,
        automatic: bool,
    ) -> Result<(), ControlError> {
        let forbids = |note: &&Note| match &note.kind {
            NoteKind::Caution => !caution_read || automatic,
            NoteKind::ControlInhibit => true,
            NoteKind::ControlAuthority(holder) => holder != actor.name() || automatic,
        };
        match self.of(device).map(|(_, note)| note).find(forbids) {
            None => Ok(()),
            Some(note) => Err(ControlError::Tagged {
                device: name.clone(),
                kind: note.kind.name(),
                owner: note.owner.clone(),
                note: note.text.clone(),
            }),
        }
    }
}
