//! Frames of sold meters, from the data folder; skipped, and said so, where it is absent.

use std::path::PathBuf;

use gridloom_dlms::apdu::{Apdu, ApduError, DataNotification};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::counter::ReceiveCounter;
use gridloom_dlms::hdlc::{Control, Deframer as HdlcDeframer, Frame as HdlcFrame, Parameters};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy};
use gridloom_dlms::selection::RangeDescriptor;
use gridloom_dlms::wrapper::Deframer;

struct Row {
    symbol: String,
    bytes: Vec<u8>,
}

/// The rows of `meter_frames/FOLDER/hex_frames.csv`: source file, symbol, hexadecimal.
fn rows(folder: &str) -> Option<Vec<Row>> {
    let data = std::env::var_os("GRIDLOOM_DATA")
        .map_or_else(|| PathBuf::from("../../../shared/data"), PathBuf::from);
    let path = data
        .join("meter_frames")
        .join(folder)
        .join("hex_frames.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!(
            "skipped: {} is not there; set GRIDLOOM_DATA",
            path.display()
        );
        return None;
    };
    let rows = text
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split(',').skip(1);
            let symbol = fields.next().expect("a second column").to_owned();
            let hex = fields.next().expect("a third column");
            let bytes = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
                .collect();
            Row { symbol, bytes }
        })
        .collect();
    Some(rows)
}

/// The link-layer bytes in front of a notification, up to its tag.
const LLC_AND_TAG: [u8; 4] = [0xE6, 0xE7, 0x00, DataNotification::TAG];

#[test]
fn plain_notifications_of_nordic_meters() {
    let Some(rows) = rows("amshan") else { return };
    let mut bodies = 0;
    let mut heads = 0;
    let mut timed = 0;
    for Row { symbol, bytes } in &rows {
        if symbol.contains("NOTIFICATION_BODY") {
            let value = Data::decode(bytes).unwrap_or_else(|error| panic!("{symbol}: {error}"));
            assert_eq!(value.encode(), *bytes, "{symbol}");
            bodies += 1;
        }
        if bytes.starts_with(&LLC_AND_TAG) {
            let notification = DataNotification::decode(&bytes[3..])
                .unwrap_or_else(|error| panic!("{symbol}: {error}"));
            assert!(notification.body.is_empty(), "{symbol} is a head alone");
            if let Some(time) = notification.time {
                time.to_utc()
                    .unwrap_or_else(|error| panic!("{symbol}: {error}"));
                timed += 1;
            }
            heads += 1;
        }
    }
    assert_eq!((bodies, heads, timed), (13, 9, 8));
}

#[test]
fn plain_notifications_inside_hdlc_frames() {
    let mut found = 0;
    for folder in ["amshan", "dlms-cosem"] {
        let Some(rows) = rows(folder) else { return };
        for Row { symbol, bytes } in &rows {
            // The opening flag is absent in some constants; the closing one then is too.
            let tail = match bytes.first() {
                Some(0x7E) => 3,
                Some(0xA0..=0xA7) => 2,
                _ => continue,
            };
            let Some(llc) = bytes.windows(4).position(|four| four == LLC_AND_TAG) else {
                continue;
            };
            let apdu = &bytes[llc + 3..bytes.len() - tail];
            let notification =
                DataNotification::decode(apdu).unwrap_or_else(|error| panic!("{symbol}: {error}"));
            let value = notification
                .data()
                .unwrap_or_else(|error| panic!("{symbol}: {error}"));
            assert!(matches!(value, Data::Array(_) | Data::Structure(_)));
            found += 1;
        }
    }
    assert_eq!(found, 3);
}

#[test]
fn ciphered_notifications_in_wrapper_frames() {
    let Some(rows) = rows("dlms-cosem") else {
        return;
    };
    let mut stream = Vec::new();
    for Row { symbol, bytes } in &rows {
        if symbol == "data_examples_encrypted_data_nofication" {
            stream.extend_from_slice(bytes);
        }
    }
    // The dummy key that the maker left in.
    let key = *b"MYDUMMYGLOBALKEY";
    let context = CipherContext::new(&Keys::new(key, key));
    let mut counter = ReceiveCounter::new();
    let mut deframer = Deframer::default();
    let mut plain = Vec::new();
    let mut pushes = 0;
    deframer.push(&stream).unwrap();
    while let Some(frame) = deframer.pull().unwrap() {
        let apdu = CipheredApdu::decode(frame.apdu).unwrap();
        assert_eq!(apdu.title.to_string(), "2F19229199164103");
        let fresh = counter.check(apdu.counter).unwrap();
        let plain = context.open(&apdu, Policy::default(), &mut plain).unwrap();
        counter.commit(fresh);
        let notification = DataNotification::decode(plain).unwrap();
        assert!(matches!(notification.data(), Ok(Data::OctetString(_))));
        pushes += 1;
    }
    assert_eq!((pushes, counter.last()), (13, Some(0x1F2)));
}

#[test]
fn plain_services() {
    let Some(rows) = rows("dlms-cosem") else {
        return;
    };
    let mut decoded = 0;
    let mut other_choices = 0;
    let mut ranges = 0;
    for Row { symbol, bytes } in &rows {
        // Some are normal requests with another choice written into them.
        let is_apdu = symbol.starts_with("test_")
            && !["wrong", "implemented"]
                .iter()
                .any(|flaw| symbol.contains(flaw));
        if !is_apdu || !matches!(bytes.first(), Some(0xC0..=0xC7)) {
            continue;
        }
        match Apdu::decode(bytes) {
            Ok(apdu) => {
                let mut out = Vec::new();
                apdu.encode(&mut out);
                assert_eq!(out, *bytes, "{symbol}");
                decoded += 1;
                if let Apdu::GetRequestNormal(request) = &apdu
                    && let Some(access) = &request.access
                {
                    let range = RangeDescriptor::from_access(access).expect("a range");
                    assert_eq!(range.to_access(), *access, "{symbol}");
                    let (from, to) = range.times(-60).expect("points in time");
                    assert!(from < to, "{symbol}");
                    ranges += 1;
                }
            }
            Err(ApduError::UnsupportedChoice { .. }) => other_choices += 1,
            Err(error) => panic!("{symbol}: {error}"),
        }
    }
    assert_eq!((decoded, other_choices, ranges), (24, 1, 3));
}

#[test]
fn hdlc_frames_of_sold_meters() {
    let mut frames = Vec::new();
    let mut broken = Vec::new();
    for folder in ["amshan", "dlms-cosem"] {
        let Some(rows) = rows(folder) else { return };
        for Row { symbol, bytes } in rows {
            let inner = match bytes.first() {
                Some(0x7E) => &bytes[1..bytes.len() - 1],
                Some(0xA0..=0xA7) => &bytes[..],
                _ => continue,
            };
            match HdlcFrame::decode(inner) {
                Ok(frame) => {
                    let mut out = Vec::new();
                    frame.encode(&mut out);
                    assert_eq!(out[1..out.len() - 1], *inner, "{symbol}");
                    if bytes[0] == 0x7E {
                        let mut deframer = HdlcDeframer::new();
                        deframer.push(&bytes);
                        assert_eq!(deframer.pull(), Some(frame), "{symbol}");
                    }
                    if let Control::UnnumberedAcknowledge { .. } = frame.control {
                        Parameters::decode(frame.info)
                            .unwrap_or_else(|error| panic!("{symbol}: {error}"));
                    }
                    frames.push(symbol);
                }
                Err(_) => broken.push(symbol),
            }
        }
    }
    // Damaged on purpose by their test suites, and one with byte stuffing, which the standard's
    // frames of type 3 have not.
    assert_eq!(
        broken,
        [
            "STUFFED_FRAME_SHORT_INFO",
            "test_too_short_frame_is_discarded",
            "test_frame_is_enclosed_by_hdlc_flag"
        ]
    );
    assert_eq!(frames.len(), 10);
}

/// What a row is to our parsers, the outermost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A whole HDLC frame.
    Hdlc,
    /// A whole wrapper frame.
    Wrapper,
    /// An APDU that is not read without the keys of its meter.
    NeedsKeys,
    /// An APDU in the clear, with or without link-layer bytes before it.
    Plain,
    /// A value, which is a part of an APDU.
    Value,
    /// A key, a title, a fragment, or a frame that was damaged on purpose.
    Other,
}

fn kind_of(bytes: &[u8]) -> Kind {
    let inner = match bytes {
        [0x7E, inner @ .., 0x7E] => inner,
        _ => bytes,
    };
    if HdlcFrame::decode(inner).is_ok() {
        return Kind::Hdlc;
    }
    let mut deframer = Deframer::default();
    if deframer.push(bytes).is_ok() && matches!(deframer.pull(), Ok(Some(_))) {
        return Kind::Wrapper;
    }
    let apdu = bytes.strip_prefix(&LLC_AND_TAG[..3]).unwrap_or(bytes);
    if CipheredApdu::decode(apdu).is_ok() {
        return Kind::NeedsKeys;
    }
    if Apdu::decode(apdu).is_ok() {
        return Kind::Plain;
    }
    if Data::decode(bytes).is_ok() {
        return Kind::Value;
    }
    Kind::Other
}

/// Every row, so that nobody can say "frames are decoded" and mean a few.
#[test]
fn every_row_is_decoded_or_named() {
    let mut found = Vec::new();
    for folder in ["amshan", "dlms-cosem"] {
        let Some(rows) = rows(folder) else { return };
        let kinds: Vec<_> = rows.iter().map(|row| kind_of(&row.bytes)).collect();
        let all = [
            Kind::Hdlc,
            Kind::Wrapper,
            Kind::NeedsKeys,
            Kind::Plain,
            Kind::Value,
            Kind::Other,
        ];
        let counts = all.map(|kind| kinds.iter().filter(|it| **it == kind).count());
        for (kind, count) in all.iter().zip(counts) {
            eprintln!("{folder}: {count} of {} {kind:?}", rows.len());
        }
        found.push(counts);
    }
    assert_eq!(found[0], [4, 0, 0, 9, 13, 19]);
    assert_eq!(found[1].iter().sum::<usize>(), 134);
}
