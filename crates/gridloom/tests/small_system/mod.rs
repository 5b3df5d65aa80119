//! A small system with real sockets and a real disk: meters, a gateway, an edge and a utility, on a
//! clock that runs fast.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use gridloom_core::{Currency, MeterId, Now, Period, Seed, UtcTime};
use gridloom_edge::{Edge, EdgeMemory, EdgeStatus};
use gridloom_field::profile::Delivery;
use gridloom_field::{Boot, Meter};
use gridloom_grid::Response;
use gridloom_host::{
    CellDisk, Clock, DataDirectory, DialOptions, Disk, DiskParts, Framing, LedgerDisk, LinkLimits,
    ListenOptions, Listener, Net, NodeIndex, Runner, Running,
};
use gridloom_nodes::{
    EdgeNode, GatewayNode, MeterNode, TunnelCounters, UtilityMemory, UtilityNode,
};
use gridloom_sim::town::{Homes, Town, TownPlan, seeded_keys};
use gridloom_store::{Backend, Ledger, LedgerConfig, MeterRow};
use tokio::runtime::Runtime;

const FIRST: NodeIndex = NodeIndex(0);

/// A connection that says nothing whole for so long is closed: slow lines shall be seen to end.
const PARTIAL_FRAME: Duration = Duration::from_secs(1);

/// The capture period of every meter.
const PERIOD: Period = Period::QUARTER_HOUR;

/// How many times faster than the wall: an interval is over every three seconds.
pub(crate) const SPEED: u32 = 300;

/// Everything but the meters, which come last.
pub(crate) struct System {
    runtime: Runtime,
    net: Net,
    town: Town,
    clock: Clock,
    start: Now,
    directory: DataDirectory,
    gateway_address: SocketAddr,
    edge_address: SocketAddr,
    gateway: Running<GatewayNode>,
    edge: Running<EdgeNode>,
    utility: Running<UtilityNode>,
    meters: Option<Running<MeterNode>>,
    field_disk: Disk,
    utility_disk: Disk,
}

/// What the edge did, and what the gateway brought it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Books {
    pub(crate) edge: EdgeStatus,
    pub(crate) tunnel: TunnelCounters,
    pub(crate) carried_up: u64,
}

impl Books {
    /// Frames of which the edge knows what became.
    pub(crate) fn judged(&self) -> u64 {
        let verdicts = self.edge.verdicts;
        let judged = verdicts.forwarded + verdicts.quarantined + verdicts.dropped;
        judged + self.tunnel.carried + self.tunnel.strayed
    }
}

/// What one meter captured, by the end of the interval in seconds: import in mWh, and whether it
/// was told that the reading is kept.
pub(crate) type Captured = BTreeMap<i64, (i64, bool)>;

impl System {
    /// Starts a utility, an edge and a gateway for `houses` meters.
    pub(crate) fn start(data: &Path, houses: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let seed = Seed::new(11);
        let began = PERIOD.end_of_interval_at(Clock::realtime().now().utc);
        let plan = TownPlan {
            seed,
            period: PERIOD,
            start: began,
            currency: Currency::new("EUR", 2).unwrap(),
            homes: Homes::Households {
                count: houses,
                response: Response::Off,
            },
        };
        let town = Town::new(plan, seeded_keys(seed)).unwrap();
        let clock = Clock::accelerated(began, SPEED.to_string().parse().unwrap());
        let start = Now {
            utc: began,
            ..clock.now()
        };
        let net = Net::new(clock.clone(), gridloom_host::entropy::seed().unwrap());
        let directory = DataDirectory::open("data", data).unwrap();
        let (mut ledger_disk, found) = LedgerDisk::open(&directory).unwrap();
        for house in town.houses() {
            ledger_disk
                .backend_mut()
                .enrol(MeterRow {
                    meter: house.meter(),
                    title: house.config().title,
                    name: house.name().to_owned(),
                    phases: 1,
                    wrapped_ek: Vec::new(),
                    wrapped_ak: Vec::new(),
                    service_point: house.name().to_owned(),
                })
                .unwrap();
        }
        let config = LedgerConfig::default();
        let (ledger, _) = Ledger::recover(config, found.checkpoint, found.segments).unwrap();
        let memory = UtilityMemory::read(
            ledger_disk.backend_mut(),
            None,
            ledger,
            &town.served(),
            PERIOD,
            began.day(),
        )
        .unwrap();
        let utility = UtilityNode::new(town.utility("utility"), town.served(), memory, start);
        let edge_memory = EdgeMemory::read(|_| None).unwrap();
        let edge = Edge::new(town.edge(), town.registry(), &edge_memory);
        let bind = |name: &str| {
            runtime
                .block_on(Listener::bind(name, "127.0.0.1:0"))
                .unwrap()
        };
        let (gateway_port, edge_port, utility_port) =
            (bind("gateway"), bind("edge"), bind("utility"));
        let (gateway_address, edge_address, utility_address) = (
            gateway_port.address(),
            edge_port.address(),
            utility_port.address(),
        );
        let cells = CellDisk::open(&directory).unwrap();
        let parts = DiskParts {
            cells: Some(cells),
            ..DiskParts::default()
        };
        let field_disk = Disk::start("field", parts).unwrap();
        let parts = DiskParts {
            cells: Some(CellDisk::open(&directory).unwrap()),
            ledger: Some(ledger_disk),
            ..DiskParts::default()
        };
        let utility_disk = Disk::start("utility", parts).unwrap();
        let trunk = || ListenOptions {
            limits: LinkLimits::trunk(),
            ..ListenOptions::new(Framing::Envelope)
        };
        let dial = || DialOptions {
            limits: LinkLimits::trunk(),
            ..DialOptions::new(Framing::Envelope)
        };
        let mut runner = Runner::new(net.clone());
        let node = runner.add("utility", utility);
        runner.listen(node, utility_port, trunk());
        runner.disk(utility_disk.handle());
        let utility = runner.start();
        let mut runner = Runner::new(net.clone());
        let node = runner.add("edge-1", EdgeNode::new("edge-1".into(), edge));
        runner.listen(node, edge_port, trunk());
        runner.dial(node, utility_address.into(), dial());
        runner.disk(field_disk.handle());
        let edge = runner.start();
        let mut runner = Runner::new(net.clone());
        let node = runner.add("gateway-1", GatewayNode::new("gateway-1".into()));
        let mut options = ListenOptions::new(Framing::DlmsWrapper);
        options.limits.partial_frame = PARTIAL_FRAME;
        runner.listen(node, gateway_port, options);
        runner.dial(node, edge_address.into(), dial());
        let gateway = runner.start();
        drop(guard);
        Self {
            runtime,
            net,
            town,
            clock,
            start,
            directory,
            gateway_address,
            edge_address,
            gateway,
            edge,
            utility,
            meters: None,
            field_disk,
            utility_disk,
        }
    }

    /// Starts the meters; each dials the gateway, or whom it takes for it.
    pub(crate) fn start_meters(&mut self, gateways: &BTreeMap<usize, SocketAddr>) {
        let _guard = self.runtime.enter();
        let mut runner = Runner::new(self.net.clone());
        for (index, house) in self.town.houses().iter().enumerate() {
            let (config, load) = (house.config().clone(), house.load());
            let none = BTreeMap::new();
            let meter = Meter::start(config, load, &none, Boot::Reset, self.start).unwrap();
            let node = runner.add(&format!("meter-{}", index + 1), MeterNode::new(meter));
            let address = gateways.get(&index).unwrap_or(&self.gateway_address);
            let mut dial = DialOptions::new(Framing::DlmsWrapper);
            dial.first_within = Duration::from_millis(100);
            runner.dial(node, (*address).into(), dial);
        }
        runner.disk(self.field_disk.handle());
        self.meters = Some(runner.start());
    }

    pub(crate) fn gateway(&self) -> String {
        self.gateway_address.to_string()
    }

    pub(crate) fn edge(&self) -> String {
        self.edge_address.to_string()
    }

    pub(crate) fn town(&self) -> &Town {
        &self.town
    }

    pub(crate) fn now(&self) -> UtcTime {
        self.clock.now().utc
    }

    pub(crate) fn books(&self) -> Books {
        self.runtime.block_on(async {
            let handle = self.gateway.handle();
            let carried_up = handle
                .call(FIRST, |node, _| node.counters().carried_up)
                .await;
            let handle = self.edge.handle();
            let edge = handle
                .call(FIRST, |node, _| (node.status(), node.tunnel()))
                .await;
            let (edge, tunnel) = edge.unwrap();
            Books {
                edge,
                tunnel,
                carried_up: carried_up.unwrap(),
            }
        })
    }

    /// What each meter captured until a moment.
    pub(crate) fn captured(&self, until: UtcTime) -> Vec<Captured> {
        let handle = self.meters.as_ref().unwrap().handle();
        let each = handle.call_each(move |_, node, _| {
            let entries = node.meter().profile().iter();
            entries
                .filter(|entry| entry.end() <= until)
                .map(|entry| {
                    let is_kept = entry.delivery() == Delivery::Acknowledged;
                    (
                        entry.end().as_secs(),
                        (entry.values().import.get(), is_kept),
                    )
                })
                .collect()
        });
        self.runtime.block_on(each).unwrap()
    }

    /// Lets go of the meters; what they have sent is under way.
    pub(crate) fn stop_meters(&mut self) -> Vec<Captured> {
        let captured = self.captured(UtcTime::from_millis(i64::MAX));
        let meters = self.meters.take().unwrap();
        self.runtime.block_on(meters.stop());
        captured
    }

    /// Stops everything; what the store holds of each meter: import in mWh by end in seconds.
    pub(crate) fn stop(self) -> BTreeMap<MeterId, BTreeMap<i64, i64>> {
        self.runtime.block_on(async {
            self.gateway.stop().await;
            self.edge.stop().await;
            self.utility.stop().await;
        });
        self.field_disk.close();
        drop(self.utility_disk.close());
        let (mut disk, found) = LedgerDisk::open(&self.directory).unwrap();
        let config = LedgerConfig::default();
        let (ledger, _) = Ledger::recover(config, found.checkpoint, found.segments).unwrap();
        let (first, last) = (self.start.utc.day(), self.clock.now().utc.day());
        let stored_of = |meter: MeterId, backend: &mut dyn Backend| {
            let sealed = backend.readings(meter, PERIOD, first..=last).unwrap();
            let open = ledger.open_readings(meter, PERIOD, first..=last);
            let mut stored = BTreeMap::new();
            for reading in sealed.into_iter().chain(open) {
                let import = reading.values.import.get();
                let twice = stored.insert(reading.end.as_secs(), import);
                assert_eq!(twice, None, "{meter} has an interval twice");
            }
            stored
        };
        let meters = self.town.meters();
        let stored = meters
            .into_iter()
            .map(|meter| (meter, stored_of(meter, disk.backend_mut())));
        stored.collect()
    }
}
