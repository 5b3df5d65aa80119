//! `gridloom bill`: the bills of a data directory, each traced to its days.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use gridloom_billing::{MonthlyBill, PriceBook, bill_month};
use gridloom_core::{Currency, Day, MeterId, Money, Month, Period};
use gridloom_host::LedgerDisk;
use gridloom_mdm::{MeterLimits, Phases, PowerTriangle, ServiceSpan, ValidatedInterval, Validator};
use gridloom_store::{Backend, BillRow, MeterRow};
use serde::Serialize;

use crate::founding::Founding;
use crate::table;

/// Prints bills from a data directory
#[derive(clap::Args)]
pub(crate) struct Bill {
    /// Data directory
    #[arg(long, default_value = "data/demo")]
    data: PathBuf,
    /// Only this month, as YYYY-MM
    #[arg(long, value_parser = month)]
    month: Option<Month>,
    /// Print the whole invoice of this house, such as h1
    #[arg(long)]
    house: Option<String>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

fn month(text: &str) -> Result<Month, String> {
    Month::parse(text).ok_or_else(|| format!("{text:?} is no month such as 2026-04"))
}

/// A bill as JSON.
#[derive(Serialize)]
struct BillJson {
    month: String,
    house: String,
    name: String,
    currency: String,
    amount: String,
    energy_mwh: i64,
    intervals: u32,
    gaps: u32,
}

/// A data directory opened for reading, also while a utility works in it.
pub(crate) struct Books {
    pub(crate) founding: Founding,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) meters: Vec<MeterRow>,
    pub(crate) period: Period,
    pub(crate) currency: Currency,
    pub(crate) began: Day,
}

impl Books {
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        let founding = Founding::read(data)?.with_context(|| {
            format!(
                "{} is no data directory: `gridloom demo --data` makes one",
                data.display()
            )
        })?;
        let backend = LedgerDisk::open_database(data)?;
        Ok(Self {
            meters: backend.meters()?,
            period: Period::from_secs(founding.period_seconds)
                .context("demo.toml: period_seconds")?,
            currency: Currency::new(&founding.currency, founding.minor_digits)
                .context("demo.toml: currency")?,
            began: founding.began()?,
            founding,
            backend,
        })
    }

    /// Months from the first of service to the last that has a bill.
    pub(crate) fn bills(&self) -> anyhow::Result<Vec<BillRow>> {
        let mut all = Vec::new();
        let mut month = self.began.month();
        loop {
            let bills = self.backend.bills(month)?;
            if bills.is_empty() {
                return Ok(all);
            }
            all.extend(bills);
            month = month.next();
        }
    }

    /// The invoice of a meter and month, made again from the store.
    fn invoice(&self, meter: MeterId, month: Month) -> anyhow::Result<MonthlyBill> {
        let days = month.first_day()..=month.next().first_day().previous();
        let limits = MeterLimits::new(
            MeterLimits::FUSE_AMPS_MAX,
            Phases::Three,
            gridloom_core::Millivolts::new(230_000),
            PowerTriangle::Captured,
        )?;
        let intervals: Vec<ValidatedInterval> = self
            .backend
            .readings(meter, self.period, days.clone())?
            .iter()
            .filter_map(|reading| Validator::validate_stored(reading.into(), &limits).ok())
            .collect();
        let mut book = PriceBook::new(self.period);
        for point in self.backend.prices(self.period, days)? {
            book.insert(point.end, point.price)?;
        }
        let span = ServiceSpan::since(self.began.start());
        Ok(bill_month(
            meter,
            month,
            self.period,
            span,
            &intervals,
            &book,
            self.currency,
        )?)
    }

    fn name_of(&self, meter: MeterId) -> &str {
        self.meters
            .iter()
            .find(|row| row.meter == meter)
            .map_or("?", |row| row.name.as_str())
    }
}

impl Bill {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let books = Books::open(&self.data)?;
        let wanted = self.house.as_deref().map(house_number).transpose()?;
        let bills: Vec<BillRow> = books
            .bills()?
            .into_iter()
            .filter(|bill| self.month.is_none_or(|month| bill.month == month))
            .filter(|bill| wanted.is_none_or(|meter| bill.meter == meter))
            .collect();
        if self.json {
            let bills: Vec<BillJson> = bills.iter().map(|bill| json_of(&books, bill)).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&bills)?)?;
            return Ok(());
        }
        ensure!(
            !bills.is_empty(),
            "no bill yet: a month is billed when it is over and its readings are in"
        );
        if let Some(meter) = wanted {
            for bill in &bills {
                writeln!(out, "{}", books.invoice(meter, bill.month)?.render())?;
            }
            return Ok(());
        }
        print_table(&books, &bills, out)
    }
}

fn house_number(id: &str) -> anyhow::Result<MeterId> {
    id.strip_prefix('h')
        .and_then(|number| number.parse().ok())
        .map(MeterId)
        .with_context(|| format!("--house {id:?}: give an id such as h1"))
}

fn json_of(books: &Books, bill: &BillRow) -> BillJson {
    BillJson {
        month: bill.month.to_string(),
        house: format!("h{}", bill.meter.0),
        name: books.name_of(bill.meter).to_owned(),
        currency: bill.currency.code().to_owned(),
        amount: bill.amount().decimal(),
        energy_mwh: bill.energy.get(),
        intervals: bill.intervals,
        gaps: bill.gaps,
    }
}

/// Prints every bill of a data directory.
pub(crate) fn print_all(data: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let books = Books::open(data)?;
    let bills = books.bills()?;
    if bills.is_empty() {
        writeln!(out, "no month is closed yet")?;
        return Ok(());
    }
    print_table(&books, &bills, out)
}

fn print_table(books: &Books, bills: &[BillRow], out: &mut impl Write) -> anyhow::Result<()> {
    let rows = bills.iter().map(|bill| {
        vec![
            format!("{}  {}", bill.month, books.name_of(bill.meter)),
            format!(
                "{}.{:03}",
                bill.energy.get() / 1_000_000,
                bill.energy.get() / 1_000 % 1_000
            ),
            bill.intervals.to_string(),
            bill.gaps.to_string(),
            bill.amount().decimal(),
        ]
    });
    let total: i64 = bills.iter().map(|bill| bill.amount_minor).sum();
    let currency = books.currency.code();
    let headings = ["bill", "kWh", "intervals", "gaps", currency];
    writeln!(out, "{}", table::figures(&headings, rows))?;
    writeln!(out, "total {}", Money::from_minor(total, books.currency))?;
    Ok(())
}
