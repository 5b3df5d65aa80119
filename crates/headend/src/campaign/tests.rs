use gridloom_core::seed::Rng;
use gridloom_store::{MemoryOperations, OperationsStore, WhichWork};
use rand_core::Rng as _;

use super::*;

const SEED: Seed = Seed::new(5);
const BLOCK: u32 = 100;

fn image(version: &str) -> Image {
    Image {
        identifier: version.as_bytes().to_vec(),
        size: 2_050,
        digest: [1; 32],
        signature: vec![2; 64],
        version: version.into(),
    }
}

fn plan(meters: u32) -> CampaignPlan {
    let stage = |reach, success_percent| StagePlan {
        reach,
        success_percent,
    };
    CampaignPlan {
        number: 1,
        image: image("2.0"),
        targets: (1..=meters).map(MeterId).collect(),
        stages: vec![
            stage(Reach::Meters(2), 100),
            stage(Reach::Percent(50), 75),
            stage(Reach::Percent(100), 0),
        ],
        concurrency: 4,
        activate_at: None,
        actor: "anna".into(),
    }
}

/// A meter's class 18, as far as a campaign sees it.
#[derive(Debug, Clone)]
struct Meter {
    version: String,
    transfer: TransferStatus,
    identifier: Vec<u8>,
    have: BTreeSet<u32>,
    /// Refuses the image when it verifies.
    is_fussy: bool,
    /// Transfers are allowed.
    is_enabled: bool,
    activations: u32,
}

impl Meter {
    fn new() -> Self {
        Self {
            version: "1.0".into(),
            transfer: TransferStatus::NotInitiated,
            identifier: Vec::new(),
            have: BTreeSet::new(),
            is_fussy: false,
            is_enabled: false,
            activations: 0,
        }
    }

    fn answer(
        &mut self,
        request: ImageRequest,
        image: &Image,
        mut loses: impl FnMut() -> bool,
    ) -> ImageAnswer {
        match request {
            ImageRequest::ReadVersion => ImageAnswer::Version(self.version.clone()),
            ImageRequest::ReadStatus => ImageAnswer::Status(ImageStatus {
                block_size: BLOCK,
                first_missing: (0..).find(|block| !self.have.contains(block)).unwrap(),
                is_enabled: self.is_enabled,
                transfer: self.transfer,
            }),
            ImageRequest::Enable => {
                self.is_enabled = true;
                ImageAnswer::Done
            }
            ImageRequest::Initiate => {
                assert!(self.is_enabled, "begun though transfers are not allowed");
                self.identifier.clone_from(&image.identifier);
                self.have.clear();
                self.transfer = TransferStatus::Initiated;
                ImageAnswer::Done
            }
            ImageRequest::SendBlocks { first, count, .. } => {
                assert_eq!(self.identifier, image.identifier, "blocks of another image");
                self.have
                    .extend((first..first + count).filter(|_| !loses()));
                ImageAnswer::Done
            }
            ImageRequest::Verify => {
                assert_eq!(self.have.len(), 21, "verified before it was whole");
                self.transfer = if self.is_fussy {
                    TransferStatus::VerificationFailed
                } else {
                    TransferStatus::Verified
                };
                ImageAnswer::UnderWay
            }
            ImageRequest::Activate => {
                assert_eq!(self.transfer, TransferStatus::Verified);
                self.activations += 1;
                self.version.clone_from(&image.version);
                self.transfer = TransferStatus::Activated;
                ImageAnswer::UnderWay
            }
        }
    }
}

struct World {
    rng: Rng,
    faults: bool,
    store: MemoryOperations,
    campaign: Campaign,
    meters: BTreeMap<MeterId, Meter>,
    asks: VecDeque<(MeterId, ImageRequest)>,
    seconds: u64,
    halts: usize,
    is_finished: bool,
    busiest: usize,
}

impl World {
    fn new(seed: u64, plan: CampaignPlan) -> Self {
        Self {
            rng: Seed::new(seed).child("campaign").rng(),
            faults: false,
            store: MemoryOperations::new(),
            meters: plan
                .targets
                .iter()
                .map(|meter| (*meter, Meter::new()))
                .collect(),
            campaign: Campaign::begin(plan, SEED).unwrap(),
            asks: VecDeque::new(),
            seconds: 0,
            halts: 0,
            is_finished: false,
            busiest: 0,
        }
    }

    fn happens(&mut self, of: u64) -> bool {
        self.faults && self.rng.next_u64().is_multiple_of(of)
    }

    fn now(&self) -> Now {
        Now {
            instant: Instant::from_nanos(self.seconds * 1_000_000_000),
            utc: UtcTime::from_secs(self.seconds.cast_signed()),
        }
    }

    /// The process died: whatever was not committed is forgotten.
    fn crash(&mut self) {
        let rows = self
            .store
            .work(WorkKind::Campaign, WhichWork::Number(1))
            .unwrap();
        self.asks.clear();
        // What is over is not taken up again.
        self.is_finished = rows
            .iter()
            .any(|row| row.meter.is_none() && row.is_finished);
        self.campaign = if rows.is_empty() {
            Campaign::begin(self.campaign.plan().clone(), SEED).unwrap()
        } else {
            Campaign::resume(&rows, SEED, self.now()).unwrap()
        };
    }

    /// One step; whether there was anything to do.
    fn step(&mut self) -> bool {
        let now = self.now();
        while let Some(output) = self.campaign.poll_output() {
            match output {
                CampaignOutput::Ask(meter, request) => self.asks.push_back((meter, request)),
                CampaignOutput::Halted(_) => self.halts += 1,
                CampaignOutput::Finished => self.is_finished = true,
            }
        }
        self.busiest = self.busiest.max(self.asks.len());
        if let Some(batch) = self.campaign.next_batch(now.utc) {
            if self.happens(20) {
                self.crash();
                return true;
            }
            if self.happens(20) {
                self.campaign.handle_commit_failed();
                return true;
            }
            let answers = self.store.commit(&[batch]).unwrap();
            assert_eq!(answers, [Ok(())]);
            if self.happens(20) {
                self.crash();
            } else {
                self.campaign.handle_committed(now);
            }
            return true;
        }
        if let Some((meter, request)) = self.asks.pop_front() {
            let image = self.campaign.plan().image.clone();
            let lost_before = self.happens(6);
            let lost_after = self.happens(6);
            let crashes = self.happens(30);
            let losses: Vec<_> = (0..32).map(|_| self.happens(8)).collect();
            let mut losses = losses.into_iter().cycle();
            let machine = self.meters.get_mut(&meter).unwrap();
            let mut answer = ImageAnswer::Unreachable("lost".into());
            if !lost_before {
                let heard = machine.answer(request, &image, || losses.next().unwrap());
                if !lost_after {
                    answer = heard;
                }
            }
            if crashes {
                self.crash();
            } else {
                self.campaign.handle_answer(meter, answer, now);
            }
            return true;
        }
        let wake = self.campaign.wake();
        let instant = wake
            .instant
            .map(|(at, _)| at.as_nanos().div_ceil(1_000_000_000));
        let utc = wake.utc.map(|(at, _)| at.as_secs().cast_unsigned());
        let Some(next) = instant.into_iter().chain(utc).min() else {
            return false;
        };
        self.seconds = self.seconds.max(next);
        let now = self.now();
        self.campaign.handle_timeout(now);
        true
    }

    fn run(&mut self) {
        for _ in 0..200_000 {
            if !self.step() {
                return;
            }
        }
        panic!("a campaign comes to rest");
    }

    fn installed(&self) -> usize {
        let new = self.meters.values().filter(|meter| meter.version == "2.0");
        new.count()
    }
}

#[test]
fn stages_follow_each_other_to_the_end() {
    let mut world = World::new(0, plan(20));
    world.run();
    assert!(world.is_finished);
    assert_eq!(world.installed(), 20);
    assert!(world.busiest <= 4, "{}", world.busiest);
    let report = world.campaign.report();
    assert_eq!((report.succeeded, report.stage), (20, 3));
    assert_eq!(report.state, CampaignState::Finished);
    let log = world.store.audit_log(0, 1_000).unwrap();
    assert!(log.len() > 60);
    for entry in log {
        AuditRecord::decode(&entry.record).unwrap();
    }
}

#[test]
fn a_bad_canary_halts_the_campaign_until_an_operator_decides() {
    let canary = Campaign::begin(plan(20), SEED).unwrap().order[0];
    let spoiled = || {
        let mut world = World::new(0, plan(20));
        world.meters.get_mut(&canary).unwrap().is_fussy = true;
        world.run();
        assert_eq!(world.halts, 1);
        assert!(world.installed() <= 1, "only canaries were touched");
        let report = world.campaign.report();
        assert!(matches!(report.state, CampaignState::Halted(_)));
        assert!(report.failed[&canary].contains("verification failed"));
        assert_eq!(report.waiting, 18);
        world
    };

    let mut world = spoiled();
    world.crash(); // A start changes nothing about it.
    world.run();
    assert_eq!(world.campaign.report().waiting, 18);
    world.campaign.go_on("bert", world.now());
    world.run();
    assert!(world.is_finished);
    assert_eq!(world.installed(), 19);

    let mut world = spoiled();
    world.campaign.abort("bert", world.now());
    world.run();
    assert!(world.is_finished);
    let installed = world.installed();
    assert!(installed <= 1);
    let back = world.campaign.roll_back(2, image("1.0"), "anna").unwrap();
    assert!(back.check().is_ok());
    assert!(back.targets.len() >= installed && back.targets.len() <= 2);
}

#[test]
fn a_paused_campaign_asks_nothing() {
    let mut world = World::new(0, plan(20));
    for _ in 0..40 {
        world.step();
    }
    world.campaign.pause("bert");
    world.run();
    let asked = world.asks.len();
    let before = world.installed();
    world.crash();
    world.run();
    assert_eq!((world.asks.len(), world.installed()), (asked, before));
    assert!(!world.is_finished);
    world.campaign.go_on("bert", world.now());
    world.run();
    assert_eq!(world.installed(), 20);
}

#[test]
fn nothing_is_activated_before_its_time() {
    let mut plan = plan(6);
    plan.activate_at = Some(UtcTime::from_secs(86_400));
    let mut world = World::new(0, plan);
    while world.step() {
        assert!(world.installed() == 0 || world.seconds >= 86_400);
    }
    assert_eq!(world.installed(), 6);
}

#[test]
fn crashes_and_losses_leave_no_meter_behind() {
    let (mut succeeded, mut failed) = (0, 0);
    for seed in 0..200 {
        eprintln!("GRIDLOOM_SEED={seed}"); // Shown only when the test fails.
        let mut world = World::new(seed, plan(8));
        world.faults = true;
        for _ in 0..20 {
            world.run();
            if world.is_finished {
                break;
            }
            world.campaign.go_on("bert", world.now()); // It halted.
        }
        assert!(world.is_finished, "{:?}", world.campaign.report());
        let report = world.campaign.report();
        succeeded += report.succeeded;
        failed += report.failed.len();
        for (meter, machine) in &world.meters {
            assert!(machine.activations <= 1, "{meter} was activated twice");
            let is_new = machine.version == "2.0";
            assert!(
                is_new || report.failed.contains_key(meter),
                "{meter} counts as updated and is not"
            );
        }
        let rows = world.store.work(WorkKind::Campaign, WhichWork::Unfinished);
        assert_eq!(rows, Ok(vec![]));
    }
    assert!(succeeded > 1_500, "{succeeded} succeeded, {failed} failed");
}

#[test]
fn an_aborted_campaign_watches_what_it_activated() {
    for steps in 0..400 {
        let mut world = World::new(0, plan(8));
        for _ in 0..steps {
            world.step();
        }
        if world.is_finished {
            break;
        }
        world.campaign.abort("bert", world.now());
        world.run();
        assert!(world.is_finished, "after {steps} steps");
        let report = world.campaign.report();
        assert_eq!(report.succeeded, world.installed(), "after {steps} steps");
        let all = report.succeeded + report.cancelled + report.waiting;
        assert_eq!(all, 8, "{report:?}");
    }
}

#[test]
fn meters_that_lead_nowhere_fail_with_a_reason() {
    let now = Now {
        instant: Instant::ZERO,
        utc: UtcTime::from_secs(0),
    };
    let status = |transfer, first_missing, is_enabled, block_size| {
        ImageAnswer::Status(ImageStatus {
            block_size,
            first_missing,
            is_enabled,
            transfer,
        })
    };
    use TransferStatus::{Initiated, NotInitiated, Verified, Verifying};
    let cases = [
        (Phase::Begun, status(NotInitiated, 0, false, 1), "Enable"),
        (Phase::Begun, status(NotInitiated, 0, true, 0), "block size"),
        (Phase::Initiated, status(Initiated, 0, true, 9), "missing"),
        (Phase::Initiated, status(Initiated, 999, true, 9), "Verify"),
        (Phase::Initiated, status(NotInitiated, 0, true, 9), "Init"),
        (Phase::Initiated, status(Verifying, 9, true, 9), "looks"),
        (Phase::Activating, status(Verified, 9, true, 9), "Activate"),
        (Phase::Activating, status(NotInitiated, 0, true, 9), "back"),
        (
            Phase::Begun,
            ImageAnswer::Unreachable("x".into()),
            "10 times",
        ),
        (Phase::Begun, ImageAnswer::Refused("y".into()), "refused"),
        (Phase::Begun, ImageAnswer::Version("z".into()), "answer"),
    ];
    for (phase, answer, reason) in cases {
        let mut installation = Installation::new(phase.clone());
        let mut request = ImageRequest::ReadStatus;
        let failed = (0..1_000).find_map(|_| {
            let heard = match (request, &answer) {
                (ImageRequest::ReadStatus, _)
                | (_, ImageAnswer::Unreachable(_) | ImageAnswer::Refused(_)) => answer.clone(),
                (ImageRequest::ReadVersion, _) => ImageAnswer::Version("1.0".into()),
                _ => ImageAnswer::Done,
            };
            match installation.handle(request, heard, &plan(1), now) {
                Next::Ask(next) | Next::Pause(_, next) => request = next,
                Next::Enter(Phase::Failed(found)) => return Some(found),
                Next::Enter(next) => {
                    installation.phase = next;
                    request = installation.take_up().unwrap();
                }
            }
            None
        });
        let failed = failed.unwrap_or_else(|| panic!("{phase:?} {answer:?} never ends"));
        assert!(failed.contains(reason), "{phase:?} {answer:?}: {failed}");
    }
}

#[test]
fn plans_that_cannot_be_carried_out() {
    type Case = (fn(&mut CampaignPlan), &'static str);
    let cases: [Case; 10] = [
        (|plan| plan.targets.clear(), "0 meters"),
        (|plan| plan.stages.clear(), "0 stages"),
        (|plan| plan.concurrency = 0, "concurrency = 0"),
        (|plan| plan.image.signature.clear(), "signature"),
        (|plan| plan.image.size = 0, "size"),
        (|plan| plan.image.version.clear(), "version"),
        (|plan| plan.stages[1].success_percent = 101, "101 percent"),
        (|plan| plan.stages[1].reach = Reach::Meters(2), "stage 2"),
        (|plan| plan.stages[2].reach = Reach::Percent(99), "stage 3"),
        (|plan| plan.stages[0].reach = Reach::Percent(0), "stage 1"),
    ];
    for (change, text) in cases {
        let mut changed = plan(1_000);
        change(&mut changed);
        let error = changed.check().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(plan(1_000).check(), Ok(()));
}

#[test]
fn damaged_states_are_named() {
    let mut campaign = Campaign::begin(plan(8), SEED).unwrap();
    campaign.stage = 1;
    campaign.state = CampaignState::Halted("x".into());
    let bytes = campaign.encode_head();
    let again = Campaign::decode_head(1, &bytes, SEED).unwrap();
    assert_eq!(again.plan, campaign.plan);
    assert_eq!((again.stage, again.state), (1, campaign.state));
    for length in 0..bytes.len() {
        assert!(Campaign::decode_head(1, &bytes[..length], SEED).is_err());
    }
}
