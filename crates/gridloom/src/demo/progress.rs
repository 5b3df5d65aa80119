//! The line that shows a demo at work.

use std::time::Duration;

use gridloom_core::{Day, UtcTime};
use gridloom_web::Snapshot;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress line; where standard error is no terminal, nothing.
pub(super) struct Progress {
    bar: ProgressBar,
    began: Day,
}

impl Progress {
    pub(super) fn new(quiet: bool, began: Day, end: Option<Day>) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(4)
        };
        let bar = match end {
            Some(end) => {
                let seconds = end.start().since(began.start()).as_secs();
                ProgressBar::with_draw_target(Some(seconds), target)
                    .with_style(style("{prefix} {bar:24.blue} {msg}"))
            }
            None => ProgressBar::with_draw_target(None, target)
                .with_style(style("{prefix} {spinner:.blue} {msg}")),
        };
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, began }
    }

    pub(super) fn show(&self, now: UtcTime, snapshot: &Snapshot) {
        let second = now.second_of_day();
        self.bar.set_prefix(format!(
            "{} {:02}:{:02}",
            now.day(),
            second / 3600,
            second / 60 % 60
        ));
        self.bar
            .set_position(now.since(self.began.start()).as_secs());
        let total = snapshot.total_w.map_or_else(
            || "—".into(),
            |watts| format!("{}.{:02} kW", watts / 1_000, watts % 1_000 / 10),
        );
        let price = snapshot
            .price_per_kwh
            .map_or_else(|| "—".into(), |price| price.to_string());
        self.bar.set_message(format!(
            "{total}  {price} {}/kWh  {}/{} stations  {} readings",
            snapshot.currency,
            snapshot.stations_on(),
            snapshot.stations.len(),
            snapshot.counters.readings_stored,
        ));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are valid")
}
