//! Readings stored per second, end to end: pushes over a real socket through gateway, edge and
//! utility nodes to the journal on a real disk, until every one is durable.
//!
//! All nodes share one thread; the disk has its own. `cargo bench --package gridloom --bench ingest`
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::error::Error;
use std::time::Duration;

use gridloom_core::{
    Currency, Day, Instant, IntervalValues, MillivoltAmpereHours, Millivolts, MilliwattHours, Now,
    Period, ReadingStatus, Seed, Watts,
};
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, Protection};
use gridloom_dlms::wrapper::{Frame, WPort};
use gridloom_edge::{Edge, EdgeMemory};
use gridloom_grid::Response;
use gridloom_host::{
    CellDisk, Clock, DataDirectory, DialOptions, Disk, DiskParts, Framing, LedgerDisk, LinkLimits,
    ListenOptions, Listener, Net, NodeIndex, Runner, Speed,
};
use gridloom_nodes::{EdgeNode, GatewayNode, UtilityMemory, UtilityNode};
use gridloom_sim::town::{self, Homes, Town, TownPlan};
use gridloom_store::{Ledger, LedgerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METERS: u32 = 1_000;
const INTERVALS: u16 = 96;
const RUNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let town = town()?;
    let frames = frames(&town);
    let count = u64::from(METERS) * u64::from(INTERVALS);
    println!(
        "{METERS} meters, {INTERVALS} quarter hours: {count} pushes of {} bytes",
        frames.len() as u64 / count
    );
    for run in 1..=RUNS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let taken = runtime.block_on(ingest(&town, &frames, count))?;
        println!(
            "run {run}: {:.0} readings/s, {taken:.2?}",
            count as f64 / taken.as_secs_f64()
        );
    }
    Ok(())
}

fn town() -> Result<Town, Box<dyn Error>> {
    let seed = Seed::new(1);
    let plan = TownPlan {
        seed,
        period: Period::QUARTER_HOUR,
        start: Day::from_ymd(2026, 4, 1).ok_or("a date")?.start(),
        currency: Currency::new("EUR", 2).ok_or("a currency")?,
        homes: Homes::Households {
            count: METERS,
            response: Response::Off,
        },
    };
    Ok(Town::new(plan, town::seeded_keys(seed))?)
}

/// Every push of a day, interval by interval, in wrapper framing.
fn frames(town: &Town) -> Vec<u8> {
    let period = Period::QUARTER_HOUR;
    let mut bytes = Vec::new();
    let contexts: Vec<_> = town
        .houses()
        .iter()
        .map(|house| {
            (
                house.config().title,
                CipherContext::new(&house.config().keys),
            )
        })
        .collect();
    for slot in 0..INTERVALS {
        for (number, (title, context)) in (0_i64..).zip(&contexts) {
            let energy = 50 + number % 400;
            let push = IntervalPush {
                period,
                end: period.end_of_slot(town.plan().start.day(), slot),
                status: ReadingStatus::GOOD,
                values: IntervalValues {
                    import: MilliwattHours::new(energy * 1_000),
                    apparent: MillivoltAmpereHours::new(energy * 1_000),
                    voltage: Millivolts::new(230_000),
                    ..IntervalValues::default()
                },
                import_register: MilliwattHours::new(energy * 1_000 * (i64::from(slot) + 1)),
                power: Watts::new(energy * 4),
                billing: BillingStatus::default(),
            };
            let mut plain = Vec::new();
            push.encode_notification(&mut plain)
                .expect("the push is in range");
            let mut apdu = Vec::new();
            let protection = Protection::full(*title, u32::from(slot) + 1);
            context.protect(protection, &plain, &mut apdu);
            Frame {
                source: WPort(1),
                destination: WPort::PRE_ESTABLISHED_CLIENT,
                apdu: &apdu,
            }
            .encode(&mut bytes);
        }
    }
    bytes
}

fn listen(framing: Framing) -> ListenOptions {
    ListenOptions {
        limits: LinkLimits::trunk(),
        ..ListenOptions::new(framing)
    }
}

fn dial() -> DialOptions {
    DialOptions {
        limits: LinkLimits::trunk(),
        ..DialOptions::new(Framing::Envelope)
    }
}

async fn ingest(town: &Town, frames: &[u8], count: u64) -> Result<Duration, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let directory = DataDirectory::open("--data", folder.path())?;
    let noon = town.plan().start + Duration::from_secs(86_400);
    let clock = Clock::accelerated(noon, Speed::REAL);
    let now = Now {
        instant: Instant::ZERO,
        utc: noon,
    };
    let net = Net::new(clock.clone(), Seed::new(1));
    let (disk, start) = LedgerDisk::open(&directory)?;
    let mut disk = disk;
    let (ledger, _) = Ledger::recover(LedgerConfig::default(), start.checkpoint, start.segments)?;
    let began = town.plan().start.day();
    let memory = UtilityMemory::read(
        disk.backend_mut(),
        None,
        ledger,
        &town.served(),
        Period::QUARTER_HOUR,
        began,
    )?;
    let node = UtilityNode::new(town.utility("bench"), town.served(), memory, now);
    let utility_port = Listener::bind("utility", "127.0.0.1:0").await?;
    let edge_port = Listener::bind("edge", "127.0.0.1:0").await?;
    let gateway_port = Listener::bind("gateway", "127.0.0.1:0").await?;
    let (to_utility, to_edge) = (utility_port.address(), edge_port.address());
    let to_gateway = gateway_port.address();

    let utility_disk = Disk::start(
        "utility",
        DiskParts {
            cells: Some(CellDisk::open(&directory)?),
            ledger: Some(disk),
            ..DiskParts::default()
        },
    )?;
    let mut utility = Runner::new(net.clone());
    let index = utility.add("utility", node);
    utility.listen(index, utility_port, listen(Framing::Envelope));
    utility.disk(utility_disk.handle());

    let mut edge = Runner::new(net.clone());
    let machine = Edge::new(town.edge(), town.registry(), &EdgeMemory::default());
    let index = edge.add("edge-1", EdgeNode::new("edge-1".into(), machine));
    edge.listen(index, edge_port, listen(Framing::Envelope));
    edge.dial(index, to_utility.into(), dial());
    edge.disk(utility_disk.handle());

    let mut gateway = Runner::new(net);
    let index = gateway.add("gateway-1", GatewayNode::new("gateway-1".into()));
    gateway.listen(index, gateway_port, listen(Framing::DlmsWrapper));
    gateway.dial(index, to_edge.into(), dial());

    let (utility, edge, gateway) = (utility.start(), edge.start(), gateway.start());
    let first = NodeIndex(0);
    while !gateway
        .handle()
        .call(first, |node, _| node.is_connected())
        .await?
        || !edge
            .handle()
            .call(first, |node, _| node.is_connected())
            .await?
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let (mut from, mut to) = TcpStream::connect(to_gateway).await?.into_split();
    // Acknowledgements come back; a meter would read them.
    let reader = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while from.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    let watch = clock.now().instant;
    // In pieces, so that no queue on the way is asked to hold the whole day.
    let handle = utility.handle();
    let acknowledged = async |handle: &gridloom_host::Handle<UtilityNode>| {
        handle.call(first, |node, _| node.acknowledged()).await
    };
    let piece = frames.len() / usize::from(INTERVALS);
    let mut sent = 0;
    for chunk in frames.chunks(piece) {
        to.write_all(chunk).await?;
        sent += u64::from(METERS);
        while acknowledged(&handle).await? + 4 * u64::from(METERS) < sent {
            tokio::task::yield_now().await;
        }
    }
    while acknowledged(&handle).await? < count {
        tokio::task::yield_now().await;
    }
    let taken = clock.now().instant.since(watch);
    reader.abort();
    drop(to);
    gateway.stop().await;
    edge.stop().await;
    utility.stop().await;
    utility_disk.close();
    Ok(taken)
}
