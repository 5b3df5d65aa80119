//! What a start takes up again, and each meter's place in the schedule.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{MeterId, Now};
use gridloom_headend::backfill::{Order as GapOrder, Series};
use gridloom_headend::command::{Command, CommandBook, CommandId, Entry};
use gridloom_headend::registry::By;
use gridloom_headend::schedule::{LinkId as WayId, Recurrence};
use gridloom_headend::{Campaign, Rotation};
use gridloom_store::{CounterRow, DeviceState, KeyId, KeyKind, Transport, WorkRow};

use super::config::HeadEndError;
use super::disk::Saved;
use super::orders::{OrderId, OrderState, Part, What};
use super::ways::place_of;
use super::{HeadEndNode, PROFILE};

impl HeadEndNode {
    pub(super) fn enter_counters(&mut self, rows: &[CounterRow]) {
        let mut by_key: BTreeMap<KeyId, Vec<CounterRow>> = BTreeMap::new();
        for row in rows {
            by_key.entry(row.key).or_default().push(*row);
        }
        for row in self.keys.rows() {
            let title = self.registry.meter(row.meter).map(|device| device.title);
            if let (KeyKind::UnicastEncryption, Some(title)) = (row.kind, title) {
                let held = by_key.get(&row.key).map_or(&[][..], Vec::as_slice);
                self.counters.enter(row.key, title, held);
            }
        }
    }

    pub(super) fn restore_gaps(&mut self, now: Now) {
        for (meter, read) in self.collected.clone() {
            let series = Series {
                meter,
                period: read.period,
            };
            for gap in read.gaps {
                let order = GapOrder::OldestFirst;
                let taken = self
                    .backfill
                    .handle_gap(series, gap.from, gap.to, order, now.utc);
                self.drain_backfill();
                if let Err(error) = taken {
                    tracing::error!(%error, "a stored gap is not taken");
                }
            }
        }
    }

    pub(super) fn restore_work(
        &mut self,
        entries: Vec<Entry>,
        rotations: &[WorkRow],
        campaigns: &[Vec<WorkRow>],
        now: Now,
    ) -> Result<(), HeadEndError> {
        for row in rotations {
            let keys = row.meter.map(|meter| self.keys.of(meter));
            let rotation = Rotation::resume(row, &keys.unwrap_or_default(), now)?;
            let meter = rotation.meter();
            self.rotations.insert(row.number, rotation);
            let by = self.config.name.clone();
            let begun = (What::ChangeKeys, OrderState::Running);
            self.add_order(row.number, &by, begun, [meter], now);
            self.drain_rotation(row.number);
        }
        for rows in campaigns {
            let number = rows.first().map_or(0, |row| row.number);
            let campaign = Campaign::resume(rows, self.config.seed.nth(number), now)?;
            self.enter_campaign(number, campaign, now);
        }
        let heads: Vec<Command> = self.command_heads.values().cloned().collect();
        for command in heads {
            let id = command.id.0;
            self.add_order(
                id,
                &command.author,
                (What::of(&command.order), OrderState::Running),
                command.targets,
                now,
            );
        }
        for entry in &entries {
            if let Entry::Settled(id, meter, end) = entry {
                self.set_part(OrderId(id.0), *meter, Part::Ended(end.clone()));
            }
        }
        self.commands = CommandBook::restore(self.config.command, entries, now.utc);
        self.drain_commands();
        // A crash between the last part and the end of the whole.
        let over: Vec<CommandId> = self
            .command_heads
            .keys()
            .copied()
            .filter(|id| self.commands.progress(*id).is_none())
            .collect();
        for id in over {
            if let Some(change) = self.finished_head(id, now.utc) {
                self.journal.push(change);
            }
            self.close_order(OrderId(id.0));
        }
        Ok(())
    }

    /// Gives a meter its place in the schedule, or takes it out.
    pub(super) fn place(&mut self, meter: MeterId, now: Now) {
        self.place_unciphered(meter);
        let Some(row) = self.registry.meter(meter) else {
            return;
        };
        let is_read = match row.state {
            DeviceState::Enrolled | DeviceState::Commissioned => {
                self.templates.contains_key(&row.template)
            }
            DeviceState::Suspended | DeviceState::Retired => false,
        };
        if !is_read {
            if self.placed.remove(&meter) {
                self.schedule.handle_meter_gone(meter);
                self.drain_schedule();
            }
            return;
        }
        let place = place_of(&row.link);
        let next = u32::try_from(self.way_ids.len()).unwrap_or(u32::MAX);
        let known = self.way_ids.contains_key(&place);
        let way = *self.way_ids.entry(place.clone()).or_insert(WayId(next));
        if place.0.is_hdlc() {
            // HDLC links of several meters on one line take turns.
            self.schedule.limit_link(way, 1);
            self.drain_schedule();
        }
        self.schedule.handle_meter(meter, way);
        self.drain_schedule();
        if !known && place.0 == Transport::Gateway && self.ways.utility().is_none() {
            self.schedule.handle_link_down(way);
            self.drain_schedule();
        }
        if self.placed.insert(meter) {
            let reading: Recurrence = match self.config.reading_of_pushers {
                Some(pushed) if place.0 == Transport::Gateway => pushed,
                Some(_) | None => self.config.reading,
            };
            let last = self
                .collected
                .get(&meter)
                .map(|read| reading.due_at_or_before(read.through));
            let planned = self.schedule.plan(meter, PROFILE, reading, last, now.utc);
            self.drain_schedule();
            if let Err(error) = planned {
                tracing::error!(%error, "a meter is not read on time");
            }
            // Those behind our own gateways push by themselves what they hold.
            if let (None, Some(within)) = (last, self.config.first_read_within)
                && place.0 != Transport::Gateway
            {
                let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX - 1);
                let seed = self.config.seed.child("first read").nth(u64::from(meter.0));
                let wait = Duration::from_millis(seed.get() % (millis + 1));
                self.read_soon(meter, now.utc + wait, now);
            }
        }
    }

    /// Every tunnel comes and goes with the link to the utility.
    pub(super) fn set_tunnels(&mut self, is_up: bool) {
        let tunnels: Vec<WayId> = self
            .way_ids
            .iter()
            .filter(|((transport, _), _)| *transport == Transport::Gateway)
            .map(|(_, way)| *way)
            .collect();
        for way in tunnels {
            if is_up {
                self.schedule.handle_link_up(way);
            } else {
                self.schedule.handle_link_down(way);
            }
            self.drain_schedule();
        }
    }

    /// A meter that was read under its own keys is in service.
    pub(super) fn commission(&mut self, meter: MeterId, now: Now) {
        let is_new = self
            .registry
            .meter(meter)
            .is_some_and(|row| row.state == DeviceState::Enrolled);
        if !is_new {
            return;
        }
        let actor = self.config.name.clone();
        let by = By {
            actor: &actor,
            at: now.utc,
        };
        let moved =
            self.registry
                .move_on(meter, DeviceState::Commissioned, &self.config.templates, by);
        match moved {
            Ok(proposal) => {
                let batch = proposal.batch.clone();
                self.save(
                    batch,
                    Saved::Registry(None, Box::new(proposal), vec![meter]),
                );
            }
            Err(faults) => tracing::warn!(%meter, ?faults, "a meter is not commissioned"),
        }
    }
}
