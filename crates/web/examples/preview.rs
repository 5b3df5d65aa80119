//! Feeds the console with an invented utility, to work on its looks without one:
//! `cargo run -p gridloom-web --example preview -- --console 127.0.0.1:8080 --houses 1000`.
//!
//! Nothing here is part of the product. Further arguments are ignored, so that the console's
//! browser test can start this instead of `gridloom demo`.

#![expect(
    clippy::cast_possible_truncation,
    reason = "invented numbers may lose fractions"
)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Millivolts, Money, Month, Price, UtcTime};
use gridloom_web::{
    Appliance, ClosedBill, Counters, DemandResponse, DisplayItem, House, HouseDetail, HouseRow,
    HouseState, LayerNode, Network, NodeState, RunFigures, Snapshot, Station, Tariff, TrendPoint,
    serve,
};
use tokio::sync::watch;

const INTERVAL_S: i64 = 900;
const TICK: Duration = Duration::from_millis(500);
const APPLIANCES: [(&str, i64); 8] = [
    ("Refrigerator", 90),
    ("Kettle", 2_000),
    ("Television", 110),
    ("Washing machine", 1_900),
    ("Router", 9),
    ("Lights", 140),
    ("Oven", 2_400),
    ("Dishwasher", 1_700),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let argument = |name: &str, default: &str| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments.nth(1).unwrap_or_else(|| default.to_owned())
    };
    let houses: usize = argument("--houses", "3")
        .parse()
        .expect("--houses is a number");
    let speed: u32 = argument("--speed", "60")
        .parse()
        .expect("--speed is a number");
    let listener = tokio::net::TcpListener::bind(argument("--console", "127.0.0.1:0")).await?;
    let address = listener.local_addr()?;
    writeln!(std::io::stdout(), "console  http://{address}/")?;

    let start = UtcTime::parse("2026-11-21T17:20:00Z").expect("a valid time");
    let (host, snapshots) = watch::channel(Arc::new(invent(start, speed, houses)));
    let publishing = async move {
        let mut now = start;
        loop {
            tokio::time::sleep(TICK).await;
            now = now + TICK * speed;
            host.send_replace(Arc::new(invent(now, speed, houses)));
        }
    };
    tokio::select! {
        result = serve(listener, snapshots, std::future::pending()) => result,
        () = publishing => Ok(()),
    }
}

/// A number in 0..1000 that looks random and depends on nothing but its arguments.
fn dice(a: i64, b: i64) -> i64 {
    let mut hash = a.wrapping_mul(0x9E37_79B9) ^ b.wrapping_mul(0x85EB_CA6B).wrapping_add(0x27D4);
    for _ in 0..3 {
        hash ^= hash >> 15;
        hash = hash.wrapping_mul(0x2C1B_3C6D);
    }
    (hash >> 8).rem_euclid(1_000)
}

/// Watts of a house in the interval that ends at `end`.
fn mean_w(house: i64, end: i64) -> i64 {
    let hour = (end.rem_euclid(86_400)) as f64 / 3_600.0;
    let evening = (-(hour - 19.0).powi(2) / 8.0).exp();
    let morning = (-(hour - 7.5).powi(2) / 3.0).exp();
    let shape = 220.0 + 900.0 * evening + 480.0 * morning;
    (shape as i64) * (400 + dice(house, end / INTERVAL_S)) / 700
}

fn price_at(total: i64, houses: i64) -> Price {
    let x0 = (700 * houses) as f64;
    let sigmoid = 1.0 / (1.0 + (-0.004 / houses as f64 * (total as f64 - x0)).exp());
    let quanta = (1_200.0 + 2_800.0 * sigmoid) as i64;
    Price::from_micro_per_kwh(quanta * 100).expect("inside the bound")
}

fn invent(now: UtcTime, speed: u32, houses: usize) -> Snapshot {
    let euro = Currency::new("EUR", 2).expect("a valid currency");
    let count = i64::try_from(houses).expect("a small number");
    let last_end = now.as_secs().div_euclid(INTERVAL_S) * INTERVAL_S;
    let ends = || (0..96).map(move |slot| last_end - (95 - slot) * INTERVAL_S);
    let total_at = |end: i64| {
        (0..count.min(40)).map(|it| mean_w(it, end)).sum::<i64>() * count / count.min(40)
    };
    let is_gap = |end: i64| (13 * 3_600..14 * 3_600).contains(&end.rem_euclid(86_400));

    let rows: Vec<House> = (0..count)
        .map(|number| invent_house(number, now, last_end, euro, &is_gap))
        .collect();
    let total: i64 = rows.iter().filter_map(|house| house.row.power_w).sum();
    let stations = [
        ("Ridge wind", "Wind", 2021, 40, 0),
        ("Lake solar", "Solar", 2019, 15, 5_000),
        ("Mill CHP", "Gas CHP", 2012, 45, 62_000),
        ("Old harbour", "Oil", 1988, 50, 145_000),
    ];
    let mut left = total;
    let stations = stations
        .into_iter()
        .map(|(name, technology, year, share, cost)| {
            let capacity_w = 3_500 * count * share / 100;
            let output_w = left.min(capacity_w);
            left -= output_w;
            Station {
                name: name.to_owned(),
                technology: technology.to_owned(),
                year,
                capacity_w,
                min_w: capacity_w / 5,
                cost_per_mwh: Price::from_micro_per_kwh(cost).expect("inside the bound"),
                output_w,
                on: output_w > 0,
            }
        })
        .collect();
    let bills = (8..=10)
        .rev()
        .flat_map(|month| (0..count).map(move |house| (month, house)))
        .take(3_000)
        .map(|(month, house)| {
            let amount = Money::from_minor(4_000 + dice(house, i64::from(month)) * 4, euro);
            let disagrees = month == 9 && house == 1;
            ClosedBill {
                month: Month::new(2026, month).expect("a month"),
                house: format!("h{}", house + 1),
                amount,
                meter_amount: Some(Money::from_minor(
                    amount.minor() - i64::from(disagrees),
                    euro,
                )),
                agreed: !disagrees,
                gaps: if disagrees { 4 } else { 0 },
            }
        })
        .collect();
    let figures = |peak_w, energy_wh, minor, load_factor_permille| RunFigures {
        peak_w,
        energy_wh,
        cost: Money::from_minor(minor, euro),
        load_factor_permille,
    };
    let stored = u64::try_from(now.as_secs() / INTERVAL_S % 10_000).unwrap_or(0);
    Snapshot {
        utility: "Preview Electric".to_owned(),
        currency: "EUR".to_owned(),
        minor_digits: 2,
        now,
        speed,
        interval_s: 900,
        total_w: Some(total),
        price_per_kwh: Some(price_at(total_at(last_end), count)),
        price_interval_end: Some(UtcTime::from_secs(last_end)),
        tariff: Tariff {
            p_min: Price::parse("0.12").expect("a price"),
            p_max: Price::parse("0.40").expect("a price"),
            x0_w: (700 * count) as f64,
            k_per_w: 0.004 / count as f64,
        },
        stations,
        houses: rows,
        trend: ends()
            .filter(|end| !is_gap(*end))
            .map(|end| TrendPoint {
                end: UtcTime::from_secs(end),
                total_w: Some(total_at(end)),
                price_per_kwh: Some(price_at(total_at(end), count)),
            })
            .collect(),
        counters: Counters {
            readings_stored: stored * u64::try_from(count).unwrap_or(0),
            duplicates: 12,
            conflicts: 0,
            replayed: 7,
            bad_tag: 2,
            unknown: 1,
            malformed: 0,
            gaps: 4,
        },
        layers: [
            ("field", "meters", NodeState::Up, "3 connected"),
            (
                "aggregation",
                "gateway-1",
                NodeState::Up,
                "3 meters, nothing waiting",
            ),
            ("edge", "edge-1", NodeState::Degraded, "1 meter silent"),
            ("utility", "utility", NodeState::Up, "journal durable"),
            ("cloud", "archive", NodeState::Up, "last object 2026-11-20"),
        ]
        .map(|(layer, node, state, detail)| LayerNode {
            layer: layer.to_owned(),
            node: node.to_owned(),
            state,
            detail: detail.to_owned(),
        })
        .to_vec(),
        bills,
        demand_response: Some(DemandResponse {
            baseline: figures(3_420 * count, 24_600 * count, 620 * count, 300),
            responding: figures(3_010 * count, 24_100 * count, 571 * count, 334),
        }),
        network: Network::default(),
    }
}

fn invent_house(
    number: i64,
    now: UtcTime,
    last_end: i64,
    euro: Currency,
    is_gap: &impl Fn(i64) -> bool,
) -> House {
    let appliances: Vec<Appliance> = (0..)
        .zip(APPLIANCES)
        .map(|(place, (name, watts))| Appliance {
            name: name.to_owned(),
            watts,
            on: dice(number * 8 + place, now.as_secs() / 300) < 350 || watts < 100,
        })
        .collect();
    let power: i64 = appliances
        .iter()
        .filter(|it| it.on)
        .map(|it| it.watts)
        .sum();
    let power = power + dice(number, now.as_secs()) / 50;
    let state = match number % 50 {
        1 => HouseState::Late,
        17 => HouseState::Silent,
        _ => HouseState::Online,
    };
    let age = match state {
        HouseState::Online => dice(number, 3),
        HouseState::Late => 2_000,
        HouseState::Silent => 190_000,
    };
    let millivolts = 228_000 + dice(number, now.as_secs() / 7) * 5;
    let energy_wh = 4_000_000 + number * 31_337 + (now.as_secs() - 1_790_000_000) / 3;
    let minor = 1_200 + dice(number, 5) * 2 + now.second_of_day() as i64 / 400;
    let bill = Money::from_minor(minor, euro);
    let meter_bill = Money::from_minor(minor - i64::from(number % 50 == 2), euro);
    let page = |code: &str, label: &str, value: String, unit: &str| DisplayItem {
        code: code.to_owned(),
        label: label.to_owned(),
        value,
        unit: unit.to_owned(),
    };
    let volts = format!("{:.1}", millivolts as f64 / 1_000.0);
    House {
        row: HouseRow {
            id: format!("h{}", number + 1),
            name: format!("{} Preview Street", number + 1),
            phases: if number % 7 == 2 { 3 } else { 1 },
            power_w: (state != HouseState::Silent).then_some(power),
            voltage_v: Some(Millivolts::new(millivolts)),
            state,
            last_heard: Some(now - Duration::from_secs(age.unsigned_abs())),
            energy_wh: Some(energy_wh),
            bill_so_far: Some(bill),
            meter_bill: Some(meter_bill),
            unpriced: u32::from(number % 50 == 1) * 2,
            day: (0..96)
                .map(|slot| last_end - (95 - slot) * INTERVAL_S)
                .map(|end| (!is_gap(end)).then(|| mean_w(number, end)))
                .collect(),
        },
        detail: HouseDetail {
            appliances,
            display: vec![
                page(
                    "1.8.0",
                    "Units consumed",
                    format!("{:010.3}", energy_wh as f64 / 1_000.0),
                    "kWh",
                ),
                page("32.7.0", "Voltage", volts, "V"),
                page(
                    "1.7.0",
                    "Power",
                    format!("{:06.3}", power as f64 / 1_000.0),
                    "kW",
                ),
                page("13.7.0", "Power factor", "0.97".to_owned(), ""),
                page("C.70.0", "Price", "0.2371".to_owned(), "EUR/kWh"),
                page("C.71.0", "Bill so far", meter_bill.decimal(), "EUR"),
                page("C.71.1", "Last bill", "47.16".to_owned(), "EUR"),
                page("0.9.1", "Time", now.to_string()[11..19].to_owned(), ""),
            ],
        },
    }
}
