//! Captures of foreign protocols, some malformed on purpose, from the data folder: whatever of them
//! reaches our parsers is refused with an error, and nothing panics. Skipped, and said so, where
//! the folder is absent.
//!
//! None of them is DLMS; frames of sold meters are decoded by `gridloom-dlms`'s `real_frames`.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::path::{Path, PathBuf};

use gridloom_core::{Instant, Now, Period, UtcTime};
use gridloom_dlms::apdu::Apdu;
use gridloom_dlms::hdlc::Deframer as HdlcDeframer;
use gridloom_dlms::security::{CipheredApdu, Keys};
use gridloom_dlms::wrapper::{self, Deframer};
use gridloom_edge::{
    Edge, EdgeConfig, EdgeMemory, HashKey, LinkQuality, Registration, Registry, ScreeningConfig,
    Site,
};
use gridloom_nodes::envelope::{Message, Uplink};
use gridloom_nodes::{EdgeNode, Input, LinkId, Node, Port};

/// Bytes before the payload of TCP in Ethernet and IPv4 without options, and of UDP.
const PAYLOADS_AT: [usize; 3] = [0, 42, 54];

/// The packets of a classic capture file in little-endian order.
fn packets(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes[..4], [0xD4, 0xC3, 0xB2, 0xA1], "{}", path.display());
    let mut rest = &bytes[24..];
    let mut packets = Vec::new();
    while let Some((head, body)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(head[8..12].try_into().unwrap());
        let Some((packet, after)) = body.split_at_checked(length as usize) else {
            break;
        };
        packets.push(packet.to_vec());
        rest = after;
    }
    packets
}

fn captures() -> Option<Vec<PathBuf>> {
    let data = std::env::var_os("GRIDLOOM_DATA")
        .map_or_else(|| PathBuf::from("../../../shared/data"), PathBuf::from);
    let Ok(folders) = std::fs::read_dir(data.join("pcaps")) else {
        eprintln!(
            "skipped: {} has no pcaps; set GRIDLOOM_DATA",
            data.display()
        );
        return None;
    };
    let folders = folders.map(|folder| folder.unwrap().path());
    let files = folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    Some(paths)
}

fn edge() -> EdgeNode {
    let registry = Registry::new([Registration {
        meter: gridloom_core::MeterId(1),
        title: gridloom_core::SystemTitle(*b"GLMmetr1"),
        keys: Keys::new([1; 16], [2; 16]),
        period: Period::HALF_HOUR,
        site: Site::default(),
    }]);
    let config = EdgeConfig {
        title: gridloom_core::SystemTitle(*b"GLEedge1"),
        price_scale: -4,
        screening: ScreeningConfig::default(),
        hash_key: HashKey::default(),
    };
    let memory = EdgeMemory::read(|_| None).unwrap();
    EdgeNode::new("edge".into(), Edge::new(config, registry.unwrap(), &memory))
}

#[test]
fn captures_of_other_protocols_are_refused_by_every_parser() {
    let Some(paths) = captures() else { return };
    let mut edge = edge();
    let now = Now {
        instant: Instant::ZERO,
        utc: UtcTime::from_secs(1_777_593_600),
    };
    let up = Input::LinkUp {
        link: LinkId(1),
        port: Port::Down,
    };
    edge.handle(up, now);
    let (mut offered, mut uplinks) = (0_u64, 0_u64);
    for path in &paths {
        let mut hdlc = HdlcDeframer::new();
        for packet in packets(path) {
            for at in PAYLOADS_AT {
                let Some(bytes) = packet.get(at..).filter(|bytes| !bytes.is_empty()) else {
                    continue;
                };
                offered += 1;
                let mut wrapped = Deframer::new(wrapper::APDU_MAX);
                let mut whole = wrapped.push(bytes).is_ok();
                while whole {
                    whole = matches!(wrapped.pull(), Ok(Some(_)));
                }
                hdlc.push(bytes);
                while hdlc.pull().is_some() {}
                let _ = Apdu::decode(bytes);
                let _ = CipheredApdu::decode(bytes);
                assert!(
                    Message::decode(bytes).is_err(),
                    "{} at {at}",
                    path.display()
                );
                // As a frame on a meter's line, through a gateway.
                uplinks += 1;
                let frame = Message::Uplink(Uplink {
                    path: 7,
                    received: now.utc,
                    link: LinkQuality::default(),
                    frame: bytes.to_vec(),
                })
                .encode();
                let input = Input::Frame {
                    link: LinkId(1),
                    frame,
                };
                edge.handle(input, now);
                while edge.poll_output().is_some() {}
            }
        }
    }
    assert!(
        paths.len() >= 27 && offered > 10_000,
        "{} files, {offered} pieces",
        paths.len()
    );
    let verdicts = edge.status().verdicts;
    assert_eq!((verdicts.forwarded, verdicts.quarantined), (0, 0));
    assert_eq!(verdicts.dropped + edge.tunnel().strayed, uplinks);
}
