//! Clients: their connections, and what follows from what they ask.

use std::time::Duration;

use gridloom_core::{Instant, Now, UtcTime};
use gridloom_dlms::companion::IndianEvent;
use gridloom_dlms::server::{KeyKind, Server};
use rand_core::Rng as _;

use super::serve::{Device, Done, device};
use super::{Meter, Output, Owed};
use crate::catalogue::ObjectTable;
use crate::keeper::Urgency;
use crate::memory::{IMAGE_CELL, LOGS_CELL, SECURITY_CELL, SUPERVISION_CELL, SURVEY_CELL};

/// A client's connection, numbered by whoever hosts the meter and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Fills bytes that nobody can guess.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

impl Meter {
    /// Connections served at once; a further one is closed by [`Output::Disconnect`].
    pub const CONNECTIONS_MAX: usize = 4;

    /// The longest time-out of a connection that a client may set, in seconds.
    pub const INACTIVITY_S_MAX: u16 = 600;

    /// Gives the source of the challenges that clients must answer: the operating system's, in
    /// every deployment. Without it they follow from the seed, and a simulation repeats itself.
    pub fn set_entropy(&mut self, entropy: Entropy) {
        self.entropy = Some(entropy);
    }

    /// A client connected. A meter without supply serves none.
    pub fn handle_client_connected(&mut self, connection: ConnectionId, now: Now) {
        self.begin(now);
        self.admit(connection);
        self.settle(now);
    }

    /// A client's connection is gone, and what was to be answered on it.
    pub fn handle_client_disconnected(&mut self, connection: ConnectionId, now: Now) {
        self.begin(now);
        self.forget_connection(connection);
        self.settle(now);
    }

    /// Closes connections on which nothing was heard for the time-out of the TCP setup. Behind a
    /// gateway there are none of the meter's own.
    pub(super) fn close_silent(&mut self, now: Now) {
        let silence = self.silence_max();
        let silent: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, (_, heard))| silence.is_some_and(|most| now.instant >= *heard + most))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in silent {
            self.forget_connection(connection);
            self.outbox.push_back(Output::Disconnect { connection });
        }
    }

    /// When [`Self::close_silent`] has something to do.
    pub(super) fn silence_due(&self) -> Option<(Instant, &'static str)> {
        let silence = self.silence_max()?;
        let heard = self.connections.values().map(|(_, heard)| *heard);
        Some((heard.min()? + silence, "inactivity"))
    }

    fn silence_max(&self) -> Option<Duration> {
        self.config.reach.port?;
        let seconds = self.fittings.tcp().inactivity_s;
        Some(Duration::from_secs(seconds.into()))
    }

    fn forget_connection(&mut self, connection: ConnectionId) {
        if let Some((mut server, _)) = self.connections.remove(&connection) {
            server.disconnected();
        }
        self.drop_client_answers(|other| other == connection);
    }

    /// An APDU came from the client at SAP `client`, not trusted in any way; the first one also
    /// begins its connection. It is answered by [`Output::Answer`] once everything that it
    /// changed is durable. While
    /// [`Self::ANSWERS_MAX`] answers wait for that, further APDUs are dropped and counted.
    pub fn handle_client_apdu(
        &mut self,
        connection: ConnectionId,
        client: u16,
        apdu: &[u8],
        now: Now,
    ) {
        self.begin(now);
        self.measure(now);
        if self.admit(connection) {
            if self.waiting_answers() < Self::ANSWERS_MAX && !self.restarting {
                self.serve(connection, client, apdu, now);
            } else {
                self.counters.answers_dropped += 1;
            }
        }
        self.settle(now);
    }

    fn admit(&mut self, connection: ConnectionId) -> bool {
        if self.off_since.is_none() {
            if let Some((_, heard)) = self.connections.get_mut(&connection) {
                *heard = self.seen.instant;
                return true;
            }
            let most = Self::CONNECTIONS_MAX.min(self.fittings.tcp().connections.into());
            if self.connections.len() < most {
                let server = Server::new(self.config.access.server.clone());
                self.connections
                    .insert(connection, (server, self.seen.instant));
                return true;
            }
        }
        self.outbox.push_back(Output::Disconnect { connection });
        false
    }

    fn serve(&mut self, connection: ConnectionId, client: u16, apdu: &[u8], now: Now) {
        // What is behind its own clock must not be set: `measure` comes again at once.
        let settable = !self.is_over(now) && !self.keeper.is_behind();
        let last = UtcTime::from_millis(self.boundary().as_millis() - 1);
        self.integrate_to(now.utc.min(last));
        let believed = [KeyKind::Unicast, KeyKind::Broadcast].map(|key| self.link.believed(key));
        if self.protection.is_dated() {
            let peers = self.protection.peers(self.clock.time_at(now.utc));
            self.link.security_mut().set_peers(peers);
        }
        self.challenges += 1;
        let mut seeded = self
            .config
            .seed
            .child("challenge")
            .nth(now.utc.as_millis().unsigned_abs())
            .nth(self.challenges)
            .rng();
        let mut entropy = |bytes: &mut [u8]| match &mut self.entropy {
            Some(entropy) => entropy(bytes),
            None => seeded.fill_bytes(bytes),
        };
        let keys = self.link.security().keys().clone();
        let (server, _) = self
            .connections
            .get_mut(&connection)
            .expect("the caller has looked");
        let mut device = Device {
            settable: settable.then_some(self.interval_end),
            believed,
            ..device!(self, now.utc)
        };
        let answer = server.handle_apdu(
            client,
            apdu,
            &mut device,
            self.link.security_mut(),
            &mut entropy,
        );
        let done = device.done;
        let mut changed = self.follow_client(done, now);
        if *self.link.security().keys() != keys {
            self.note(IndianEvent::GlobalKeysChanged, now);
        }
        if self.link.has_changed() || changed {
            self.keeper.touch(Urgency::Now, now);
            changed = true;
        }
        let Some(apdu) = answer else {
            return;
        };
        // Answers keep their order on a connection.
        let behind = self.owed.iter().any(|(_, owed)| {
            matches!(owed, Owed::ClientAnswer { connection: other, .. } if *other == connection)
        });
        if changed || behind {
            self.owe(Owed::ClientAnswer {
                connection,
                client,
                apdu,
            });
        } else {
            self.outbox.push_back(Output::Answer {
                connection,
                client,
                apdu,
            });
        }
    }

    /// Carries out what an APDU of a client, or a push that reads objects, left to be done; true
    /// if something changed that must be durable.
    pub(super) fn follow_client(&mut self, done: Done, now: Now) -> bool {
        let Done {
            step,
            billing_ends,
            features,
            logs,
            fittings,
            protection,
            image,
            scripts,
            proved,
            alarms,
            pushes,
            survey,
            periods,
            mut changed,
        } = done;
        if features {
            self.change_features();
            changed = true;
        }
        if logs {
            self.keeper.touch_cell(LOGS_CELL, now);
            changed = true;
        }
        if fittings {
            self.change_fittings();
            self.follow_push_setups();
            changed = true;
        }
        if protection {
            let peers = self.protection.peers(self.clock.time_at(now.utc));
            self.link.security_mut().set_peers(peers);
            self.keeper.touch_cell(SECURITY_CELL, now);
            changed = true;
        }
        if survey {
            self.keeper.touch_cell(SURVEY_CELL, now);
            changed = true;
        }
        for (span, period) in periods {
            self.set_period(span, period, now);
            changed = true;
        }
        for script in scripts {
            self.run_script(script, now);
            changed = true;
        }
        // Whoever activates an image has not seen it run.
        if proved && !image && self.upgrade.is_on_trial() {
            self.upgrade.handle_confirmed();
            self.keeper.touch_cell(IMAGE_CELL, now);
            changed = true;
        }
        if alarms {
            self.keeper.touch_cell(SUPERVISION_CELL, now);
            changed = true;
        }
        if image {
            self.keeper.touch_cell(IMAGE_CELL, now);
            changed = true;
        }
        self.carry_image(now);
        for push in pushes {
            self.ask_push(push, now);
        }
        if billing_ends {
            self.end_billing(self.clock.time_at(now.utc));
        }
        if let Some(step) = step {
            self.stepped(step, now);
            changed = true;
        }
        changed
    }

    /// Answers that wait until their effect is durable.
    pub(super) fn waiting_answers(&self) -> usize {
        let owed = self.owed.iter();
        owed.filter(|(_, owed)| matches!(owed, Owed::Answer(_) | Owed::ClientAnswer { .. }))
            .count()
    }

    /// Without supply no connection stands.
    pub(super) fn drop_clients(&mut self) {
        self.connections.clear();
        self.drop_client_answers(|_| true);
    }

    fn drop_client_answers(&mut self, of: impl Fn(ConnectionId) -> bool) {
        let before = self.owed.len();
        self.owed.retain(
            |(_, owed)| !matches!(owed, Owed::ClientAnswer { connection, .. } if of(*connection)),
        );
        self.counters.answers_dropped += (before - self.owed.len()) as u64;
    }
}
