//! `gridloom bill`: the bills of a data directory, each traced to its days.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use gridloom_core::{MeterId, Money, Month};
use gridloom_store::BillRow;
use serde::Serialize;

use crate::books::Books;
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
    /// Whether the meter was retired in this month.
    r#final: bool,
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
        r#final: books.is_final(bill),
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
            format!(
                "{}  {}{}",
                bill.month,
                books.name_of(bill.meter),
                if books.is_final(bill) { ", final" } else { "" }
            ),
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
