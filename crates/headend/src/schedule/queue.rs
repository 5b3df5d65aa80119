//! What is ready, and which of it may start: one session per meter, so many per link, so many
//! in total; links take turns within a lane.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::{MeterId, UtcTime};

use super::job::{JobId, Lane, LinkId};

const LANES: usize = Lane::ALL.len();

/// Starts in a row that may overtake a lower lane.
pub(super) const OVERTAKES_MAX: u32 = 8;

/// Whether sessions may start over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum LinkState {
    #[default]
    Up,
    Down,
}

#[derive(Debug)]
struct MeterQueue {
    link: LinkId,
    /// The link its running session was started over.
    busy: Option<LinkId>,
    /// Every job of the meter, whatever its stage.
    owned: BTreeSet<JobId>,
    ready: [BTreeSet<(UtcTime, JobId)>; LANES],
    /// The meter left while its last session runs.
    gone: bool,
}

#[derive(Debug, Default)]
struct LinkQueue {
    state: LinkState,
    running: u32,
    /// Sessions at once, where fewer than usual fit.
    most: Option<u32>,
    /// The number of its last start: who waited longest has the smallest.
    turn: u64,
    /// The first ready job of every idle meter, by lane.
    waiting: [BTreeSet<(UtcTime, JobId, MeterId)>; LANES],
}

#[derive(Debug)]
pub(super) struct Queue {
    total_max: u32,
    per_link_max: u32,
    running: u32,
    turns: u64,
    /// Starts in a row that overtook a lower lane.
    overtakes: u32,
    /// Starts given to overtaken lanes.
    amends: usize,
    meters: BTreeMap<MeterId, MeterQueue>,
    links: BTreeMap<LinkId, LinkQueue>,
    /// The links that can start a job of the lane now, by turn.
    open: [BTreeSet<(u64, LinkId)>; LANES],
}

impl Queue {
    pub(super) fn new(total_max: u32, per_link_max: u32) -> Self {
        Self {
            total_max,
            per_link_max,
            running: 0,
            turns: 0,
            overtakes: 0,
            amends: 0,
            meters: BTreeMap::new(),
            links: BTreeMap::new(),
            open: Default::default(),
        }
    }

    pub(super) const fn running(&self) -> u32 {
        self.running
    }

    pub(super) fn knows(&self, meter: MeterId) -> bool {
        self.meters.get(&meter).is_some_and(|queue| !queue.gone)
    }

    pub(super) fn jobs_of(&self, meter: MeterId) -> impl Iterator<Item = JobId> {
        self.meters
            .get(&meter)
            .into_iter()
            .flat_map(|queue| queue.owned.iter().copied())
    }

    pub(super) fn place_meter(&mut self, meter: MeterId, link: LinkId) {
        self.unlist_meter(meter);
        let queue = self.meters.entry(meter).or_insert_with(|| MeterQueue {
            link,
            busy: None,
            owned: BTreeSet::new(),
            ready: Default::default(),
            gone: false,
        });
        queue.link = link;
        queue.gone = false;
        self.links.entry(link).or_default();
        self.list_meter(meter);
    }

    pub(super) fn remove_meter(&mut self, meter: MeterId) {
        self.unlist_meter(meter);
        if let Some(queue) = self.meters.get_mut(&meter) {
            queue.gone = true;
            if queue.busy.is_none() {
                self.meters.remove(&meter);
            }
        }
    }

    pub(super) fn set_link(&mut self, link: LinkId, state: LinkState) {
        self.unlist_link(link);
        self.links.entry(link).or_default().state = state;
        self.list_link(link);
    }

    pub(super) fn limit_link(&mut self, link: LinkId, most: u32) {
        self.unlist_link(link);
        self.links.entry(link).or_default().most = Some(most);
        self.list_link(link);
    }

    pub(super) fn own(&mut self, meter: MeterId, job: JobId) {
        self.meter(meter).owned.insert(job);
    }

    pub(super) fn disown(&mut self, meter: MeterId, job: JobId) {
        if let Some(queue) = self.meters.get_mut(&meter) {
            queue.owned.remove(&job);
        }
    }

    pub(super) fn ready(&mut self, meter: MeterId, lane: Lane, since: UtcTime, job: JobId) {
        self.unlist_meter(meter);
        self.meter(meter).ready[lane.index()].insert((since, job));
        self.list_meter(meter);
    }

    pub(super) fn unready(&mut self, meter: MeterId, lane: Lane, since: UtcTime, job: JobId) {
        self.unlist_meter(meter);
        self.meter(meter).ready[lane.index()].remove(&(since, job));
        self.list_meter(meter);
    }

    /// A meter's session ended.
    pub(super) fn finish(&mut self, meter: MeterId) {
        let queue = self.meter(meter);
        let link = queue.busy.take().expect("only a busy meter finishes");
        let gone = queue.gone;
        self.unlist_link(link);
        let over = self.links.get_mut(&link).expect("a busy link is known");
        over.running -= 1;
        self.running -= 1;
        self.list_link(link);
        if gone {
            self.meters.remove(&meter);
        } else {
            self.list_meter(meter);
        }
    }

    /// Takes the next job that may start.
    pub(super) fn start_next(&mut self) -> Option<(MeterId, JobId)> {
        if self.running >= self.total_max {
            return None;
        }
        let lane = self.next_lane()?;
        let &(_, link) = self.open[lane].first()?;
        let &(since, job, meter) = self.links[&link].waiting[lane].first()?;

        self.unlist_meter(meter);
        let queue = self.meter(meter);
        queue.ready[lane].remove(&(since, job));
        queue.busy = Some(link);
        self.unlist_link(link);
        self.turns += 1;
        self.running += 1;
        let over = self.links.get_mut(&link).expect("an open link is known");
        over.turn = self.turns;
        over.running += 1;
        self.list_link(link);
        Some((meter, job))
    }

    /// The first lane with an open link; after too many overtakes, one of those behind it, by turns.
    fn next_lane(&mut self) -> Option<usize> {
        let mut lanes = (0..LANES).filter(|&lane| !self.open[lane].is_empty());
        let first = lanes.next()?;
        let overtaken: Vec<usize> = lanes.collect();
        if overtaken.is_empty() {
            self.overtakes = 0;
            return Some(first);
        }
        if self.overtakes < OVERTAKES_MAX {
            self.overtakes += 1;
            return Some(first);
        }
        self.overtakes = 0;
        self.amends = self.amends.wrapping_add(1);
        Some(overtaken[self.amends % overtaken.len()])
    }

    fn meter(&mut self, meter: MeterId) -> &mut MeterQueue {
        self.meters
            .get_mut(&meter)
            .expect("jobs belong to known meters")
    }

    /// The meter's candidates: the first ready job of each lane, if it is idle.
    fn candidates(queue: &MeterQueue) -> [Option<(UtcTime, JobId)>; LANES] {
        if queue.busy.is_some() || queue.gone {
            return [None; LANES];
        }
        core::array::from_fn(|lane| queue.ready[lane].first().copied())
    }

    fn unlist_meter(&mut self, meter: MeterId) {
        self.relist_meter(meter, |waiting, candidate| {
            waiting.remove(&candidate);
        });
    }

    fn list_meter(&mut self, meter: MeterId) {
        self.relist_meter(meter, |waiting, candidate| {
            waiting.insert(candidate);
        });
    }

    fn relist_meter(
        &mut self,
        meter: MeterId,
        change: impl Fn(&mut BTreeSet<(UtcTime, JobId, MeterId)>, (UtcTime, JobId, MeterId)),
    ) {
        let Some(queue) = self.meters.get(&meter) else {
            return;
        };
        let (link, candidates) = (queue.link, Self::candidates(queue));
        self.unlist_link(link);
        let over = self.links.get_mut(&link).expect("a meter's link is known");
        for (waiting, candidate) in over.waiting.iter_mut().zip(candidates) {
            if let Some((since, job)) = candidate {
                change(waiting, (since, job, meter));
            }
        }
        self.list_link(link);
    }

    fn unlist_link(&mut self, link: LinkId) {
        if let Some(queue) = self.links.get(&link) {
            for open in &mut self.open {
                open.remove(&(queue.turn, link));
            }
        }
    }

    fn list_link(&mut self, link: LinkId) {
        let queue = &self.links[&link];
        let most = queue.most.unwrap_or(self.per_link_max);
        if queue.state == LinkState::Down || queue.running >= most.min(self.per_link_max) {
            return;
        }
        for (open, waiting) in self.open.iter_mut().zip(&queue.waiting) {
            if !waiting.is_empty() {
                open.insert((queue.turn, link));
            }
        }
    }
}
