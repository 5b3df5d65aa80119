//! What goes wrong, and when it is well again.

use super::{Event, MEMBERS, MS, PairFaults, PairWorld, nanos};

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// One more at random, until the storm is over.
    Some,
    Crash(usize),
    Start(usize),
    Sleep(usize),
    Wake(usize),
    Cut(usize, usize),
    Heal(usize, usize),
    /// Connections over a cut are given up.
    Reset(usize, usize),
    KillActive,
    SleepActive,
    /// The storm is over.
    Calm,
}

impl PairWorld {
    pub(super) fn plan_faults(&mut self) {
        match self.trial.faults {
            PairFaults::None => {}
            PairFaults::Everything => {
                self.after(3_000 * MS, Event::Fault(Fault::Some));
                let calm = nanos(self.trial.storm);
                self.after(calm, Event::Fault(Fault::Calm));
            }
            PairFaults::KillActive { after } => {
                self.after(nanos(after), Event::Fault(Fault::KillActive));
            }
            PairFaults::SleepActive { after, .. } => {
                self.after(nanos(after), Event::Fault(Fault::SleepActive));
            }
        }
    }

    fn active(&self) -> Option<usize> {
        (0..MEMBERS).find(|process| self.members[*process].head_end.is_some())
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Some => self.draw(),
            Fault::Crash(process) => {
                if self.processes[process].is_up {
                    self.crash(process);
                }
            }
            Fault::Start(process) => {
                if !self.processes[process].is_up {
                    self.start(process);
                }
            }
            Fault::Sleep(process) => {
                let process = &mut self.processes[process];
                process.is_asleep = process.is_up;
            }
            Fault::Wake(process) => self.awake(process),
            Fault::Cut(from, to) => {
                self.cut.insert((from, to));
            }
            Fault::Heal(from, to) => {
                self.cut.remove(&(from, to));
                self.unstick();
            }
            Fault::Reset(one, other) => self.reset(one, other),
            Fault::KillActive => {
                if let Some(process) = self.active() {
                    self.crash(process);
                    self.after(12_000 * MS, Event::Fault(Fault::Start(process)));
                }
            }
            Fault::SleepActive => {
                let PairFaults::SleepActive { length, .. } = self.trial.faults else {
                    return;
                };
                if let Some(process) = self.active() {
                    self.processes[process].is_asleep = true;
                    self.gone_at = Some(self.now);
                    self.after(nanos(length), Event::Fault(Fault::Wake(process)));
                }
            }
            Fault::Calm => {
                self.cut.clear();
                self.unstick();
                for process in 0..self.processes.len() {
                    self.awake(process);
                    self.fault(Fault::Start(process));
                }
            }
        }
    }

    /// What came while it slept comes at once, before anything tells it how late it is.
    fn awake(&mut self, process: usize) {
        self.processes[process].is_asleep = false;
        while let Some(own) = self.processes[process].asleep.pop_front() {
            self.own(process, own);
        }
    }

    fn draw(&mut self) {
        let storm = nanos(self.trial.storm);
        if self.now + 1_000 * MS >= storm {
            return;
        }
        let processes = self.processes.len() as u64;
        // Members are struck more often than edges.
        let struck = match self.below(3) {
            0 => self.below(processes),
            _ => self.below(MEMBERS as u64),
        };
        let struck = super::index(struck);
        let other = super::index(self.below(processes));
        let mut length = 200 * MS + self.below(6_000 * MS);
        match self.below(10) {
            0..=2 => {
                self.fault(Fault::Crash(struck));
                self.after(length, Event::Fault(Fault::Start(struck)));
            }
            3..=5 => {
                self.fault(Fault::Sleep(struck));
                self.after(length, Event::Fault(Fault::Wake(struck)));
            }
            kind => {
                if other == struck {
                    length = 0;
                }
                self.fault(Fault::Cut(struck, other));
                self.after(length, Event::Fault(Fault::Heal(struck, other)));
                let reset = 1_000 * MS + self.below(5_000 * MS);
                self.after(reset, Event::Fault(Fault::Reset(struck, other)));
                if kind >= 8 {
                    self.fault(Fault::Cut(other, struck));
                    self.after(length, Event::Fault(Fault::Heal(other, struck)));
                }
            }
        }
        let next = 300 * MS + self.below(4_000 * MS);
        self.after(next, Event::Fault(Fault::Some));
    }
}
