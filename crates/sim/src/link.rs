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

/// Losses in bursts, after Gilbert and Elliott: a lane is clear or noisy, and changes with each
/// fragment that it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bursts {
    /// A clear lane becomes noisy, in thousandths for each fragment.
    pub begin_permille: u16,
    /// A noisy lane becomes clear, in thousandths for each fragment.
    pub end_permille: u16,
    /// Fragments lost by a noisy lane, in thousandths.
    pub loss_permille: u16,
}

/// What a link is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkModel {
    /// What it does with what it loses.
    pub transport: Transport,
    /// One-way delay of a frame that waits for nothing: the mean, or the median where there is a
    /// [`Self::tail_milli`].
    pub latency: Duration,
    /// A frame's delay differs from the mean by up to this, to both sides; at most the mean.
    pub jitter: Duration,
    /// The delay is lognormal, with this for its sigma, in thousandths; 0: even within the jitter.
    pub tail_milli: u16,
    /// Fragments lost, in thousandths.
    pub loss_permille: u16,
    /// Further losses, in bursts.
    pub bursts: Option<Bursts>,
    /// Frames delivered twice, in thousandths; only by [`Transport::Datagram`].
    pub duplicate_permille: u16,
    /// Bits per second of each direction, shared by its frames; 0: more than anybody needs.
    pub rate_bps: u32,
    /// Bytes of a fragment; 0: every frame fits into one. A frame is lost with any of its own.
    pub mtu: u16,
}

impl LinkModel {
    /// Loses nothing and takes no time.
    pub const PERFECT: Self = Self {
        transport: Transport::Stream,
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        tail_milli: 0,
        loss_permille: 0,
        bursts: None,
        duplicate_permille: 0,
        rate_bps: 0,
        mtu: 0,
    };

    /// A healthy field connection: 60 ± 40 ms.
    pub const FIELD: Self = Self {
        transport: Transport::Stream,
        latency: Duration::from_millis(60),
        jitter: Duration::from_millis(40),
        ..Self::PERFECT
    };

    /// A bad radio mesh: a tenth of the frames lost, a twentieth delivered twice, 300 ± 290 ms,
    /// so that frames overtake each other.
    pub const BAD_MESH: Self = Self {
        transport: Transport::Datagram,
        latency: Duration::from_millis(300),
        jitter: Duration::from_millis(290),
        loss_permille: 100,
        duplicate_permille: 50,
        ..Self::PERFECT
    };

    /// A bad wide-area connection: a twentieth of the segments is lost, 80 ± 70 ms.
    pub const BAD_WIDE_AREA: Self = Self {
        transport: Transport::Stream,
        latency: Duration::from_millis(80),
        jitter: Duration::from_millis(70),
        loss_permille: 50,
        ..Self::PERFECT
    };

    /// A healthy wide-area connection: 20 ± 10 ms.
    pub const WIDE_AREA: Self = Self {
        transport: Transport::Stream,
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        ..Self::PERFECT
    };

    /// The first retransmission timeout of a stream; doubles with each further loss.
    pub const RETRANSMIT: Duration = Duration::from_millis(200);

    /// Losses in a row that a stream suffers at most for one frame: 200 ms · (2⁶ − 1) ≈ 13 s.
    pub const RETRANSMITS_MAX: u32 = 6;

    /// Bytes of a frame that a host carries: one more closes the link there.
    pub const FRAME_MAX: usize = 1024 * 1024;

    /// Bytes that each fragment adds.
    pub const FRAGMENT_OVERHEAD: u64 = 8;

    /// The longest a frame waits for a slow lane to be free. Beyond it a datagram is lost; a
    /// stream's sender waits.
    pub const QUEUE_MAX: Duration = Duration::from_secs(60);

    /// The longest delay that is drawn.
    pub const DELAY_MAX: Duration = Duration::from_secs(60);

    /// The highest ratio of the 95th percentile to the mean that a lognormal delay can have:
    /// exp(1.645² / 2), in hundredths and rounded down.
    pub const P95_TO_MEAN_MAX_PERCENT: u32 = 386;

    /// The 95th percentile of a standard normal variable.
    const Z95: f64 = 1.644_853_626_951_472_2;

    /// The same link with a lognormal delay of this median and 95th percentile.
    #[must_use]
    pub fn with_median(self, median: Duration, p95: Duration) -> Self {
        let ratio = p95.as_secs_f64() / median.as_secs_f64().max(1e-9);
        self.with_tail(median, libm::log(ratio.max(1.0)) / Self::Z95)
    }

    /// The same link with a lognormal delay of this mean and 95th percentile, or `None` where no
    /// lognormal has both: beyond [`Self::P95_TO_MEAN_MAX_PERCENT`].
    ///
    /// With m the mean, ln(p95 / m) = 1.645 σ − σ² / 2; of its two solutions the smaller is meant.
    pub fn with_mean(self, mean: Duration, p95: Duration) -> Option<Self> {
        let ratio = libm::log(p95.as_secs_f64() / mean.as_secs_f64());
        let root = Self::Z95 * Self::Z95 - 2.0 * ratio;
        if ratio.is_nan() || ratio < 0.0 || root < 0.0 {
            return None;
        }
        let sigma = Self::Z95 - libm::sqrt(root);
        let median = mean.mul_f64(libm::exp(-sigma * sigma / 2.0));
        Some(self.with_tail(median, sigma))
    }

    fn with_tail(self, median: Duration, sigma: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from f64 saturates, and sigma is not negative"
        )]
        let tail_milli = libm::round(sigma * 1_000.0) as u16;
        Self {
            latency: median,
            jitter: Duration::ZERO,
            tail_milli,
            ..self
        }
    }

    fn fragments(&self, bytes: usize) -> u64 {
        match self.mtu {
            0 => 1,
            mtu => (bytes as u64).div_ceil(u64::from(mtu)).max(1),
        }
    }
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Lane {
    rng: seed::Rng,
    /// When the last frame of a stream arrives; a later one does not come before.
    last_arrival: u64,
    /// When the last byte of what was sent has left.
    free_at: u64,
    is_noisy: bool,
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
            free_at: 0,
            is_noisy: false,
        }
    }

    /// A new connection: its order has nothing to do with the old one's.
    pub(crate) fn reconnect(&mut self) {
        self.last_arrival = 0;
    }

    /// When everything sent until `now` has arrived. Of what has a long tail, what comes later
    /// finds nobody.
    pub(crate) fn all_arrived(&self, model: &LinkModel, now: u64) -> u64 {
        let latest = now.max(self.free_at) + nanos(model.latency) + nanos(model.jitter);
        latest.max(self.last_arrival)
    }

    /// Sends one frame of so many bytes at `now`.
    pub(crate) fn pass(&mut self, model: &LinkModel, now: u64, bytes: usize) -> Passage {
        let fragments = model.fragments(bytes);
        let Some(left) = self.leave(model, now, bytes as u64, fragments) else {
            return Passage::Lost;
        };
        match model.transport {
            Transport::Datagram => {
                if self.loses(model, fragments) {
                    return Passage::Lost;
                }
                let first = left + self.delay(model);
                if self.happens(model.duplicate_permille) {
                    return Passage::Twice(first, left + self.delay(model));
                }
                Passage::Once(first)
            }
            Transport::Stream => {
                let mut delay = self.delay(model);
                for attempt in 0..LinkModel::RETRANSMITS_MAX {
                    if !self.loses(model, fragments) {
                        break;
                    }
                    delay += nanos(LinkModel::RETRANSMIT) << attempt;
                }
                self.last_arrival = self.last_arrival.max(left + delay);
                Passage::Once(self.last_arrival)
            }
        }
    }

    /// When the last bit of a frame has left; `None` if a datagram waited too long for its turn.
    fn leave(&mut self, model: &LinkModel, now: u64, bytes: u64, fragments: u64) -> Option<u64> {
        if model.rate_bps == 0 {
            return Some(now);
        }
        let begins = self.free_at.max(now);
        let waits = begins - now;
        if model.transport == Transport::Datagram && waits > nanos(LinkModel::QUEUE_MAX) {
            return None;
        }
        let bits = (bytes + fragments * LinkModel::FRAGMENT_OVERHEAD) * 8;
        self.free_at = begins + bits * 1_000_000_000 / u64::from(model.rate_bps);
        Some(self.free_at)
    }

    /// Whether any fragment of a frame is lost.
    fn loses(&mut self, model: &LinkModel, fragments: u64) -> bool {
        let mut lost = false;
        for _ in 0..fragments {
            lost |= self.happens(model.loss_permille);
            if let Some(bursts) = model.bursts {
                let change = if self.is_noisy {
                    bursts.end_permille
                } else {
                    bursts.begin_permille
                };
                self.is_noisy ^= self.happens(change);
                lost |= self.is_noisy && self.happens(bursts.loss_permille);
            }
        }
        lost
    }

    fn delay(&mut self, model: &LinkModel) -> u64 {
        if model.tail_milli > 0 {
            let sigma = f64::from(model.tail_milli) / 1_000.0;
            let factor = libm::exp(sigma * self.normal());
            let delay = model.latency.as_secs_f64() * factor;
            let delay = delay.min(LinkModel::DELAY_MAX.as_secs_f64());
            return nanos(Duration::from_secs_f64(delay));
        }
        let (latency, jitter) = (nanos(model.latency), nanos(model.jitter));
        let jitter = jitter.min(latency);
        latency - jitter + below(&mut self.rng, 2 * jitter + 1)
    }

    /// A standard normal variable, after Box and Muller.
    fn normal(&mut self) -> f64 {
        // Of 53 bits, in (0, 1].
        let mut uniform = || ((self.rng.next_u64() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        let radius = libm::sqrt(-2.0 * libm::log(uniform()));
        radius * libm::cos(core::f64::consts::TAU * uniform())
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
            match lane.pass(&model, 1_000, 100) {
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
            let Passage::Once(at) = lane.pass(&model, now, 100) else {
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

    /// What 20 000 frames, a minute apart, took: in order, in seconds.
    fn delays(model: &LinkModel, bytes: usize) -> Vec<f64> {
        let mut lane = lane();
        let mut delays: Vec<f64> = (1..=20_000_u64)
            .map(|n| n * 60_000_000_000)
            .filter_map(|now| match lane.pass(model, now, bytes) {
                Passage::Once(at) => Some((at - now) as f64 / 1e9),
                Passage::Lost | Passage::Twice(..) => None,
            })
            .collect();
        delays.sort_by(f64::total_cmp);
        delays
    }

    #[test]
    fn a_tail_has_the_mean_or_the_median_and_the_percentile_that_it_was_fitted_to() {
        let (ms, base) = (Duration::from_millis, LinkModel::PERFECT);
        let at = |delays: &[f64], percent: usize| delays[delays.len() * percent / 100];
        let near = |got: f64, wanted: f64| (got / wanted - 1.0).abs() < 0.05;

        let delays_of = delays(&base.with_mean(ms(373), ms(932)).unwrap(), 100);
        let mean = delays_of.iter().sum::<f64>() / delays_of.len() as f64;
        assert!(
            near(mean, 0.373) && near(at(&delays_of, 95), 0.932),
            "{mean}"
        );

        let delays_of = delays(&base.with_median(ms(500), ms(4_000)), 100);
        assert!(near(at(&delays_of, 50), 0.5) && near(at(&delays_of, 95), 4.0));

        assert_eq!(
            base.with_mean(ms(500), ms(4_000)),
            None,
            "no lognormal is so"
        );
        assert!(base.with_mean(ms(100), ms(386)).is_some());
        assert_eq!(base.with_mean(ms(100), ms(90)), None);
    }

    #[test]
    fn a_slow_lane_takes_a_frame_after_the_other_and_drops_what_waits_too_long() {
        let model = LinkModel {
            transport: Transport::Datagram,
            rate_bps: 8_000,
            mtu: 100,
            ..LinkModel::PERFECT
        };
        let mut lane = lane();
        // 1 000 bytes and ten times 8 for the fragments, at 1 000 bytes a second.
        for number in 1..=56 {
            let at = number * 1_080_000_000;
            assert_eq!(lane.pass(&model, 0, 1_000), Passage::Once(at));
        }
        assert_eq!(lane.pass(&model, 0, 1_000), Passage::Lost);
        let stream = LinkModel {
            transport: Transport::Stream,
            ..model
        };
        let Passage::Once(at) = lane.pass(&stream, 0, 1_000) else {
            panic!("a stream waits");
        };
        assert_eq!(at, 57 * 1_080_000_000);
    }

    #[test]
    fn a_long_frame_is_lost_with_any_of_its_fragments_and_a_noisy_lane_in_bursts() {
        let model = LinkModel {
            transport: Transport::Datagram,
            loss_permille: 50,
            mtu: 100,
            ..LinkModel::PERFECT
        };
        let lost = |model: &LinkModel, bytes| 20_000 - delays(model, bytes).len();
        assert!((900..1_100).contains(&lost(&model, 100)));
        // 1 − 0.95⁵ = 22.6 %.
        assert!((4_300..4_750).contains(&lost(&model, 500)));
        let noisy = LinkModel {
            loss_permille: 0,
            bursts: Some(Bursts {
                begin_permille: 10,
                end_permille: 140,
                loss_permille: 500,
            }),
            ..model
        };
        let mut lane = lane();
        let lost: Vec<bool> = (0..20_000)
            .map(|_| lane.pass(&noisy, 0, 50) == Passage::Lost)
            .collect();
        let count = lost.iter().filter(|lost| **lost).count();
        let pairs = lost.windows(2).filter(|pair| pair[0] && pair[1]).count();
        assert!((450..950).contains(&count), "{count}");
        // Independent losses would make a pair of one in thirty.
        assert!(pairs * 4 > count, "{pairs} of {count}");
    }
}
