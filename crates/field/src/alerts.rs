//! Alerts on their way to the edge: kept until they are acknowledged, the oldest of too many
//! dropped and counted.

use std::collections::VecDeque;

use gridloom_core::{Instant, UtcTime};
use gridloom_dlms::alert::{AlertPush, DEVICE_NAME_MAX};

use crate::delivery::Patience;
use crate::objects::retained::{Keeper, Kept, RetainedError};

/// Alerts that wait for their acknowledgement; one more drops the oldest, which is counted.
pub(crate) const ALERTS_MAX: usize = 16;

const VERSION: u8 = 1;
const OBJECT: &str = "alerts";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not durable yet.
    Held,
    Ready,
    InFlight {
        until: Instant,
    },
    Resting {
        until: Instant,
    },
    /// All tries have failed; a new link or a new alert makes it ready.
    Spent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Alert {
    number: u32,
    push: AlertPush,
    state: State,
    failures: u32,
}

/// The alerts of one meter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Alerts {
    /// Of the newest one there ever was.
    number: u32,
    /// Oldest first.
    waiting: VecDeque<Alert>,
    lost: u64,
}

impl Alerts {
    /// Takes an alert and gives it its number; it waits for [`Self::release`].
    pub(crate) fn raise(&mut self, push: AlertPush) -> u32 {
        if self.waiting.len() == ALERTS_MAX {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.number = self.number.wrapping_add(1) & 0x00FF_FFFF;
        for alert in &mut self.waiting {
            if alert.state == State::Spent {
                alert.state = State::Ready;
            }
        }
        self.waiting.push_back(Alert {
            number: self.number,
            push,
            state: State::Held,
            failures: 0,
        });
        self.number
    }

    /// The alert may leave: it is durable, or the supply is about to go.
    pub(crate) fn release(&mut self, number: u32) {
        let mut held = self.waiting.iter_mut();
        if let Some(alert) = held.find(|a| a.number == number && a.state == State::Held) {
            alert.state = State::Ready;
        }
    }

    /// The edge has passed it on; false if it does not wait here.
    pub(crate) fn confirm(&mut self, number: u32) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|alert| alert.number != number);
        self.waiting.len() < before
    }

    /// The link is up: everything is tried again.
    pub(crate) fn link_up(&mut self) {
        self.free(|state| state != State::Held);
    }

    /// The link is gone, and what was in flight with it.
    pub(crate) fn link_down(&mut self) {
        self.free(|state| matches!(state, State::InFlight { .. }));
    }

    /// Makes ready whatever is in one of these states.
    fn free(&mut self, which: impl Fn(State) -> bool) {
        for alert in &mut self.waiting {
            if which(alert.state) {
                alert.state = State::Ready;
            }
        }
    }

    /// Gives up and revives what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, patience: Patience) {
        for alert in &mut self.waiting {
            match alert.state {
                State::InFlight { until } if until <= now => {
                    alert.state = match patience.rest(alert.failures) {
                        Some(rest) => State::Resting { until: now + rest },
                        None => State::Spent,
                    };
                    alert.failures += 1;
                }
                State::Resting { until } if until <= now => alert.state = State::Ready,
                State::Held
                | State::Ready
                | State::InFlight { .. }
                | State::Resting { .. }
                | State::Spent => {}
            }
        }
    }

    /// The alert to send now on a link that may be used, which is then in flight.
    pub(crate) fn next(&mut self, now: Instant, patience: Patience) -> Option<(u32, &AlertPush)> {
        let mut waiting = self.waiting.iter_mut();
        let alert = waiting.find(|alert| alert.state == State::Ready)?;
        let until = now + patience.ack_timeout;
        alert.state = State::InFlight { until };
        Some((alert.number, &alert.push))
    }

    /// It could not leave: it is ready again, and nothing counts against it.
    pub(crate) fn put_back(&mut self, number: u32) {
        let mut waiting = self.waiting.iter_mut();
        if let Some(alert) = waiting.find(|alert| alert.number == number) {
            alert.state = State::Ready;
        }
    }

    /// When to come back to a link that may be used from `from` on.
    pub(crate) fn wake(&self, from: Instant, now: Instant) -> Option<(Instant, &'static str)> {
        let due = self.waiting.iter().filter_map(|alert| match alert.state {
            State::Ready => (from > now).then_some(from),
            State::InFlight { until } | State::Resting { until } => Some(until),
            State::Held | State::Spent => None,
        });
        due.min().map(|at| (at, "alert"))
    }

    /// Alerts that wait for their acknowledgement.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Alerts that made room for newer ones before anybody had them.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Appends what must be kept.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.number.to_be_bytes());
        keeper.put(self.lost.to_be_bytes());
        keeper.list(self.waiting.iter(), |keeper, alert| {
            keeper.put(alert.number.to_be_bytes());
            keeper.octets(&alert.push.device_name);
            keeper.time(alert.push.time);
            for descriptor in alert.push.descriptors {
                keeper.put(descriptor.to_be_bytes());
            }
            keeper.put(alert.push.status_word.to_be_bytes());
        });
    }

    /// Takes over what was kept; all of it is durable.
    ///
    /// # Errors
    ///
    /// Bytes that no alerts wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let number = kept.u32()?;
        let lost = kept.u64()?;
        let waiting = kept.list("waiting", ALERTS_MAX, |kept| {
            Ok(Alert {
                number: kept.u32()?,
                push: AlertPush {
                    device_name: kept.octets("device name", DEVICE_NAME_MAX)?.to_vec(),
                    time: whole_second(kept)?,
                    descriptors: [kept.u32()?, kept.u32()?],
                    status_word: u128::from_be_bytes(kept.array()?),
                },
                state: State::Ready,
                failures: 0,
            })
        })?;
        kept.finish()?;
        Ok(Self {
            number,
            waiting: waiting.into(),
            lost,
        })
    }
}

/// Alerts say their time in whole seconds.
fn whole_second(kept: &mut Kept<'_>) -> Result<UtcTime, RetainedError> {
    let time = kept.time()?;
    kept.require(time.as_millis() % 1_000 == 0, "time of an alert")?;
    Ok(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::RetryPolicy;
    use crate::objects::retained::assert_survives;

    const PATIENCE: Patience = Patience::of(RetryPolicy {
        ack_timeout: Duration::from_secs(10),
        backoff: Duration::from_secs(5),
        backoff_max: Duration::from_secs(20),
        reconnect_spread: Duration::ZERO,
    });

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn push(second: i64) -> AlertPush {
        AlertPush {
            device_name: b"GRL0000000000001".to_vec(),
            time: UtcTime::from_secs(second),
            descriptors: [1, 2],
            status_word: 3,
        }
    }

    fn drain(alerts: &mut Alerts, now: Instant) -> Vec<u32> {
        core::iter::from_fn(|| alerts.next(now, PATIENCE).map(|(number, _)| number)).collect()
    }

    #[test]
    fn an_alert_leaves_when_it_is_durable_and_again_until_it_is_heard() {
        let mut alerts = Alerts::default();
        let number = alerts.raise(push(1));
        assert_eq!(drain(&mut alerts, at(2)), [0; 0], "it is not durable");
        alerts.release(number);
        assert_eq!(alerts.wake(at(1), at(0)), Some((at(1), "alert")));
        assert_eq!(drain(&mut alerts, at(2)), [number]);
        for (given_up, again) in [(12, 17), (27, 37), (47, 67), (77, 97)] {
            assert_eq!(alerts.wake(at(1), at(2)), Some((at(given_up), "alert")));
            alerts.handle_timeout(at(given_up), PATIENCE);
            assert_eq!(drain(&mut alerts, at(given_up)), [0; 0], "it rests");
            assert_eq!(alerts.wake(at(1), at(2)), Some((at(again), "alert")));
            alerts.handle_timeout(at(again), PATIENCE);
            assert_eq!(drain(&mut alerts, at(again)), [number]);
        }
        assert!(!alerts.confirm(number + 1));
        assert!(alerts.confirm(number));
        assert_eq!((alerts.len(), alerts.wake(at(1), at(99))), (0, None));
    }

    #[test]
    fn too_many_drop_the_oldest() {
        let mut alerts = Alerts::default();
        for second in 0..20 {
            let number = alerts.raise(push(second));
            alerts.release(number);
        }
        assert_eq!((alerts.len(), alerts.lost()), (ALERTS_MAX, 4));
        assert_eq!(drain(&mut alerts, at(0)), (5..=20).collect::<Vec<u32>>());
        assert_eq!(drain(&mut alerts, at(1)), [0; 0], "all are in flight");
        alerts.link_down();
        assert_eq!(drain(&mut alerts, at(2)).len(), ALERTS_MAX);
    }

    #[test]
    fn a_client_bounds_the_tries() {
        let patience = Patience {
            tries_max: Some(2),
            ..PATIENCE
        };
        let mut alerts = Alerts::default();
        let number = alerts.raise(push(1));
        alerts.release(number);
        let mut tries = 0;
        let mut now = at(0);
        while let Some((number, _)) = alerts.next(now, patience) {
            assert_eq!(number, 1);
            tries += 1;
            for _ in 0..2 {
                if let Some((due, _)) = alerts.wake(at(0), now) {
                    now = due;
                    alerts.handle_timeout(now, patience);
                }
            }
        }
        assert_eq!((tries, alerts.wake(at(0), now)), (2, None));
        let another = alerts.raise(push(2));
        alerts.release(another);
        assert_eq!(drain(&mut alerts, now), [number, another]);
    }

    #[test]
    fn what_waits_survives_a_restart() {
        let mut alerts = Alerts::default();
        for second in 0..3 {
            let number = alerts.raise(push(second));
            alerts.release(number);
        }
        assert!(alerts.confirm(2));
        assert_survives(&alerts, Alerts::encode, Alerts::decode);
        let mut bytes = Vec::new();
        alerts.encode(&mut bytes);
        let mut alerts = Alerts::decode(&bytes).unwrap();
        assert_eq!(drain(&mut alerts, at(0)), [1, 3]);
        assert_eq!(alerts.raise(push(9)), 4, "no number twice");
    }
}
