//! How a frame travels: late, lost, twice, or out of order.

use std::time::Duration;

use gridloom_core::seed;
use rand_core::Rng as _;

/// What a link does with frames that it loses or overtakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A field network: a lost frame is lost, each frame takes its own time.
    Datagram,
    /// A TCP connection: order is kept, nothing comes twice, and a lost segment is a delay. Only
    /// a connection that goes down loses frames.
    Stream,
}

/// What a link is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkModel {
    /// What it does with what it loses.
    pub transport: Transport,
    /// Mean one-way delay.
    pub latency: Duration,
    /// A frame's delay differs from the mean by up to this, to both sides; at most the mean.
    pub jitter: Duration,
    /// Frames lost, in thousandths.
    pub loss_permille: u16,
    /// Frames delivered twice, in thousandths; only by [`Transport::Datagram`].
    pub duplicate_permille: u16,
}

impl LinkModel {
    /// A healthy field connection: 60 ± 40 ms.
    pub const FIELD: Self = Self {
        transport: Transport::Stream,
        latency: Duration::from_millis(60),
        jitter: Duration::from_millis(40),
        loss_permille: 0,
        duplicate_permille: 0,
    };

    /// A bad radio mesh: a tenth of the frames lost, a twentieth delivered twice, 300 ± 290 ms,
    /// so that frames overtake each other.
    pub const BAD_MESH: Self = Self {
        transport: Transport::Datagram,
        latency: Duration::from_millis(300),
        jitter: Duration::from_millis(290),
        loss_permille: 100,
        duplicate_permille: 50,
    };

    /// A bad wide-area connection: a twentieth of the segments is lost, 80 ± 70 ms.
    pub const BAD_WIDE_AREA: Self = Self {
        transport: Transport::Stream,
        latency: Duration::from_millis(80),
        jitter: Duration::from_millis(70),
        loss_permille: 50,
        duplicate_permille: 0,
    };

    /// A healthy wide-area connection: 20 ± 10 ms.
    pub const WIDE_AREA: Self = Self {
        transport: Transport::Stream,
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        loss_permille: 0,
        duplicate_permille: 0,
    };

    /// The first retransmission timeout of a stream; doubles with each further loss.
    pub const RETRANSMIT: Duration = Duration::from_millis(200);

    /// Losses in a row that a stream suffers at most for one frame: 200 ms · (2⁶ − 1) ≈ 13 s.
    pub const RETRANSMITS_MAX: u32 = 6;
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Lane {
    rng: seed::Rng,
    /// When the last frame of a stream arrives; a later one does not come before.
    last_arrival: u64,
}

/// When the copies of one frame arrive, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Lost,
    Once(u64),
    Twice(u64, u64),
}

impl Lane {
    pub(crate) fn new(rng: seed::Rng) -> Self {
        Self {
            rng,
            last_arrival: 0,
        }
    }

    /// A new connection: its order has nothing to do with the old one's.
    pub(crate) fn reconnect(&mut self) {
        self.last_arrival = 0;
    }

    /// When everything sent until `now` has arrived.
    pub(crate) fn all_arrived(&self, model: &LinkModel, now: u64) -> u64 {
        let latest = now + nanos(model.latency) + nanos(model.jitter);
        latest.max(self.last_arrival)
    }

    /// Sends one frame at `now`.
    pub(crate) fn pass(&mut self, model: &LinkModel, now: u64) -> Passage {
        match model.transport {
            Transport::Datagram => {
                if self.happens(model.loss_permille) {
                    return Passage::Lost;
                }
                let first = now + self.delay(model);
                if self.happens(model.duplicate_permille) {
                    return Passage::Twice(first, now + self.delay(model));
                }
                Passage::Once(first)
            }
            Transport::Stream => {
                let mut delay = self.delay(model);
                for attempt in 0..LinkModel::RETRANSMITS_MAX {
                    if !self.happens(model.loss_permille) {
                        break;
                    }
                    delay += nanos(LinkModel::RETRANSMIT) << attempt;
                }
                self.last_arrival = self.last_arrival.max(now + delay);
                Passage::Once(self.last_arrival)
            }
        }
    }

    fn delay(&mut self, model: &LinkModel) -> u64 {
        let (latency, jitter) = (nanos(model.latency), nanos(model.jitter));
        let jitter = jitter.min(latency);
        latency - jitter + below(&mut self.rng, 2 * jitter + 1)
    }

    fn happens(&mut self, permille: u16) -> bool {
        // No draw for what cannot happen: a healthy link costs one draw for each frame.
        permille > 0 && below(&mut self.rng, 1_000) < u64::from(permille)
    }
}

/// A whole number below `bound`, which is above zero. Its bias is below bound / 2⁶⁴.
pub(crate) fn below(rng: &mut seed::Rng, bound: u64) -> u64 {
    let wide = u128::from(rng.next_u64()) * u128::from(bound);
    u64::try_from(wide >> 64).expect("the upper half of a product of two u64 fits u64")
}

/// Nanoseconds of a duration of simulated time, which is far below 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::Seed;

    fn lane() -> Lane {
        Lane::new(Seed::new(1).rng())
    }

    #[test]
    fn a_datagram_is_lost_doubled_and_overtaken_as_often_as_the_model_says() {
        let model = LinkModel {
            loss_permille: 100,
            duplicate_permille: 50,
            transport: Transport::Datagram,
            ..LinkModel::FIELD
        };
        let mut lane = lane();
        let (mut lost, mut twice, mut overtaken, mut last) = (0, 0, 0, 0);
        for _ in 0..10_000 {
            match lane.pass(&model, 1_000) {
                Passage::Lost => lost += 1,
                Passage::Once(at) => {
                    assert!((20_001_000..=100_001_000).contains(&at), "{at}");
                    overtaken += u32::from(at < last);
                    last = at;
                }
                Passage::Twice(..) => twice += 1,
            }
        }
        assert!((900..1_100).contains(&lost), "{lost}");
        assert!((400..500).contains(&twice), "{twice}");
        assert!(overtaken > 3_000, "{overtaken}");
    }

    #[test]
    fn a_stream_keeps_order_and_loses_nothing() {
        let model = LinkModel {
            loss_permille: 300,
            duplicate_permille: 300,
            ..LinkModel::WIDE_AREA
        };
        let mut lane = lane();
        let mut last = 0;
        for now in (0..10_000_000_000).step_by(1_000_000) {
            let Passage::Once(at) = lane.pass(&model, now) else {
                panic!("a stream delivers once");
            };
            assert!(at >= last && at > now);
            last = at;
        }
    }

    #[test]
    fn draws_stay_below_their_bound() {
        let mut rng = Seed::new(3).rng();
        for bound in [1, 2, 1_000, u64::MAX] {
            for _ in 0..100 {
                assert!(below(&mut rng, bound) < bound);
            }
        }
    }
}
