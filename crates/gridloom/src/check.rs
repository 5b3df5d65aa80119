//! `gridloom check`: accounts for every reading in a data directory that nobody works in.
//!
//! It trusts neither the running totals nor the billing crate: it reads the meters' own memory,
//! the journal and the database, and does the sums again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use gridloom_core::{Day, Instant, IntervalReading, MeterId, Month, Now, SystemTitle, UtcTime};
use gridloom_field::profile::Delivery;
use gridloom_field::{Boot, Meter};
use gridloom_host::{CellDisk, DataDirectory, LedgerDisk};
use gridloom_mdm::REGISTER_AGREED;
use gridloom_store::{BillRow, Ledger, LedgerConfig, PricePoint};
use serde::Serialize;

use crate::books::{Books, Maker};
use crate::demo;
use crate::emulate::Fleet;
use crate::table;

/// Accounts for every reading in a data directory
#[derive(clap::Args)]
pub(crate) struct Check {
    /// Data directory
    #[arg(long, default_value = "data/demo")]
    data: PathBuf,
    /// What emulated meters of that utility remember: the directory of `gridloom emulate meter
    /// --data`, while nobody works there; may be given more than once
    #[arg(long, value_name = "DIR")]
    field: Vec<PathBuf>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

/// The account of one meter.
#[derive(Debug, Default, Serialize)]
struct Account {
    house: String,
    /// Intervals in the meter's profile.
    captured: u64,
    /// Of those, acknowledged to the meter.
    acknowledged: u64,
    /// Intervals in the meter's profile whose price the meter holds.
    priced: u64,
    /// Readings of it in the store.
    stored: u64,
    /// Acknowledged, but not in the store: must be 0.
    lost: u64,
    /// Intervals between the first and the last in the store that are not there.
    gaps: u64,
    /// In the store more than once, to be billed twice: must be 0.
    twice: u64,
    /// In the store with other values than the meter's: must be 0.
    altered: u64,
    /// Prices that the meter holds and that differ from the utility's: must be 0.
    mispriced: u64,
    /// Bills of it.
    bills: u64,
    /// Of those, equal to the meter's own.
    agreed: u64,
    /// Bills that differ from the sum done again here, or from the meter's own: must be 0.
    wrong_bills: u64,
}

impl Account {
    fn is_right(&self) -> bool {
        self.lost + self.twice + self.altered + self.mispriced + self.wrong_bills == 0
    }
}

impl Check {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let books = Books::open(&self.data)?;
        let directory = DataDirectory::open("--data", &self.data)?;
        let (disk, start) = LedgerDisk::open(&directory)?;
        drop(disk);
        let (ledger, _) =
            Ledger::recover(LedgerConfig::default(), start.checkpoint, start.segments)?;
        let cells = CellDisk::open(&directory)?;
        let last = ledger
            .open_days()
            .last()
            .unwrap_or(books.began)
            .max(start.checkpoint.sealed_before)
            .max(books.began);
        let prices = all_prices(&books, &ledger, last)?;
        let bills = books.bills()?;
        let mut memories = self.memories(&books, &cells)?;
        let mut accounts = Vec::new();
        for (id, customer) in &books.meters {
            let meter = memories.remove(&customer.title);
            let stored = all_readings(&books, &ledger, *id, last)?;
            accounts.push(account(
                *id,
                meter.as_ref(),
                &stored,
                &prices,
                &bills,
                &books,
            ));
        }
        if let Some(title) = memories.keys().next() {
            bail!("the meter {title} of --field is not registered here; name its own utility");
        }
        report(&accounts, self.json, out)?;
        ensure!(
            accounts.iter().all(Account::is_right),
            "the account does not add up; keep the directory as it is for an analysis"
        );
        Ok(())
    }

    /// What meters remember, by title: a demo's in its own directory, others where they say.
    fn memories(
        &self,
        books: &Books,
        cells: &CellDisk,
    ) -> anyhow::Result<BTreeMap<SystemTitle, Meter>> {
        let mut meters = Vec::new();
        match &books.maker {
            Maker::Serve => {
                for field in &self.field {
                    let directory = DataDirectory::open("--field", field)?;
                    let fleet = Fleet::read(directory.path())?;
                    meters.extend(fleet.remembered(&CellDisk::open(&directory)?)?);
                }
            }
            Maker::Demo(founding) => {
                ensure!(
                    self.field.is_empty(),
                    "--field: a demo's meters remember in its own directory; leave it out"
                );
                for house in demo::town_of(founding)?.houses() {
                    let memory = cells.all_of(&demo::cell_name(house.meter()))?;
                    let then = Now {
                        instant: Instant::ZERO,
                        utc: books.began.start(),
                    };
                    let config = house.config().clone();
                    let meter = Meter::start(config, house.load(), &memory, Boot::Reset, then);
                    meters.push(meter.with_context(|| {
                        format!("the memory of meter {} is damaged", house.meter())
                    })?);
                }
            }
        }
        let by_title = meters
            .into_iter()
            .map(|meter| (meter.config().title, meter));
        Ok(by_title.collect())
    }
}

/// Years of days in steps that one query may span.
fn spans(from: Day, to: Day) -> impl Iterator<Item = std::ops::RangeInclusive<Day>> {
    const STEP: i32 = 300;
    (from.epoch_days()..=to.epoch_days())
        .step_by(STEP as usize)
        .map(move |day| {
            let last = (day + STEP - 1).min(to.epoch_days());
            Day::from_epoch_days(day)..=Day::from_epoch_days(last)
        })
}

fn all_prices(
    books: &Books,
    ledger: &Ledger,
    last: Day,
) -> anyhow::Result<BTreeMap<UtcTime, PricePoint>> {
    let mut prices = BTreeMap::new();
    for days in spans(books.began, last) {
        prices.extend(
            books
                .backend
                .prices(books.period, days)?
                .into_iter()
                .map(|point| (point.end, point)),
        );
    }
    for point in ledger.open_prices(books.period) {
        prices.entry(point.end).or_insert(point);
    }
    Ok(prices)
}

fn all_readings(
    books: &Books,
    ledger: &Ledger,
    id: MeterId,
    last: Day,
) -> anyhow::Result<Vec<IntervalReading>> {
    let mut readings = Vec::new();
    for days in spans(books.began, last) {
        readings.extend(books.backend.readings(id, books.period, days)?);
    }
    // A crash between a commit and its acknowledgement makes the meter push again what is sealed.
    // The journal holds it until the next commit finds that it is the same, and drops it.
    let sealed: BTreeMap<UtcTime, IntervalReading> = readings
        .iter()
        .map(|reading| (reading.end, *reading))
        .collect();
    readings.extend(
        ledger
            .open_readings(id, books.period, books.began..=last)
            .filter(|open| sealed.get(&open.end) != Some(open)),
    );
    Ok(readings)
}

fn account(
    id: MeterId,
    meter: Option<&Meter>,
    stored: &[IntervalReading],
    prices: &BTreeMap<UtcTime, PricePoint>,
    bills: &[BillRow],
    books: &Books,
) -> Account {
    let mut account = Account {
        house: format!("h{}", id.0),
        ..Account::default()
    };
    let mut by_end: BTreeMap<UtcTime, &IntervalReading> = BTreeMap::new();
    for reading in stored {
        if by_end.insert(reading.end, reading).is_some() {
            account.twice += 1;
        }
    }
    account.stored = by_end.len() as u64;
    if let (Some((first, _)), Some((last, _))) = (by_end.first_key_value(), by_end.last_key_value())
    {
        let period = u64::from(books.period.as_secs());
        account.gaps = last.since(*first).as_secs() / period + 1 - account.stored;
    }
    for entry in meter.iter().flat_map(|meter| meter.profile().iter()) {
        account.captured += 1;
        let found = by_end.get(&entry.end());
        if entry.delivery() == Delivery::Acknowledged {
            account.acknowledged += 1;
            account.lost += u64::from(found.is_none());
        }
        account.altered += u64::from(found.is_some_and(|reading| reading.values != entry.values()));
        let decided = prices.get(&entry.end()).map(|point| point.price);
        account.priced += u64::from(entry.price().is_some());
        account.mispriced += u64::from(entry.price().is_some() && entry.price() != decided);
    }
    for bill in bills.iter().filter(|bill| bill.meter == id) {
        account.bills += 1;
        let again = sum_again(bill.month, &by_end, prices, books);
        let own = meter
            .and_then(|meter| {
                let mut closed = meter.bill().closed();
                closed.find(|closed| closed.month == bill.month)
            })
            .map(|closed| closed.amount(books.currency).minor());
        // A meter that was replaced or retired in a month knows another part of it.
        let own = own.filter(|_| !books.is_final(bill));
        let agrees =
            again == Some(bill.amount_minor) && own.is_none_or(|own| own == bill.amount_minor);
        account.agreed += u64::from(agrees && own.is_some());
        account.wrong_bills += u64::from(!agrees);
    }
    account
}

/// A month's amount in minor units, by plain integers: Σ mWh × 10⁻⁶ per kWh, rounded once, halves
/// away from zero. `None` if an interval has no price.
fn sum_again(
    month: Month,
    readings: &BTreeMap<UtcTime, &IntervalReading>,
    prices: &BTreeMap<UtcTime, PricePoint>,
    books: &Books,
) -> Option<i64> {
    let mut pico: i128 = 0;
    for (end, reading) in readings {
        // What validation refused, or came from outside service, is billed to nobody.
        let is_billed =
            reading.status.contains(REGISTER_AGREED) && books.in_service(reading.meter, *end);
        if is_billed && books.period.day_of(*end).month() == month {
            let price = i128::from(prices.get(end)?.price.micro_per_kwh());
            pico += i128::from(reading.values.import.get()) * price;
        }
    }
    let step = 10_i128.pow(12 - u32::from(books.currency.minor_digits()));
    let rounded = (pico.abs() + step / 2) / step * pico.signum();
    i64::try_from(rounded).ok()
}

fn report(accounts: &[Account], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(accounts)?)?;
        return Ok(());
    }
    let headings = [
        "house",
        "captured",
        "acknowledged",
        "priced",
        "stored",
        "gaps",
        "lost",
        "twice",
        "altered",
        "mispriced",
        "bills",
        "agreed",
        "wrong bills",
    ];
    let rows = accounts.iter().map(|account| {
        let figures = [
            account.captured,
            account.acknowledged,
            account.priced,
            account.stored,
            account.gaps,
            account.lost,
            account.twice,
            account.altered,
            account.mispriced,
            account.bills,
            account.agreed,
            account.wrong_bills,
        ];
        std::iter::once(account.house.clone())
            .chain(figures.iter().map(u64::to_string))
            .collect()
    });
    writeln!(out, "{}", table::figures(&headings, rows))?;
    Ok(())
}
