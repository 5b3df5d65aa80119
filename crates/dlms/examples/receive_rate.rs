//! How many received APDUs one core decrypts, verifies, checks for freshness and parses per second,
//! as JSON: the frames with their keys, for peers to read the same ones, and our rates.
//!
//! `tests/interop/receive_rate.py` runs it beside foreign peers.

#[path = "../benches/frames/mod.rs"]
mod frames;

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use frames::{accept, context, one_entry, sealed};
use gridloom_dlms::apdu::{DataNotification, GetResponseNormal, InvokeId};
use gridloom_dlms::axdr::{Data, Decoder};

const ROWS: u8 = 96;

/// Each rate is the median of this many runs.
const RUNS: usize = 5;
const RUN: Duration = Duration::from_millis(400);

/// A day of quarter hours: time, status and two registers a row.
fn profile() -> Vec<u8> {
    let row = |slot: u8| {
        Data::Structure(vec![
            Data::OctetString(date_time(slot).to_vec()),
            Data::Unsigned(0),
            Data::DoubleLongUnsigned(1_000_000 + 25 * u32::from(slot)),
            Data::DoubleLongUnsigned(2_000 + u32::from(slot)),
        ])
    };
    let mut plain = Vec::new();
    GetResponseNormal {
        invoke_id: InvokeId::confirmed(1),
        result: Ok(Data::Array((0..ROWS).map(row).collect())),
    }
    .encode(&mut plain);
    plain
}

/// The end of a quarter of an hour, deviation and status as meters write them.
fn date_time(slot: u8) -> [u8; 12] {
    [7, 0xEA, 3, 1, 7, slot / 4, slot % 4 * 15, 0, 0, 0x80, 0, 0]
}

/// Any APDU as an owned tree.
fn tree(plain: &[u8]) -> Data {
    if plain[0] == DataNotification::TAG {
        let notification = DataNotification::decode(plain).expect("a notification");
        return notification.data().expect("a value");
    }
    let response = GetResponseNormal::decode(plain).expect("a response");
    response.result.expect("a value")
}

/// A profile into its columns, without a tree.
fn columns(plain: &[u8]) -> u64 {
    // Tag, choice, invoke-id, result.
    let mut body = Decoder::new(&plain[4..]);
    let mut sum = 0;
    for _ in 0..body.array().expect("rows") {
        body.structure(4).expect("four columns");
        let time = body.octet_array::<12>().expect("a date-time");
        sum += u64::from(time[5]) + u64::from(body.unsigned().expect("a status"));
        sum += u64::from(body.double_long_unsigned().expect("a register"));
        sum += u64::from(body.double_long_unsigned().expect("a register"));
    }
    sum
}

#[expect(
    clippy::disallowed_methods,
    reason = "a rate is measured against the wall clock"
)]
fn rate(mut work: impl FnMut()) -> f64 {
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            let mut done = 0_u32;
            while begun.elapsed() < RUN {
                for _ in 0..100 {
                    work();
                }
                done += 100;
            }
            f64::from(done) / begun.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[RUNS / 2]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (context, mut plain) = (context(), Vec::new());
    let (push, profile) = (sealed(&one_entry(&date_time(0))), sealed(&profile()));
    let push_tree = rate(|| {
        black_box(tree(accept(&context, black_box(&push), &mut plain)));
    });
    let profile_tree = rate(|| {
        black_box(tree(accept(&context, black_box(&profile), &mut plain)));
    });
    let profile_columns = rate(|| {
        black_box(columns(accept(&context, black_box(&profile), &mut plain)));
    });
    writeln!(
        std::io::stdout(),
        r#"{{"push": "{}", "profile": "{}", "rates": {{"gridloom, as a tree": [{push_tree:.0}, {profile_tree:.0}], "gridloom, into columns": [null, {profile_columns:.0}]}}}}"#,
        hex(&push),
        hex(&profile),
    )?;
    Ok(())
}
