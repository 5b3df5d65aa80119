//! The area that registered meters make: what the utility holds their readings against, and the
//! tariff and stations that fit their number.

use std::collections::BTreeMap;

use gridloom_billing::{SigmoidParameters, SigmoidTariff};
use gridloom_core::{Day, MeterId, Millivolts, Seed, UtcTime, Watts};
use gridloom_edge::Site;
use gridloom_grid::Fleet;
use gridloom_headend::{Channel, Templates};
use gridloom_mdm::{MeterLimits, Phases, PowerTriangle, ServiceSpan};
use gridloom_nodes::{Purpose, ServedMeter, UtilityConfig};
use gridloom_store::{DeviceRow, DeviceState, KeyRow};

use crate::config::Config;

/// What a home draws in the mean, in watts; tariff and stations are fitted to it.
const MEAN_W: i64 = 370;

/// A meter as the utility serves it from `since` on, and a retired one until it was retired: its
/// last bill is still to be made. One that never was in service is not served.
pub(crate) fn served(
    row: &DeviceRow,
    templates: &Templates,
    since: UtcTime,
) -> anyhow::Result<Option<ServedMeter>> {
    let Some(span) = span(row, since) else {
        return Ok(None);
    };
    let triangle = [
        Channel::ReactiveQ1,
        Channel::ReactiveQ2,
        Channel::ReactiveQ3,
        Channel::ReactiveQ4,
        Channel::Apparent,
    ];
    let template = templates.get(&row.template);
    let captures_all = template.is_some_and(|template| {
        triangle
            .iter()
            .all(|channel| template.channels.contains_key(channel))
    });
    let limits = MeterLimits::new(
        row.fuse_a.into(),
        if row.phases == 1 {
            Phases::One
        } else {
            Phases::Three
        },
        nominal(row),
        if captures_all {
            PowerTriangle::Captured
        } else {
            PowerTriangle::NotCaptured
        },
    )?;
    Ok(Some(ServedMeter {
        meter: row.meter,
        title: row.title,
        name: row.name.clone(),
        limits,
        span,
        purpose: Purpose::Customer,
    }))
}

/// When a meter is in service; `None` if it was retired before, or at an unknown time.
pub(crate) fn span(row: &DeviceRow, since: UtcTime) -> Option<ServiceSpan> {
    match row.state {
        DeviceState::Retired => ServiceSpan::between(since, row.retired_at?),
        DeviceState::Enrolled | DeviceState::Commissioned | DeviceState::Suspended => {
            Some(ServiceSpan::since(since))
        }
    }
}

fn nominal(row: &DeviceRow) -> Millivolts {
    Millivolts::new(i64::from(row.voltage_v) * 1_000)
}

/// What the meter's service can carry, as its edge holds its readings against it: the fuse limits
/// current, so power is reckoned at the upper end of the voltage band (EN 50160: + 10 %).
pub(crate) fn site(row: &DeviceRow) -> Site {
    let amperes = i64::from(row.phases) * i64::from(row.fuse_a);
    Site {
        power_max: Watts::new((amperes * i64::from(row.voltage_v) * 11 + 9) / 10),
        voltage: nominal(row),
        phases: if row.phases == 1 {
            gridloom_edge::Phases::One
        } else {
            gridloom_edge::Phases::Three
        },
        ..Site::default()
    }
}

/// Since when each meter is served: from the start of the day before its first key was made on,
/// as far back as it is read the first time, but not before `began`.
pub(crate) fn since(keys: &[KeyRow], began: Day) -> BTreeMap<MeterId, UtcTime> {
    let mut since: BTreeMap<MeterId, UtcTime> = BTreeMap::new();
    for key in keys {
        let day = Day::from_epoch_days(key.made_at.day().epoch_days() - 1);
        let first = day.max(began).start();
        let known = since.entry(key.meter).or_insert(first);
        *known = first.min(*known);
    }
    since
}

/// The utility of that many meters.
pub(super) fn utility(config: &Config, meters: usize) -> anyhow::Result<UtilityConfig> {
    let meters = i64::try_from(meters.max(1))
        .unwrap_or(i64::MAX)
        .min(1_000_000);
    let own = MEAN_W * meters.isqrt();
    let mean = MEAN_W * meters;
    // One interval in twenty lies below, one in twenty above, as modelled homes have it.
    let (low, high) = (mean * 32 / 100, mean * 16 / 10 + own * 19 / 10);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a million homes draw less than 2^53 watts"
    )]
    let span = (high - low) as f64;
    let standard = SigmoidTariff::new(SigmoidParameters {
        p_min: config.tariff.p_min,
        p_max: config.tariff.p_max,
        x0: Watts::new(mean),
        // From the low to the high total are six e-folds.
        k_per_watt: 6.0 / span,
        price_decimals: SigmoidParameters::PRICE_DECIMALS_DEFAULT,
    })?;
    Ok(UtilityConfig {
        name: config.name.clone(),
        period: config.period,
        currency: config.currency,
        tariff: config.tariff.over(standard)?,
        cutoff: config.cutoff,
        grace: config.grace,
        seal_after: config.seal_after,
        stations: Fleet::for_area(Seed::new(config.seed), Watts::new(mean * 3 / 2 + own * 15)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gridloom_headend::template::MeterTemplate;
    use gridloom_store::{DeviceLink, Transport};

    use super::*;

    fn row(phases: u8, fuse_a: u16, voltage_v: u16) -> DeviceRow {
        DeviceRow {
            meter: MeterId(1),
            title: gridloom_core::SystemTitle::new(*b"GLM", 1),
            serial: "S1".into(),
            name: "Mill Lane 1".into(),
            state: DeviceState::Commissioned,
            link: DeviceLink {
                transport: Transport::Gateway,
                address: "gateway-1".into(),
                server: 1,
                physical: 0,
            },
            roles: Vec::new(),
            template: "standard".into(),
            groups: BTreeSet::new(),
            service_point: "SP1".into(),
            phases,
            fuse_a,
            voltage_v,
            retired_at: None,
        }
    }

    #[test]
    fn a_service_bounds_what_edge_and_validation_believe() {
        // Phases, fuse, voltage; the edge's watts; validation's milliwatt-hours of an hour.
        let cases = [
            (1, 63, 230, 15_939, 15_939_000),
            (3, 63, 230, 47_817, 47_817_000),
            (1, 100, 120, 13_200, 13_200_000),
            (1, 1, 51, 57, 56_100),
        ];
        let standard = MeterTemplate::standard("standard");
        let templates = Templates::from([("standard".to_owned(), standard)]);
        let since = UtcTime::from_secs(0);
        for (phases, fuse, voltage, watts, energy) in cases {
            let row = row(phases, fuse, voltage);
            let site = site(&row);
            assert_eq!(site.power_max, Watts::new(watts), "{fuse} A at {voltage} V");
            assert_eq!(site.voltage, Millivolts::new(i64::from(voltage) * 1_000));
            let served = served(&row, &templates, since).unwrap().unwrap();
            let limit = served.limits.energy_max(gridloom_core::Period::HOUR);
            assert_eq!(limit.get(), energy, "{fuse} A at {voltage} V");
        }
    }

    #[test]
    fn a_retired_meter_is_served_until_then() {
        let templates = Templates::new();
        let (since, until) = (UtcTime::from_secs(3_600), UtcTime::from_secs(7_200));
        let mut row = row(1, 63, 230);
        row.state = DeviceState::Retired;
        let cases = [
            (Some(until), Some(Some(until))),
            (Some(since), None),
            (None, None),
        ];
        for (retired_at, expected) in cases {
            row.retired_at = retired_at;
            let served = served(&row, &templates, since).unwrap();
            let end = served.map(|served| served.span.until());
            assert_eq!(end, expected, "{retired_at:?}");
        }
    }
}
