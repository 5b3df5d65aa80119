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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gridloom_core::{
        IntervalReading, IntervalValues, MilliwattHours, Price, ReadingStatus, Watts,
    };
    use gridloom_host::DataDirectory;
    use gridloom_mdm::REGISTER_AGREED;
    use gridloom_store::{
        Batch, Change, CommitBatch, DeviceLink, DeviceRow, DeviceState, KeyId, KeyKind, KeyRow,
        KeyState, MeterDay, PricePoint, StoredReading, Transport,
    };

    use super::*;

    const METER: MeterId = MeterId(7);

    fn at(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn retired(until: UtcTime) -> DeviceRow {
        DeviceRow {
            meter: METER,
            title: SystemTitle::new(*b"GLM", 7),
            serial: "S7".into(),
            name: "Mill Lane 7".into(),
            state: DeviceState::Retired,
            link: DeviceLink {
                transport: Transport::Gateway,
                address: "gateway-1".into(),
                server: 1,
                physical: 0,
            },
            roles: Vec::new(),
            template: "gridloom".into(),
            groups: BTreeSet::new(),
            service_point: "SP7".into(),
            phases: 1,
            fuse_a: 63,
            voltage_v: 230,
            retired_at: Some(until),
        }
    }

    fn reading(end: UtcTime) -> StoredReading {
        StoredReading {
            reading: IntervalReading {
                meter: METER,
                period: Period::HOUR,
                end,
                status: ReadingStatus::default().with(REGISTER_AGREED),
                values: IntervalValues {
                    import: MilliwattHours::new(1_000_000),
                    voltage: Millivolts::new(230_000),
                    ..IntervalValues::default()
                },
                import_register: MilliwattHours::ZERO,
            },
            title: SystemTitle::new(*b"GLM", 7),
            counter: 1,
        }
    }

    /// A directory of serve that began in March; its only meter came in May and went in May.
    #[test]
    fn a_directory_of_serve_has_books_too() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("serve.toml"),
            "period_seconds = 3600\ncurrency = \"EUR\"\nminor_digits = 2\nbegan = \"2026-03-01\"\n",
        )
        .unwrap();
        let directory = DataDirectory::open("--data", folder.path()).unwrap();
        let until = at("2026-05-10T04:30:00Z");
        let mut operations = OperationsDisk::open(&directory).unwrap();
        let key = KeyRow {
            key: KeyId(1),
            meter: METER,
            kind: KeyKind::Authentication,
            client: 0,
            state: KeyState::Retired,
            master: 1,
            wrapped: Vec::new(),
            made_at: at("2026-05-11T00:00:00Z"),
        };
        let changes = vec![Change::Device(retired(until)), Change::Key(key)];
        let answers = operations
            .store_mut()
            .commit(&[Batch::new(changes)])
            .unwrap();
        assert_eq!(answers, [Ok(())]);
        let ends = ["01", "02", "04", "05"].map(|hour| at(&format!("2026-05-10T{hour}:00:00Z")));
        let price = Price::parse("0.2000").unwrap();
        let (mut disk, _) = LedgerDisk::open(&directory).unwrap();
        let bill = BillRow {
            meter: METER,
            month: Month::parse("2026-05").unwrap(),
            version: 0,
            currency: Currency::new("EUR", 2).unwrap(),
            amount_minor: 60,
            energy: MilliwattHours::new(3_000_000),
            intervals: 3,
            gaps: 1,
            charge: price.charge(MilliwattHours::new(3_000_000)),
            issued_at: at("2026-06-01T00:00:00Z"),
        };
        let batch = CommitBatch {
            meter_days: vec![MeterDay {
                meter: METER,
                period: Period::HOUR,
                day: Day::parse("2026-05-10").unwrap(),
                readings: ends.map(reading).to_vec(),
            }],
            prices: ends
                .iter()
                .map(|end| PricePoint {
                    end: *end,
                    period: Period::HOUR,
                    price,
                    total: Watts::new(1_000),
                    stations_on: 1,
                    missing: 0,
                })
                .collect(),
            bills: vec![bill],
            ..CommitBatch::default()
        };
        disk.backend_mut().commit(batch).unwrap();
        drop(disk);

        let books = Books::open(folder.path()).unwrap();
        assert_eq!(
            books.bills().unwrap(),
            [bill],
            "months without meters come before"
        );
        assert!(books.is_final(&bill));
        assert_eq!(books.name_of(METER), "Mill Lane 7");
        // The hour in which it was retired is not whole, and is not billed.
        let billed = ends.map(|end| books.in_service(METER, end));
        assert_eq!(billed, [true, true, true, false]);
        let invoice = books.invoice(METER, bill.month).unwrap();
        assert_eq!((invoice.amount.minor(), invoice.missing()), (60, 1));
    }
}
