//! A data directory's books, opened for reading: whose meters, which bills, and since when.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use gridloom_billing::{MonthlyBill, PriceBook, bill_month};
use gridloom_core::{Currency, Day, MeterId, Millivolts, Month, Period, SystemTitle, UtcTime};
use gridloom_host::{LedgerDisk, OperationsDisk};
use gridloom_mdm::{MeterLimits, Phases, PowerTriangle, ServiceSpan, ValidatedInterval, Validator};
use gridloom_store::{Backend, BillRow};

use crate::founding::Founding;
use crate::{area, serve};

/// Who made a data directory.
pub(crate) enum Maker {
    /// `gridloom demo`, for the houses of this town.
    Demo(Founding),
    /// `gridloom serve`, for registered meters.
    Serve,
}

/// A meter with bills.
pub(crate) struct Customer {
    pub(crate) name: String,
    pub(crate) title: SystemTitle,
    /// When it was in service; `None` if it never was.
    pub(crate) span: Option<ServiceSpan>,
    /// What it can physically have measured, as far as bills need it.
    limits: MeterLimits,
}

/// A data directory opened for reading, also while a utility works in it.
pub(crate) struct Books {
    pub(crate) maker: Maker,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) meters: BTreeMap<MeterId, Customer>,
    pub(crate) period: Period,
    pub(crate) currency: Currency,
    pub(crate) began: Day,
}

impl Books {
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        if let Some(founding) = serve::Founding::read(data)? {
            return Self::of_serve(data, &founding);
        }
        let Some(founding) = Founding::read(data)? else {
            bail!(
                "{} is no data directory: `gridloom demo --data` or `gridloom serve --data` makes \
                 one",
                data.display()
            );
        };
        let backend = LedgerDisk::open_database(data)?;
        let began = founding.began()?;
        let limits = widest()?;
        let customers = backend.meters()?.into_iter().map(|row| {
            let customer = Customer {
                name: row.name,
                title: row.title,
                span: Some(ServiceSpan::since(began.start())),
                limits,
            };
            (row.meter, customer)
        });
        Ok(Self {
            meters: customers.collect(),
            period: Period::from_secs(founding.period_seconds)
                .context("demo.toml: period_seconds")?,
            currency: Currency::new(&founding.currency, founding.minor_digits)
                .context("demo.toml: currency")?,
            began,
            maker: Maker::Demo(founding),
            backend,
        })
    }

    fn of_serve(data: &Path, founding: &serve::Founding) -> anyhow::Result<Self> {
        let began = founding.began()?;
        let backend = LedgerDisk::open_database(data)?;
        let operations = OperationsDisk::open_database(data)?;
        let since = area::since(&operations.store().keys(None)?, began);
        let mut meters = BTreeMap::new();
        for row in operations.store().devices()? {
            let from = since.get(&row.meter).copied().unwrap_or(began.start());
            let customer = Customer {
                span: area::span(&row, from),
                limits: widest()?,
                name: row.name,
                title: row.title,
            };
            meters.insert(row.meter, customer);
        }
        Ok(Self {
            maker: Maker::Serve,
            meters,
            period: founding.period()?,
            currency: founding.currency()?,
            began,
            backend,
        })
    }

    /// Bills from the first month of service to the last that has one.
    pub(crate) fn bills(&self) -> anyhow::Result<Vec<BillRow>> {
        let mut all = Vec::new();
        let mut month = self.began.month();
        let first = self.meters.values().filter_map(|customer| customer.span);
        let latest = first.map(|span| self.first_month(span)).max();
        loop {
            let bills = self.backend.bills(month)?;
            // Before its first meter a utility has months without bills.
            if bills.is_empty() && latest.is_none_or(|latest| latest < month) {
                return Ok(all);
            }
            all.extend(bills);
            month = month.next();
        }
    }

    fn first_month(&self, span: ServiceSpan) -> Month {
        self.period
            .day_of(span.from() + self.period.duration())
            .month()
    }

    /// Whether a bill is its meter's last.
    pub(crate) fn is_final(&self, bill: &BillRow) -> bool {
        let until = self
            .meters
            .get(&bill.meter)
            .and_then(|customer| customer.span?.until());
        until.is_some_and(|until| self.period.day_of(until).month() <= bill.month)
    }

    /// Whether an interval of a meter may be billed.
    pub(crate) fn in_service(&self, meter: MeterId, end: UtcTime) -> bool {
        let span = self.meters.get(&meter).and_then(|customer| customer.span);
        span.is_some_and(|span| span.covers(end, self.period))
    }

    /// The invoice of a meter and month, made again from the store.
    pub(crate) fn invoice(&self, meter: MeterId, month: Month) -> anyhow::Result<MonthlyBill> {
        let customer = self.meters.get(&meter);
        let customer = customer.with_context(|| format!("{meter} is not registered"))?;
        let span = customer
            .span
            .with_context(|| format!("{meter} never was in service"))?;
        let days = month.first_day()..=month.next().first_day().previous();
        let intervals: Vec<ValidatedInterval> = self
            .backend
            .readings(meter, self.period, days.clone())?
            .iter()
            .filter(|reading| span.covers(reading.end, reading.period))
            .filter_map(|reading| Validator::validate_stored(reading.into(), &customer.limits).ok())
            .collect();
        let mut book = PriceBook::new(self.period);
        for point in self.backend.prices(self.period, days)? {
            book.insert(point.end, point.price)?;
        }
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

    pub(crate) fn name_of(&self, meter: MeterId) -> &str {
        self.meters
            .get(&meter)
            .map_or("?", |customer| customer.name.as_str())
    }
}

/// Limits that refuse nothing which was valid when it came: the mark of that validation decides.
fn widest() -> anyhow::Result<MeterLimits> {
    Ok(MeterLimits::new(
        MeterLimits::FUSE_AMPS_MAX,
        Phases::Three,
        Millivolts::new(230_000),
        PowerTriangle::NotCaptured,
    )?)
}
