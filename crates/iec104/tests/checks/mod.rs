//! What must hold for any octets of a peer; the tests and the fuzz targets run the same.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{Instant, Now, UtcTime};
use gridloom_iec104::{
    Answer, Asdu, Command, CommandKind, CommandTime, CommonAddress, ConnectionId, Control,
    ControlMode, CounterReading, Cp56Time2a, Delivery, Event, Frame, Groups, LinkId, Master,
    MasterConfig, MasterOutput, ObjectAddress, Order, Origin, Outstation, OutstationConfig,
    OutstationOutput, Point, Quality, RequestId, Sequence, Task, Unnumbered, Value,
};

/// An ASDU that can be read is written with as many octets, and read again is the same.
pub(crate) fn asdu(octets: &[u8]) {
    if let Ok(asdu) = Asdu::decode(octets) {
        let once = asdu.encode();
        assert_eq!(once.len(), octets.len());
        let again = Asdu::decode(&once).expect("what we write, we read");
        assert_eq!(again.encode(), once);
    }
}

/// What a peer sends, from chance: the first octet says how. Even: a stream as it is. Odd: ASDUs
/// with their lengths, in I-frames with the right numbers, so that they get past the link.
fn frames_of(bytes: &[u8], first: Unnumbered) -> Vec<Vec<u8>> {
    let Some((&kind, mut rest)) = bytes.split_first() else {
        return Vec::new();
    };
    let mut frames = vec![Frame::Unnumbered(first).encode()];
    if kind % 2 == 0 {
        let cut = 1 + usize::from(kind / 2);
        frames.extend(rest.chunks(cut).map(<[u8]>::to_vec));
        return frames;
    }
    let mut send = Sequence::ZERO;
    while let Some((&length, after)) = rest.split_first() {
        let (asdu, after) = after.split_at(usize::from(length).min(after.len()).min(249));
        rest = after;
        if asdu.is_empty() {
            continue;
        }
        let frame = Frame::Information {
            send,
            receive: Sequence::ZERO,
            asdu: asdu.to_vec(),
        };
        frames.push(frame.encode());
        send = send.next();
    }
    frames
}

fn start() -> Now {
    Now {
        instant: Instant::ZERO,
        utc: UtcTime::from_secs(1_795_000_000),
    }
}

fn later(now: Now, at: Instant) -> Now {
    let by = at.since(now.instant);
    Now {
        instant: now.instant + by,
        utc: now.utc + by,
    }
}

pub(crate) fn a_station() -> Outstation {
    let mut config = OutstationConfig::new(CommonAddress::new(1).unwrap());
    config.events_max = 40;
    config.cyclic = Some(Duration::from_secs(7));
    let mut station = Outstation::new(config).unwrap();
    let values = [
        Value::Single(true),
        Value::Float(f32::NAN),
        Value::Scaled(1),
        Value::Counter(CounterReading::default()),
    ];
    for (address, initial) in (1..).zip(values) {
        let point = Point {
            initial,
            delivery: Delivery {
                spontaneous: true,
                cyclic: true,
                background: false,
            },
            groups: Groups::NONE.with(1).unwrap(),
        };
        station
            .add_point(ObjectAddress::new(address).unwrap(), point)
            .unwrap();
    }
    for (address, kind, mode) in [
        (10, CommandKind::Single, ControlMode::SelectBeforeOperate),
        (11, CommandKind::Double, ControlMode::Either),
        (12, CommandKind::Float, ControlMode::Direct),
    ] {
        let address = ObjectAddress::new(address).unwrap();
        station
            .add_control(address, Control { kind, mode })
            .unwrap();
    }
    station
}

/// A station survives any peer, sends nothing that is no frame, and keeps its bounds.
pub(crate) fn station(bytes: &[u8]) {
    let mut station = a_station();
    let mut now = start();
    let id = ConnectionId(1);
    let mut sent = 0_usize;
    station.handle_opened(id, now);
    let mut drain = |station: &mut Outstation, now: Now| {
        while let Some(output) = station.poll_output() {
            match output {
                OutstationOutput::Transmit(_, bytes) => {
                    assert_eq!(usize::from(bytes[1]) + 2, bytes.len());
                    sent += 1;
                }
                OutstationOutput::Request(token, _) => {
                    while station.poll_output().is_some() {}
                    if station.answer(token, Answer::Confirm, now).is_ok() {
                        while station.poll_output().is_some() {}
                        station.terminate(token, now);
                    }
                }
                OutstationOutput::Close(..)
                | OutstationOutput::Clock(_)
                | OutstationOutput::Notice(_) => {}
            }
        }
    };
    let mut count = 0_i16;
    for piece in frames_of(bytes, Unnumbered::StartAct) {
        station.handle_bytes(id, &piece, now);
        drain(&mut station, now);
        count = count.wrapping_add(1);
        let point = ObjectAddress::new(3).unwrap();
        let (value, time) = (Value::Scaled(count), Cp56Time2a::from_utc(now.utc));
        station
            .update(point, value, Quality::GOOD, time, Origin::Process, now)
            .unwrap();
        drain(&mut station, now);
        if count % 3 == 0
            && let Some((at, _)) = station.wake().instant
        {
            now = later(now, at.max(now.instant));
            station.handle_timeout(now);
            drain(&mut station, now);
        }
        assert!(station.events_waiting() <= 40);
    }
    station.handle_closed(id);
    // Each frame is answered by few: a peer cannot make the station talk for ever.
    assert!(
        sent <= 200 * (1 + bytes.len()),
        "{sent} frames for {} octets",
        bytes.len()
    );
}

/// A controlling station survives any peer, and gives each request one outcome.
pub(crate) fn master(bytes: &[u8]) {
    let mut master = Master::new(MasterConfig::new(CommonAddress::new(1).unwrap())).unwrap();
    let mut now = start();
    let link = LinkId(0);
    let mut finished = BTreeMap::<RequestId, usize>::new();
    let mut asked = BTreeSet::new();
    let mut drain = |master: &mut Master| {
        while let Some(output) = master.poll_output() {
            match output {
                MasterOutput::Transmit(_, bytes) if bytes.len() > 6 => {
                    Asdu::decode(&bytes[6..]).expect("what we send can be read");
                }
                MasterOutput::Event(Event::Finished(id, _)) => {
                    *finished.entry(id).or_default() += 1;
                }
                MasterOutput::Event(_)
                | MasterOutput::Transmit(..)
                | MasterOutput::Connect(_)
                | MasterOutput::Close(..) => {}
            }
        }
    };
    master.handle_timeout(now);
    drain(&mut master);
    master.handle_opened(link, now);
    drain(&mut master);
    for (index, piece) in frames_of(bytes, Unnumbered::StartCon).iter().enumerate() {
        master.handle_bytes(link, piece, now);
        drain(&mut master);
        let order = Order {
            address: ObjectAddress::new(10).unwrap(),
            command: Command::Single(true),
            qualifier: 0,
            time: CommandTime::Untagged,
        };
        let task = match index % 3 {
            0 => Task::Select(order),
            1 => Task::Execute(order),
            _ => Task::Read(order.address),
        };
        asked.extend(master.request(task, now));
        drain(&mut master);
        if index % 4 == 3
            && let Some((at, _)) = master.wake().instant
        {
            now = later(now, at.max(now.instant));
            master.handle_timeout(now);
            drain(&mut master);
        }
    }
    master.handle_closed(link, now);
    drain(&mut master);
    for id in asked {
        assert_eq!(finished.get(&id), Some(&1), "one outcome for {id:?}");
    }
}
