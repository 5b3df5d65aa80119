//! The snapshot in the Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write};

use crate::desk::HeadEndView;
use crate::model::{HouseState, Snapshot};
use crate::network::{BufferView, DelayView};
use crate::topology::NodeState;

/// The media type of [`render`]'s text.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is known of the head-end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeadEnd {
    /// This console has none.
    Absent,
    /// It did not say how it is.
    Down,
    /// It did.
    Up(HeadEndView),
}

/// Writes every metric. A value that is not known has no sample: absence is not zero.
pub(crate) fn render(snapshot: &Snapshot, live_clients: usize, headend: &HeadEnd) -> String {
    let mut page = Page(String::new());
    let counters = &snapshot.counters;

    page.counter(
        "gridloom_readings_stored_total",
        "Readings that are durable.",
    );
    page.sample(
        "gridloom_readings_stored_total",
        &[],
        counters.readings_stored,
    );
    page.counter(
        "gridloom_readings_repeated_total",
        "Readings that arrived again.",
    );
    for (kind, count) in [
        ("duplicate", counters.duplicates),
        ("conflict", counters.conflicts),
    ] {
        page.sample("gridloom_readings_repeated_total", &[("kind", kind)], count);
    }
    page.counter(
        "gridloom_packets_refused_total",
        "Packets that the edges refused.",
    );
    for (reason, count) in [
        ("replayed", counters.replayed),
        ("bad_tag", counters.bad_tag),
        ("unknown", counters.unknown),
        ("malformed", counters.malformed),
    ] {
        page.sample(
            "gridloom_packets_refused_total",
            &[("reason", reason)],
            count,
        );
    }
    page.gauge("gridloom_intervals_missing", "Intervals that are missing.");
    page.sample("gridloom_intervals_missing", &[], counters.gaps);

    page.gauge(
        "gridloom_houses",
        "Houses by the freshness of their readings.",
    );
    for state in HouseState::ALL {
        let labels = [("state", state.word())];
        page.sample("gridloom_houses", &labels, snapshot.houses_in(state));
    }
    if let Some(total) = snapshot.total_w {
        page.gauge("gridloom_power_watts", "Power of all houses together.");
        page.sample("gridloom_power_watts", &[], total);
    }
    if let Some(price) = snapshot.price_per_kwh {
        page.gauge(
            "gridloom_price_per_kwh",
            "Price of the last decided interval.",
        );
        let labels = [("currency", snapshot.currency.as_str())];
        page.sample("gridloom_price_per_kwh", &labels, price);
    }

    page.gauge(
        "gridloom_station_output_watts",
        "What a generating station delivers.",
    );
    for station in &snapshot.stations {
        let labels = [("station", station.name.as_str())];
        page.sample("gridloom_station_output_watts", &labels, station.output_w);
    }
    page.gauge("gridloom_stations_on", "Generating stations that run.");
    page.sample("gridloom_stations_on", &[], snapshot.stations_on());

    page.gauge(
        "gridloom_node_up",
        "Whether a node works: 1 up or degraded, 0 down.",
    );
    for node in &snapshot.layers {
        let labels = [("layer", node.layer.as_str()), ("node", node.node.as_str())];
        page.sample(
            "gridloom_node_up",
            &labels,
            u8::from(node.state != NodeState::Down),
        );
    }
    page.gauge("gridloom_utility_time_seconds", "The utility's clock.");
    page.sample("gridloom_utility_time_seconds", &[], snapshot.now.as_secs());
    page.gauge("gridloom_console_clients", "Live consoles.");
    page.sample("gridloom_console_clients", &[], live_clients);
    page.buffers(&snapshot.network.buffers);
    if let Some(delay) = &snapshot.network.delay {
        page.delay(delay);
    }
    match headend {
        HeadEnd::Absent => {}
        HeadEnd::Down => page.headend_up(0),
        HeadEnd::Up(view) => {
            page.headend_up(1);
            page.headend(view);
        }
    }
    page.0
}

struct Page(String);

/// Takes one figure out of a buffer; `None` has no sample.
type Figure = fn(&BufferView) -> Option<u64>;

impl Page {
    fn headend_up(&mut self, up: u8) {
        self.gauge("gridloom_headend_up", "Whether the head-end answers.");
        self.sample("gridloom_headend_up", &[], up);
    }

    fn headend(&mut self, view: &HeadEndView) {
        for (name, help, count) in [
            (
                "gridloom_headend_meters",
                "Meters in the registry.",
                view.meters,
            ),
            (
                "gridloom_headend_meters_failing",
                "Meters whose last talk failed.",
                view.alarms,
            ),
            (
                "gridloom_headend_sessions",
                "Sessions under way.",
                view.sessions,
            ),
            (
                "gridloom_headend_orders_open",
                "Orders that are selected or run.",
                view.orders_open,
            ),
        ] {
            self.gauge(name, help);
            self.sample(name, &[], count);
        }
        let lanes = view.queued_by_lane;
        self.gauge("gridloom_headend_jobs_waiting", "Jobs that wait, by lane.");
        for (lane, count) in [
            ("on_demand", lanes.on_demand),
            ("command", lanes.command),
            ("backfill", lanes.backfill),
            ("periodic", lanes.periodic),
        ] {
            self.sample("gridloom_headend_jobs_waiting", &[("lane", lane)], count);
        }
        let pushes = view.pushes;
        self.counter(
            "gridloom_headend_pushes_total",
            "Frames that meters pushed to the head-end itself, by what came of them.",
        );
        for (outcome, count) in [
            ("accepted", pushes.accepted),
            ("unreadable", pushes.unreadable),
            ("unknown_title", pushes.unknown_title),
            ("plaintext", pushes.plaintext),
            ("replayed", pushes.replayed),
            ("bad_tag", pushes.bad_tag),
            ("other", pushes.other),
        ] {
            let labels = [("outcome", outcome)];
            self.sample("gridloom_headend_pushes_total", &labels, count);
        }
        if let Some(rate) = &view.read_rate {
            self.gauge(
                "gridloom_headend_reads",
                "Meters by how the periodic read of the last full interval went.",
            );
            for (outcome, count) in [("succeeded", rate.succeeded), ("missed", rate.missed)] {
                self.sample("gridloom_headend_reads", &[("outcome", outcome)], count);
            }
        }
    }

    fn delay(&mut self, delay: &DelayView) {
        let name = "gridloom_delay_seconds";
        self.gauge(
            name,
            "How long readings are under way, by part and quantile.",
        );
        for part in &delay.parts {
            for (quantile, micros) in [
                ("0.5", part.p50_us),
                ("0.95", part.p95_us),
                ("0.99", part.p99_us),
                ("1", part.p50_us.map(|_| part.max_us)),
            ] {
                if let Some(micros) = micros {
                    let labels = [("part", part.part.as_str()), ("quantile", quantile)];
                    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
                    self.sample(name, &labels, format_args!("{whole}.{rest:06}"));
                }
            }
        }
        let name = "gridloom_delay_samples_total";
        self.counter(name, "Readings whose delay was measured, by part.");
        for part in &delay.parts {
            self.sample(name, &[("part", &part.part)], part.count);
        }
    }

    fn buffers(&mut self, buffers: &[BufferView]) {
        if buffers.is_empty() {
            return;
        }
        let figures: [(&str, &str, Figure); 5] = [
            (
                "gridloom_buffer_entries",
                "Records that wait for the tier above.",
                |buffer| Some(buffer.entries),
            ),
            (
                "gridloom_buffer_bytes",
                "Bytes that a buffer takes.",
                |buffer| Some(buffer.bytes),
            ),
            (
                "gridloom_buffer_bytes_max",
                "The bound of a buffer.",
                |buffer| Some(buffer.bytes_max),
            ),
            (
                "gridloom_buffer_oldest_age_seconds",
                "Age of the oldest entry.",
                |buffer| buffer.oldest_age_s,
            ),
            (
                "gridloom_buffer_gaps_untaken",
                "Named gaps that nobody above sees to yet.",
                |buffer| Some(buffer.gaps_untaken),
            ),
        ];
        for (name, help, figure) in figures {
            self.gauge(name, help);
            for buffer in buffers {
                if let Some(value) = figure(buffer) {
                    self.sample(name, &[("node", &buffer.node)], value);
                }
            }
        }
        let name = "gridloom_buffer_dropped_total";
        self.counter(name, "Entries that a buffer gave up, by cause.");
        for buffer in buffers {
            for (cause, count) in [
                ("full", buffer.dropped.full),
                ("damaged", buffer.dropped.damaged),
                ("unanswered", buffer.dropped.unanswered),
            ] {
                self.sample(name, &[("node", &buffer.node), ("cause", cause)], count);
            }
        }
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.line(format_args!("{open}{label}=\"{}\"", escaped(text)));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes everything");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_known_is_written_and_the_unknown_is_absent() {
        let mut full = sample::full();
        full.layers[0].node = "a\"b\\c".to_owned();
        let [after, before] = sample::headends().map(HeadEnd::Up);
        let page = render(&full, 2, &after);
        for line in [
            "# TYPE gridloom_packets_refused_total counter",
            "gridloom_packets_refused_total{reason=\"bad_tag\"} 4",
            "gridloom_price_per_kwh{currency=\"EUR\"} 0.187500",
            "gridloom_houses{state=\"silent\"} 1",
            "gridloom_node_up{layer=\"edge\",node=\"a\\\"b\\\\c\"} 1",
            "gridloom_node_up{layer=\"edge\",node=\"archive\"} 0",
            "gridloom_console_clients 2",
            "gridloom_headend_up 1",
            "gridloom_headend_meters 12",
            "gridloom_headend_meters_failing 2",
            "gridloom_headend_sessions 3",
            "gridloom_headend_orders_open 1",
            "gridloom_headend_jobs_waiting{lane=\"backfill\"} 6",
            "gridloom_headend_pushes_total{outcome=\"bad_tag\"} 3",
            "gridloom_headend_reads{outcome=\"missed\"} 1",
            "gridloom_buffer_oldest_age_seconds{node=\"edge-1\"} 90",
            "gridloom_delay_seconds{part=\"T_e\",quantile=\"0.95\"} 1.050000",
            "gridloom_delay_samples_total{part=\"T_e\"} 40",
            "gridloom_buffer_dropped_total{node=\"edge-1\",cause=\"damaged\"} 2",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        let page = render(&sample::unknown(), 0, &HeadEnd::Down);
        for absent in [
            "gridloom_power_watts",
            "gridloom_price_per_kwh",
            "gridloom_buffer_entries",
        ] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("\ngridloom_headend_up 0\n"), "{page}");
        assert!(!page.contains("gridloom_headend_meters"), "{page}");
        let page = render(&full, 0, &before);
        assert!(!page.contains("gridloom_headend_reads"), "{page}");
        let page = render(&full, 0, &HeadEnd::Absent);
        assert!(!page.contains("gridloom_headend"), "{page}");
    }

    #[test]
    fn every_sample_follows_the_head_of_its_metric() {
        let [headend, _] = sample::headends();
        let page = render(&sample::full(), 1, &HeadEnd::Up(headend));
        let mut head = "";
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                head = rest.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(name, head, "{line}");
            }
        }
    }
}
