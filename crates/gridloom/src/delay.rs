//! The delay of readings, as the API shows it.

use std::time::Duration;

use gridloom_nodes::delay::{DelayHistogram, DelayReport};
use gridloom_web::{DelayPart, DelayView};

/// The utility's report. Where the wall clocks run `speed` times as fast as time passes, T_m is
/// brought back to the time that passed; T_e2e too, of which it then is all but a trifle.
pub(crate) fn view(report: &DelayReport, speed: u32) -> DelayView {
    let part = |(name, histogram): (&str, &DelayHistogram)| {
        let by = match name {
            "T_m" | "T_e2e" => speed.max(1),
            _ => 1,
        };
        let micros = |time: Duration| u64::try_from((time / by).as_micros()).unwrap_or(u64::MAX);
        let permille = |share| histogram.permille(share).map(micros);
        DelayPart {
            part: name.to_owned(),
            count: histogram.count(),
            p50_us: permille(500),
            p95_us: permille(950),
            p99_us: permille(990),
            max_us: micros(histogram.longest()),
        }
    };
    DelayView {
        parts: report.parts().map(part).to_vec(),
        ahead: report.ahead,
    }
}
