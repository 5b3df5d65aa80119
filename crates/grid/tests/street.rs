//! Homes on the shipped feeders: energies add up, supply follows the switches, and everything is
//! the same again.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::BTreeSet;

use gridloom_core::{Day, Seed, UtcTime};
use gridloom_grid::household::HouseholdOptions;
use gridloom_grid::network::{Controls, NetworkError, Topology, balance};
use gridloom_grid::opendss::{Circuit, Shipped};
use gridloom_grid::quasi_static::Operation;
use gridloom_grid::street::{Placement, Street, StreetError};
use gridloom_grid::{Catalogue, Household, PriceSignal};

fn homes(count: u64, seed: u64) -> Vec<Household> {
    let catalogue = Catalogue::builtin();
    let options = HouseholdOptions::default();
    (1..=count)
        .map(|at| Household::with_catalogue(Seed::new(seed), at, options, &catalogue))
        .collect()
}

fn street_of(name: &str, count: u64, seed: u64) -> Street {
    let circuit = Circuit::read(&mut Shipped, Shipped::path(name).unwrap()).unwrap();
    let placement = Placement {
        seed: Seed::new(seed),
    };
    Street::new(
        circuit.network,
        circuit.controls,
        homes(count, seed),
        placement,
    )
    .unwrap()
}

fn winter() -> Day {
    Day::from_ymd(2026, 1, 21).unwrap()
}

fn unknown() -> PriceSignal {
    PriceSignal::unknown()
}

#[test]
fn in_every_minute_meters_and_losses_are_what_the_source_gives() {
    for (name, count) in [("eulv", 55), ("ieee13", 90)] {
        let street = street_of(name, count, 3);
        let mut day = street.day(winter(), &unknown(), &unknown()).unwrap();
        for minute in 0..60 {
            let seen = day.minute(minute).clone();
            assert!(!seen.is_stale, "{name} {minute}: {:?}", day.failure());
            let metered: f64 = (0..street.homes().len())
                .map(|home| day.drawn_by(home, minute).0 / 1_000.0)
                .sum();
            let totals = balance::totals(day.sim().flow());
            let gap = totals.supplied.0 - metered - totals.losses_watts();
            assert!(
                gap.abs() < totals.supplied.0 * 1e-6,
                "{name} {minute}: {gap} of {totals:?}"
            );
            // All transformers together deliver the homes' power and what is lost on the way.
            let delivered: f64 = seen.feedings.iter().map(|one| one.total_watts()).sum();
            assert!(
                delivered > metered && delivered < metered + totals.losses_watts() + 1.0,
                "{name} {minute}: {delivered} W for {metered} W, {totals:?}"
            );
        }
    }
}

#[test]
fn a_meter_sees_the_voltage_of_its_node() {
    let street = street_of("eulv", 55, 3);
    let mut day = street.day(winter(), &unknown(), &unknown()).unwrap();
    let seen = day.minute(9).clone();
    let flow = day.sim().flow();
    let mut phases = BTreeSet::new();
    for (point, volts_mv) in street.points().iter().zip(&seen.volts_mv) {
        let values = balance::phase_values(flow, point.element)[0];
        let expected = values.volts * 1_000.0;
        assert!(
            (expected - f64::from(*volts_mv)).abs() <= 0.5,
            "{point:?}: {volts_mv} mV, {expected}"
        );
        assert!(
            (220_000..253_000).contains(volts_mv),
            "{point:?}: {volts_mv}"
        );
        phases.insert(point.phase_text());
        // Homes at the LV feeder's end see another voltage than those at its head.
    }
    assert_eq!(phases.len(), 3);
    let (low, high) = (
        seen.volts_mv.iter().min().unwrap(),
        seen.volts_mv.iter().max().unwrap(),
    );
    assert!(high - low > 500, "{low} to {high}");
}

#[test]
fn an_open_line_darkens_the_homes_behind_it_and_no_other() {
    let mut street = street_of("eulv", 55, 3);
    let network = street.network();
    // Some service line in the middle of the feeder.
    let topology = Topology::of(network);
    let place = &street.points()[7].bus;
    let bus = network.buses.find(place).unwrap();
    let path = topology.path_to_source(bus).unwrap();
    let step = path[path.len() / 2];
    let cut_below = path[path.len() / 2 - 1].bus;
    let behind: BTreeSet<&str> = topology
        .downstream(cut_below)
        .into_iter()
        .map(|bus| network.buses.name(bus))
        .collect();
    let traced: Vec<bool> = street
        .points()
        .iter()
        .map(|point| behind.contains(point.bus.as_str()))
        .collect();
    assert!(traced.iter().any(|dark| *dark) && traced.iter().any(|dark| !*dark));
    let line = street
        .network()
        .elements()
        .find(|(id, _)| *id == step.element)
        .unwrap()
        .0;
    let start = winter().start().as_secs();
    let at = |minute: i64| UtcTime::from_secs(start + minute * 60);
    let open = Operation::Open {
        element: line,
        terminal: 0,
    };
    let close = Operation::Close {
        element: line,
        terminal: 0,
    };
    // Rounded up to minute 6.
    street
        .operate(UtcTime::from_secs(start + 5 * 60 + 1), open)
        .unwrap();
    street.operate(at(9), close).unwrap();
    let mut day = street.day(winter(), &unknown(), &unknown()).unwrap();
    for minute in 0..12_u32 {
        let is_open = (6..9).contains(&minute);
        let seen = day.minute(minute).clone();
        let mut lost = 0;
        for (home, dark) in traced.iter().enumerate() {
            let is_dark = is_open && *dark;
            assert_eq!(seen.volts_mv[home] == 0, is_dark, "{home} in {minute}");
            let (lit, until) = street.supply_at(home, at(minute.into()));
            assert_eq!(lit, !is_dark, "{home} in {minute}");
            if *dark && minute < 9 {
                assert_eq!(until, if is_open { at(9) } else { at(6) });
            }
            lost += usize::from(is_dark);
        }
        assert!(!is_open || lost > 0);
    }
    let beyond = Operation::Open {
        element: line,
        terminal: 2,
    };
    let error = street.operate(at(10), beyond).unwrap_err();
    assert!(matches!(error, NetworkError::Control { .. }), "{error}");
}

#[test]
fn the_same_seed_is_the_same_street_and_the_order_of_asking_does_not_matter() {
    let (one, other) = (street_of("eulv", 20, 5), street_of("eulv", 20, 5));
    assert_eq!(one.points(), other.points());
    assert_ne!(one.points(), street_of("eulv", 20, 6).points());
    let mut in_order = one.day(winter(), &unknown(), &unknown()).unwrap();
    let minutes: Vec<_> = (0..30).map(|at| in_order.minute(at).clone()).collect();
    let mut at_once = other.day(winter(), &unknown(), &unknown()).unwrap();
    assert_eq!(at_once.minute(29), &minutes[29]);
    for (at, minute) in (0..).zip(&minutes) {
        assert_eq!(at_once.minute(at), minute, "{at}");
    }
}

#[test]
fn more_homes_than_loads_share_them_by_their_power() {
    let street = street_of("eulv", 110, 3);
    let places: BTreeSet<_> = street.points().iter().map(|point| point.element).collect();
    assert_eq!((street.points().len(), places.len()), (110, 55));
    let street = street_of("ieee13", 400, 3);
    // The load at 671 is a third of all, and at three phases between phases.
    let at_671 = street
        .points()
        .iter()
        .filter(|point| point.bus == "671")
        .count();
    assert!((110..160).contains(&at_671), "{at_671}");
    let between = street
        .points()
        .iter()
        .filter(|point| point.nodes.len() == 2);
    assert!(between.count() > 100);
    let names: Vec<_> = street
        .feedings()
        .iter()
        .map(|feeding| (feeding.name.as_str(), feeding.inner.len()))
        .collect();
    assert_eq!(names, [("sub", 1), ("xfm1", 0)]);
}

#[test]
fn a_loss_bound_holds_for_other_homes_and_is_not_idle() {
    for (name, count, idle) in [("eulv", 55, 6.0), ("eulv", 6, 6.0), ("ieee13", 60, 2.0)] {
        let street = street_of(name, count, 11);
        let bound = street.loss_bounds().unwrap()[0];
        assert_eq!(bound.fixed_watts > 100, name == "ieee13", "{bound:?}");
        let mut day = street.day(winter(), &unknown(), &unknown()).unwrap();
        let mut closest = f64::INFINITY;
        for interval in 0..5_u32 {
            let (mut delivered, mut metered) = (0.0, 0.0);
            for minute in interval * 30..interval * 30 + 30 {
                delivered += day.minute(minute).feedings[0].total_watts() / 30.0;
                metered += (0..street.homes().len())
                    .filter(|home| street.points()[*home].feeding == 0)
                    .map(|home| day.drawn_by(home, minute).0 / 30_000.0)
                    .sum::<f64>();
            }
            let lost = delivered - metered;
            let most = bound.fixed_watts as f64 + bound.nanos as f64 * delivered * delivered / 1e9;
            assert!(lost <= most, "{name} {interval}: {lost} of {most}");
            closest = closest.min(most / lost);
        }
        assert!(closest < idle, "{name} {count}: {closest}");
    }
}

#[test]
fn what_a_feeder_cannot_take_is_named() {
    let circuit = || Circuit::read(&mut Shipped, Shipped::path("eulv").unwrap()).unwrap();
    let place = |network, count| {
        let placement = Placement { seed: Seed::new(1) };
        Street::new(network, Controls::Active, homes(count, 1), placement).unwrap_err()
    };
    for count in [0, 501] {
        let error = place(circuit().network, count);
        assert!(matches!(error, StreetError::Homes { .. }), "{error}");
    }
    let error = place(circuit().network, 450);
    assert!(
        matches!(error, StreetError::Weak { .. } | StreetError::Network(_)),
        "{error}"
    );
    let mut dark = circuit().network;
    let line = dark.find("line.line1").unwrap();
    dark.set_closed(line, 0, false);
    let error = place(dark, 5);
    assert!(matches!(error, StreetError::NoLoads), "{error}");
}
