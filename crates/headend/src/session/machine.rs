//! The machine: link, association, steps, release; and healing in between.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Instant, Now, ObisCode, SystemTitle};
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_dlms::association::Conformance;
use gridloom_dlms::client::{
    Authentication, Client, ClientConfig, ClientError, ClientOutput, Layer, ReleaseForm, Request,
    Response,
};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};

use super::plan::{SessionError, SessionReport, Step, StepError, StepValue};
use super::run::{Answer, Context, Memory, Next, Run};
use crate::healing::{CounterFinding, CounterState, Verdict, judge, upcoming};
use crate::profile::{ProfileShape, integer_of};
use crate::template::MeterTemplate;

/// The public client's address: no proof, few rights.
pub const PUBLIC_CLIENT: u16 = 16;

/// What a session needs to know.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The association to work over.
    pub client: ClientConfig,
    /// What the meter can do.
    pub template: Arc<MeterTemplate>,
    /// The counters, as they were kept last.
    pub counters: CounterState,
    /// The shapes of profiles read before.
    pub shapes: BTreeMap<ObisCode, ProfileShape>,
    /// How long the link may take to come up.
    pub link_timeout: Duration,
    /// How long the session may take at most.
    pub session_timeout: Duration,
}

/// What a session wants done or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a link for this client address, then call [`Session::handle_link_up`].
    Connect {
        /// The client's address.
        client: u16,
        /// The server's address.
        server: u16,
    },
    /// Send this APDU over the link.
    Send {
        /// The APDU.
        apdu: Vec<u8>,
    },
    /// Make this transmit reservation durable, then call [`Session::handle_reserved`].
    Reserve {
        /// The highest counter that may be used.
        upper: u32,
    },
    /// Close the link; [`Session::handle_link_down`] is not expected for it.
    Close,
    /// Bytes of a long answer arrived.
    Progress {
        /// Which step.
        index: usize,
        /// Bytes of the value so far.
        bytes: usize,
    },
    /// A step ended; every step ends once, in order.
    StepDone {
        /// Which one.
        index: usize,
        /// What it gave.
        result: Result<StepValue, StepError>,
    },
    /// Something about counters for the audit trail, and perhaps an alarm.
    Counter(CounterFinding),
    /// A notification that the meter sent in between, verified.
    Notified(Vec<u8>),
    /// The session is over; nothing follows.
    Finished(SessionReport),
}

/// Who talks over the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The client of the plan.
    Main,
    /// The public client, which reads the invocation counter.
    Healer,
}

#[derive(Debug)]
enum State {
    Connecting {
        until: Instant,
    },
    Associating,
    Working,
    /// The association is being released.
    Releasing(After),
    Over,
}

/// What the client is to do next.
#[derive(Debug)]
enum Errand {
    Ask(Request),
    Release,
}

/// What follows a release.
#[derive(Debug)]
enum After {
    Finish(Result<(), SessionError>),
    /// The public client takes over.
    Heal(ClientError),
    /// The main client starts again above this counter.
    Restart(u32),
}

/// One session with one meter.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    steps: Vec<Step>,
    /// The step that runs or is next.
    index: usize,
    run: Option<Run>,
    memory: Memory,
    role: Role,
    state: State,
    client: Client,
    /// What the client is to do once its outputs are drained.
    errand: Option<Errand>,
    /// Counters of the main client while the public one works.
    counters: CounterState,
    /// Why the public client was sent.
    refused: Option<ClientError>,
    healed: bool,
    deadline: Option<Instant>,
    server_title: Option<SystemTitle>,
    succeeded: usize,
    failed: usize,
    worth_repeating: bool,
    outbox: VecDeque<Output>,
}

impl Session {
    /// Steps of one session.
    pub const STEPS_MAX: usize = 256;

    /// A session that wants its link: drain the outputs.
    ///
    /// # Panics
    ///
    /// With no steps or more than [`Self::STEPS_MAX`].
    pub fn new(config: SessionConfig, steps: Vec<Step>, now: Now) -> Self {
        assert!(
            (1..=Self::STEPS_MAX).contains(&steps.len()),
            "a session has 1 to {} steps",
            Self::STEPS_MAX
        );
        let counters = config.counters.clone();
        let client = Client::new(
            config.client.clone(),
            counters.transmit.clone(),
            counters.receive,
        );
        let mut session = Self {
            memory: Memory {
                shapes: config.shapes.clone(),
                deviation: None,
            },
            deadline: Some(now.instant + config.session_timeout),
            config,
            steps,
            index: 0,
            run: None,
            role: Role::Main,
            state: State::Over,
            client,
            errand: None,
            counters,
            refused: None,
            healed: false,
            server_title: None,
            succeeded: 0,
            failed: 0,
            worth_repeating: false,
            outbox: VecDeque::new(),
        };
        session.connect(now);
        session
    }

    /// The link is there. `challenge` is fresh and random, 8 to 64 bytes.
    pub fn handle_link_up(&mut self, challenge: &[u8], now: Now) {
        self.expect_drained();
        if let State::Connecting { .. } = self.state {
            self.state = State::Associating;
            self.client.open(challenge, now.instant);
            self.pump(now);
        }
    }

    /// The link is gone, or did not come about.
    pub fn handle_link_down(&mut self, now: Now) {
        self.expect_drained();
        match self.state {
            State::Over => {}
            State::Connecting { .. } => {
                self.finish(Err(ClientError::Disconnected.into()));
            }
            State::Associating | State::Working | State::Releasing(_) => {
                self.client.handle_disconnected(now.instant);
                self.pump(now);
            }
        }
    }

    /// Takes one whole APDU from the meter.
    pub fn handle_apdu(&mut self, apdu: &[u8], now: Now) {
        self.expect_drained();
        match self.state {
            State::Connecting { .. } | State::Over => {}
            State::Associating | State::Working | State::Releasing(_) => {
                self.client.handle_apdu(apdu, now.instant);
                self.pump(now);
            }
        }
    }

    /// The transmit reservation up to `upper` is durable. One that comes after the session is
    /// over is not needed any more.
    pub fn handle_reserved(&mut self, upper: u32, now: Now) {
        self.expect_drained();
        if self.role == Role::Main && !matches!(self.state, State::Over) {
            self.client.handle_reserved(upper);
            self.pump(now);
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.expect_drained();
        match self.state {
            State::Over => return,
            State::Connecting { until } if until <= now.instant => {
                self.outbox.push_back(Output::Close);
                self.finish(Err(SessionError::NoLink {
                    after: self.config.link_timeout,
                }));
                return;
            }
            State::Connecting { .. }
            | State::Associating
            | State::Working
            | State::Releasing(_) => {}
        }
        if self.deadline.is_some_and(|at| at <= now.instant) {
            self.deadline = None;
            let after = self.config.session_timeout;
            let error = ClientError::TimedOut { after };
            self.end_step_broken(&error);
            self.release(After::Finish(Err(SessionError::TooLong { after })), now);
        } else {
            self.client.handle_timeout(now.instant);
        }
        self.pump(now);
    }

    /// When to come back, and why.
    pub fn wake(&self) -> Option<(Instant, &'static str)> {
        let own = match self.state {
            State::Over => return None,
            State::Connecting { until } => Some((until, "link")),
            State::Associating | State::Working | State::Releasing(_) => self.client.wake(),
        };
        let session = self.deadline.map(|at| (at, "session"));
        match (own, session) {
            (Some(own), Some(session)) => Some(if session.0 < own.0 { session } else { own }),
            (own, session) => own.or(session),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// Whether the session is over.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn expect_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }

    fn connect(&mut self, now: Now) {
        self.state = State::Connecting {
            until: now.instant + self.config.link_timeout,
        };
        let client = match self.role {
            Role::Main => self.config.client.client,
            Role::Healer => PUBLIC_CLIENT,
        };
        self.outbox.push_back(Output::Connect {
            client,
            server: self.config.client.server,
        });
    }

    /// Carries out what the client wants, and gives it its next errand, until both are done.
    fn pump(&mut self, now: Now) {
        loop {
            let outputs: Vec<ClientOutput> =
                std::iter::from_fn(|| self.client.poll_output()).collect();
            for output in outputs {
                self.carry_out(output, now);
                if matches!(self.state, State::Over | State::Connecting { .. }) {
                    // What an abandoned client still wants is nobody's concern.
                    self.errand = None;
                    return;
                }
            }
            match self.errand.take() {
                None => return,
                Some(Errand::Release) => self.client.release(now.instant),
                Some(Errand::Ask(request)) if self.client.is_open() => {
                    self.client.request(request, now.instant);
                }
                // The association fails at this moment; it will say so.
                Some(Errand::Ask(_)) => return,
            }
        }
    }

    fn carry_out(&mut self, output: ClientOutput, now: Now) {
        match output {
            ClientOutput::Send(apdu) => self.outbox.push_back(Output::Send { apdu }),
            ClientOutput::Reserve(upper) => self.outbox.push_back(Output::Reserve { upper }),
            ClientOutput::Progress { bytes } => self.outbox.push_back(Output::Progress {
                index: self.index,
                bytes,
            }),
            ClientOutput::Notified(apdu) => self.outbox.push_back(Output::Notified(apdu)),
            ClientOutput::Opened { server_title, .. } => self.opened(server_title, now),
            ClientOutput::Answered(answer) => self.answered(answer, now),
            ClientOutput::Released => self.released(now),
            ClientOutput::Failed(error) => self.broken(error, now),
        }
    }

    fn opened(&mut self, server_title: Option<SystemTitle>, now: Now) {
        self.state = State::Working;
        match self.role {
            Role::Main => {
                self.server_title = server_title.or(self.server_title);
                self.note_proof();
                self.begin_step(now);
            }
            Role::Healer => {
                self.errand = Some(Errand::Ask(Request::Get {
                    attribute: AttributeDescriptor {
                        class_id: 1,
                        instance: self.config.template.invocation_counter,
                        attribute: 2,
                    },
                    access: None,
                }));
            }
        }
    }

    fn answered(&mut self, answer: Answer, now: Now) {
        if !matches!(self.state, State::Working) {
            return; // The step was ended when the release began.
        }
        match self.role {
            Role::Healer => self.claimed(answer, now),
            Role::Main => match answer {
                Ok(_) => {
                    self.note_proof();
                    self.go_on(answer, now);
                }
                Err(error) if is_refusal(&error) => {
                    self.note_proof();
                    self.go_on(Err(error), now);
                }
                Err(error) => {
                    self.end_step_broken(&error);
                    self.give_up_or_heal(error, now);
                }
            },
        }
    }

    /// The client's association is over without a release.
    fn broken(&mut self, error: ClientError, now: Now) {
        match std::mem::replace(&mut self.state, State::Working) {
            State::Releasing(after) => {
                self.state = State::Releasing(after);
                self.released(now);
            }
            State::Over => self.state = State::Over,
            State::Connecting { .. } | State::Associating | State::Working => {
                self.end_step_broken(&error);
                match self.role {
                    Role::Healer => {
                        self.outbox.push_back(Output::Close);
                        self.finish(Err(SessionError::CounterUnread(error)));
                    }
                    Role::Main if self.may_heal(&error) => self.heal(error, now),
                    Role::Main => {
                        self.note_replay(&error);
                        self.outbox.push_back(Output::Close);
                        self.finish(Err(error.into()));
                    }
                }
            }
        }
    }

    /// The association is not broken, but its answer is not to be believed.
    fn give_up_or_heal(&mut self, error: ClientError, now: Now) {
        if self.may_heal(&error) {
            self.release(After::Heal(error), now);
        } else {
            self.note_replay(&error);
            self.release(After::Finish(Err(error.into())), now);
        }
    }

    fn release(&mut self, after: After, now: Now) {
        match self.state {
            State::Connecting { .. } => {
                self.state = State::Releasing(after);
                self.released(now);
            }
            State::Associating | State::Working => {
                self.state = State::Releasing(after);
                self.errand = Some(Errand::Release);
            }
            State::Releasing(_) => {
                // Already on its way; nobody waits longer for it.
                self.state = State::Releasing(after);
                self.released(now);
            }
            State::Over => {}
        }
    }

    fn released(&mut self, now: Now) {
        let State::Releasing(after) = std::mem::replace(&mut self.state, State::Working) else {
            // The meter released the association by itself.
            self.end_step_broken(&ClientError::Disconnected);
            self.outbox.push_back(Output::Close);
            self.finish(Err(ClientError::Disconnected.into()));
            return;
        };
        match after {
            After::Finish(result) => {
                self.outbox.push_back(Output::Close);
                self.finish(result);
            }
            After::Heal(error) => self.heal(error, now),
            After::Restart(bound) => {
                self.outbox.push_back(Output::Close);
                self.counters.transmit = TransmitCounter::resume(bound);
                self.role = Role::Main;
                self.client = Client::new(
                    self.config.client.clone(),
                    self.counters.transmit.clone(),
                    self.counters.receive,
                );
                self.connect(now);
            }
        }
    }

    /// Only the refusal of our counter heals, and only once: a meter that refuses again has
    /// another reason.
    fn may_heal(&self, error: &ClientError) -> bool {
        !self.healed && matches!(error, ClientError::Counter { .. })
    }

    /// Sends the public client for the meter's view of our counter.
    fn heal(&mut self, error: ClientError, now: Now) {
        self.outbox.push_back(Output::Close);
        self.keep_counters();
        self.healed = true;
        self.refused = Some(error);
        self.role = Role::Healer;
        let main = &self.config.client;
        let public = ClientConfig {
            client: PUBLIC_CLIENT,
            server: main.server,
            authentication: Authentication::None,
            ciphering: None,
            max_pdu: main.max_pdu,
            conformance: Conformance::GET,
            release: ReleaseForm::Bare,
            answer_timeout: main.answer_timeout,
            attempts: main.attempts,
        };
        self.client = Client::new(public, TransmitCounter::new(), ReceiveCounter::new());
        self.connect(now);
    }

    /// What the public client read.
    fn claimed(&mut self, answer: Answer, now: Now) {
        let claimed = match answer {
            Ok(Response::Value(value)) => {
                integer_of(&value).and_then(|value| u32::try_from(value).ok())
            }
            Ok(_) => None,
            Err(error) => {
                let error = SessionError::CounterUnread(error);
                return self.release(After::Finish(Err(error)), now);
            }
        };
        let Some(claimed) = claimed else {
            let what = "an invocation counter of another type";
            let error = SessionError::CounterUnread(ClientError::Unexpected { what });
            return self.release(After::Finish(Err(error)), now);
        };
        let verdict = judge(&self.counters, claimed);
        let finding = CounterFinding::Claimed(verdict);
        self.outbox.push_back(Output::Counter(finding));
        let after = match verdict {
            Verdict::Forward { to, .. } => After::Restart(to),
            Verdict::TooFar { .. } | Verdict::MeterFell { .. } | Verdict::Exhausted => {
                After::Finish(Err(SessionError::Counter(finding)))
            }
            Verdict::Consistent { .. } => {
                let refused = self.refused.take();
                After::Finish(Err(
                    refused.map_or(SessionError::Counter(finding), Into::into)
                ))
            }
        };
        self.release(after, now);
    }

    fn note_replay(&mut self, error: &ClientError) {
        if let ClientError::Replayed { last, got } = error {
            let (last, got) = (*last, *got);
            let finding = CounterFinding::Replayed { last, got };
            self.outbox.push_back(Output::Counter(finding));
        }
    }

    /// The meter has verifiably taken the counter of our last request.
    fn note_proof(&mut self) {
        if self.config.client.ciphering.is_none() {
            return;
        }
        let used = match upcoming(self.client.counters().0) {
            Some(next) => next.checked_sub(1),
            None => Some(u32::MAX),
        };
        self.counters.proven = self.counters.proven.max(used);
    }

    fn keep_counters(&mut self) {
        if self.role == Role::Main {
            let (transmit, receive) = self.client.counters();
            self.counters.transmit = transmit.clone();
            self.counters.receive = *receive;
        }
    }

    fn begin_step(&mut self, now: Now) {
        let Some(step) = self.steps.get(self.index) else {
            return self.release(After::Finish(Ok(())), now);
        };
        let mut context = Context {
            template: &self.config.template,
            memory: &mut self.memory,
            now,
        };
        let (run, next) = Run::begin(step, &mut context);
        self.run = Some(run);
        self.follow(next, now);
    }

    fn go_on(&mut self, answer: Answer, now: Now) {
        let mut context = Context {
            template: &self.config.template,
            memory: &mut self.memory,
            now,
        };
        let run = self.run.as_mut().expect("only a running step is answered");
        let next = run.answer(answer, &mut context);
        self.follow(next, now);
    }

    fn follow(&mut self, next: Next, now: Now) {
        match next {
            Next::Ask(request) => self.errand = Some(Errand::Ask(request)),
            Next::Done(result) => {
                self.step_done(result);
                self.begin_step(now);
            }
        }
    }

    fn step_done(&mut self, result: Result<StepValue, StepError>) {
        self.run = None;
        match &result {
            Ok(_) => self.succeeded += 1,
            Err(error) => {
                self.failed += 1;
                self.worth_repeating |= error.is_transient();
            }
        }
        self.outbox.push_back(Output::StepDone {
            index: self.index,
            result,
        });
        self.index += 1;
    }

    /// The association broke under the running step, if there is one. A reading step is begun
    /// again should the association heal; an order never is.
    fn end_step_broken(&mut self, error: &ClientError) {
        let Some(run) = self.run.take() else {
            return;
        };
        if run.has_acted() {
            self.step_done(Err(StepError::OutcomeUnknown(error.clone())));
        } else if !self.may_heal(error) {
            self.step_done(Err(StepError::Client(error.clone())));
        }
    }

    fn finish(&mut self, result: Result<(), SessionError>) {
        self.state = State::Over;
        self.keep_counters();
        if let Some(run) = self.run.take() {
            let error = ClientError::Disconnected;
            self.step_done(Err(if run.has_acted() {
                StepError::OutcomeUnknown(error)
            } else {
                StepError::Client(error)
            }));
        }
        while self.index < self.steps.len() {
            self.step_done(Err(StepError::Skipped));
        }
        self.outbox.push_back(Output::Finished(SessionReport {
            result,
            succeeded: self.succeeded,
            failed: self.failed,
            worth_repeating: self.worth_repeating,
            server_title: self.server_title,
            counters: self.counters.clone(),
            shapes: std::mem::take(&mut self.memory.shapes)
                .into_iter()
                .collect(),
        }));
    }
}

/// Whether the meter refused one request, and the association stands.
fn is_refusal(error: &ClientError) -> bool {
    matches!(error.layer(), Layer::Object | Layer::Access)
        || matches!(
            error,
            ClientError::NotNegotiated { .. } | ClientError::TooLong { .. }
        )
}
