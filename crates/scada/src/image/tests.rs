use super::*;
use crate::point::{Definition, Position};
use crate::unit::Unit;

fn now(seconds: u32) -> Now {
    Now {
        instant: Instant::ZERO + Duration::from_secs(seconds.into()),
        utc: UtcTime::from_secs(1_000_000 + i64::from(seconds)),
    }
}

fn point(tag: &str, kind: Kind) -> Definition {
    Definition::new(Tag::parse(tag).unwrap(), kind)
}

fn derived(tag: &str, unit: &str, expression: &str) -> Definition {
    let shape = match unit {
        "single" => Shape::Single,
        unit => Shape::Number(Unit::parse(unit).unwrap()),
    };
    let expression = expression.into();
    point(tag, Kind::Derived { shape, expression })
}

fn kilowatts() -> Kind {
    Kind::Measured(Unit::parse("kW").unwrap())
}

fn image(points: Vec<Definition>) -> Result<Image, ImageError> {
    let mut catalogue = Catalogue::default();
    for point in points {
        catalogue.add(point).unwrap();
    }
    Image::new(catalogue)
}

fn number(text: &str) -> Value {
    Value::Number(Fixed::parse(text).unwrap())
}

fn anna() -> Actor {
    Actor::Person("anna".into())
}

/// A report without a time.
fn report(image: &Image, tag: &str, value: Value) -> Update {
    Update {
        point: image.catalogue().find(tag).unwrap(),
        value,
        quality: Quality::GOOD,
        source_time: None,
    }
}

fn shown(image: &Image, tag: &str) -> String {
    let point = image.catalogue().find(tag).unwrap();
    let (value, quality) = (image.frame().value(point), image.frame().quality(point));
    format!("{value} {quality}")
}

fn names(image: &Image) -> Vec<String> {
    let tag = |point: &PointId| image.catalogue().tag(*point).to_string();
    image.changed().iter().map(tag).collect()
}

#[test]
fn a_frame_stands_still_between_cycles_and_only_what_changed_is_evaluated() {
    let mut image = image(vec![
        derived("sum2", "kW", "sum + c"),
        derived("sum", "kW", "a + b"),
        derived("high", "single", "sum2 > 100 kW"),
        derived("other", "kW", "c * 2"),
        point("a", kilowatts()),
        point("b", kilowatts()),
        point("c", kilowatts()),
    ])
    .unwrap();
    image.cycle(now(0));
    assert_eq!(shown(&image, "sum"), "0 bad (never reported)");
    for (tag, value) in [("a", "10"), ("b", "20"), ("c", "5")] {
        let update = report(&image, tag, number(value));
        assert_eq!(image.apply(&update, now(1)), Ok(Applied::Changed));
        assert_eq!(shown(&image, tag), "0 bad (never reported)", "frozen");
    }
    image.cycle(now(1));
    let mut changed = names(&image);
    assert!(changed.iter().position(|n| n == "sum") < changed.iter().position(|n| n == "sum2"));
    changed.sort();
    assert_eq!(changed, ["a", "b", "c", "high", "other", "sum", "sum2"]);
    assert_eq!(shown(&image, "sum2"), "35 good");
    assert_eq!(shown(&image, "high"), "off good");

    let update = report(&image, "a", number("90"));
    image.apply(&update, now(2)).unwrap();
    image.cycle(now(2));
    assert_eq!(names(&image), ["a", "sum", "sum2", "high"]);
    assert_eq!(shown(&image, "high"), "on good");
    image.cycle(now(3));
    assert!(image.changed().is_empty());
}

#[test]
fn reports_within_the_deadband_renew_the_time_only() {
    let mut definition = point("p", kilowatts());
    definition.deadband = Fixed::whole(1);
    definition.range = Some((Fixed::ZERO, Fixed::whole(100)));
    let mut image = image(vec![definition]).unwrap();
    let cases = [
        ("10", Quality::GOOD, Applied::Changed, "10 good"),
        ("11", Quality::GOOD, Applied::Confirmed, "10 good"),
        ("9", Quality::GOOD, Applied::Confirmed, "10 good"),
        (
            "11.000001",
            Quality::GOOD,
            Applied::Changed,
            "11.000001 good",
        ),
        (
            "11",
            Quality::bad(Reason::Fault),
            Applied::Changed,
            "11 bad (fault of the station or its sensor)",
        ),
        (
            "101",
            Quality::GOOD,
            Applied::Changed,
            "101 uncertain (out of range)",
        ),
        (
            "-1",
            Quality::bad(Reason::Fault),
            Applied::Changed,
            "-1 bad (fault of the station or its sensor)",
        ),
    ];
    for (second, (value, quality, applied, expected)) in (0..).zip(cases) {
        let mut update = report(&image, "p", number(value));
        update.quality = quality;
        assert_eq!(image.apply(&update, now(second)), Ok(applied), "{value}");
        image.cycle(now(second));
        assert_eq!(shown(&image, "p"), expected);
    }
}

#[test]
fn silence_makes_old_and_a_report_makes_new() {
    let mut definition = point("p", kilowatts());
    definition.age_max = Some(Duration::from_secs(10));
    let mut image = image(vec![definition, derived("d", "kW", "p * 2")]).unwrap();
    image.cycle(now(20));
    assert_eq!(shown(&image, "p"), "0 bad (never reported)");
    let update = report(&image, "p", number("1"));
    for (second, reported, expected) in [
        (20, true, "2 good"),
        (30, false, "2 good"),
        (31, false, "2 good, old"),
        (40, true, "2 good"),
        (50, true, "2 good"),
        (60, false, "2 good"),
        (61, false, "2 good, old"),
    ] {
        if reported {
            image.apply(&update, now(second)).unwrap();
        }
        image.cycle(now(second));
        assert_eq!(shown(&image, "d"), expected, "{second}");
    }
    image.degrade([update.point], Reason::LinkDown);
    image.cycle(now(62));
    assert_eq!(shown(&image, "d"), "2 bad (link down), old");
}

#[test]
fn a_buffered_event_does_not_undo_a_newer_one_and_a_clock_ahead_is_not_believed() {
    let mut image = image(vec![point("cb", Kind::Double)]).unwrap();
    let steps = [
        (Position::Closed, Some(100), Applied::Changed, "closed good"),
        (Position::Open, Some(99), Applied::Late, "closed good"),
        (Position::Open, Some(101), Applied::Changed, "open good"),
        // Without a time of its own it is of now.
        (Position::Closed, None, Applied::Changed, "closed good"),
        // The station's clock may lag behind ours: what has no time cannot outdate what has.
        (Position::Open, Some(102), Applied::Changed, "open good"),
        (
            Position::Closed,
            Some(206),
            Applied::Changed,
            "closed uncertain (clock suspect)",
        ),
        (Position::Open, Some(205), Applied::Changed, "open good"),
    ];
    for (position, second, applied, expected) in steps {
        let mut update = report(&image, "cb", Value::Double(position));
        update.source_time = second.map(|second| now(second).utc);
        assert_eq!(image.apply(&update, now(200)), Ok(applied), "{second:?}");
        image.cycle(now(200));
        assert_eq!(shown(&image, "cb"), expected, "{second:?}");
    }
}

#[test]
fn a_hand_covers_reports_until_it_lets_go() {
    let mut image = image(vec![
        point("p", kilowatts()),
        derived("d", "kW", "p + 1 kW"),
    ])
    .unwrap();
    let ids: Vec<_> = ["p", "d"]
        .map(|tag| image.catalogue().find(tag).unwrap())
        .into();
    let update = report(&image, "p", number("5"));
    image.apply(&update, now(1)).unwrap();
    image.cycle(now(1));
    let record = image
        .substitute(ids[0], number("7"), anna(), "sensor in repair", now(2))
        .unwrap();
    assert!(
        record
            .to_string()
            .ends_with("anna: substitution of p from 5, good to 7 (sensor in repair): done"),
        "{record}"
    );
    assert_eq!(
        image.apply(&report(&image, "p", number("6")), now(3)),
        Ok(Applied::Substituted)
    );
    image.cycle(now(3));
    assert_eq!(shown(&image, "p"), "7 good, substituted");
    assert_eq!(shown(&image, "d"), "8 good, substituted");
    assert_eq!(image.substituted().collect::<Vec<_>>(), [ids[0]]);
    image.release(ids[0], anna(), "repaired", now(4)).unwrap();
    assert_eq!(image.release(ids[0], anna(), "again", now(4)), None);
    image.cycle(now(4));
    assert_eq!(shown(&image, "d"), "7 good");

    image
        .substitute(ids[1], number("1"), anna(), "test", now(5))
        .unwrap();
    image
        .apply(&report(&image, "p", number("9")), now(5))
        .unwrap();
    image.cycle(now(5));
    assert_eq!(shown(&image, "d"), "1 good, substituted");
    image.release(ids[1], anna(), "test", now(6)).unwrap();
    image.cycle(now(6));
    assert_eq!(shown(&image, "d"), "10 good");
}

#[test]
fn a_blocked_point_keeps_its_value_and_is_old_when_it_is_freed() {
    let mut image = image(vec![point("p", kilowatts())]).unwrap();
    let update = report(&image, "p", number("5"));
    image.apply(&update, now(1)).unwrap();
    image
        .block(update.point, Blocking::Block, anna(), "work", now(1))
        .unwrap();
    assert_eq!(
        image.apply(&report(&image, "p", number("6")), now(2)),
        Ok(Applied::Blocked)
    );
    image.cycle(now(2));
    assert_eq!(shown(&image, "p"), "5 good, blocked");
    image
        .block(update.point, Blocking::Unblock, anna(), "done", now(3))
        .unwrap();
    image.cycle(now(3));
    assert_eq!(shown(&image, "p"), "5 good, old");
    image.apply(&update, now(4)).unwrap();
    image.cycle(now(4));
    assert_eq!(shown(&image, "p"), "5 good");
}

#[test]
fn limits_change_at_run_time_with_a_record() {
    let mut image = image(vec![point("p", kilowatts()), point("s", Kind::Single)]).unwrap();
    let ids: Vec<_> = ["p", "s"]
        .map(|tag| image.catalogue().find(tag).unwrap())
        .into();
    let range = Some((Fixed::ZERO, Fixed::whole(4)));
    let record = image
        .set_range(ids[0], range, anna(), "new sensor", now(0))
        .unwrap();
    assert!(
        record
            .to_string()
            .ends_with("limit change of p from range none to range 0 to 4 (new sensor): done"),
        "{record}"
    );
    image
        .set_deadband(ids[0], Fixed::whole(2), anna(), "noise", now(0))
        .unwrap();
    assert_eq!(image.catalogue().get(ids[0]).deadband, Fixed::whole(2));
    image
        .apply(&report(&image, "p", number("5")), now(1))
        .unwrap();
    image.cycle(now(1));
    assert_eq!(shown(&image, "p"), "5 uncertain (out of range)");
    let empty = Some((Fixed::ZERO, Fixed::ZERO));
    for (id, range) in [(ids[0], empty), (ids[1], range)] {
        let refused = image.set_range(id, range, anna(), "", now(0));
        assert!(matches!(
            refused,
            Err(ImageError::Field { field: "range", .. })
        ));
    }
    let refused = image.set_deadband(ids[0], Fixed::whole(-1), anna(), "", now(0));
    assert!(matches!(
        refused,
        Err(ImageError::Field {
            field: "deadband",
            ..
        })
    ));
}

#[test]
fn impossible_derived_points_are_named() {
    let cases = [
        (
            vec![
                derived("a", "kW", "b"),
                derived("b", "kW", "c + a"),
                point("c", kilowatts()),
            ],
            "in a circle: a -> b -> a: break it",
        ),
        (vec![derived("a", "kW", "a + 1 kW")], "in a circle: a -> a"),
        (
            vec![
                derived("x", "kW", "a"),
                derived("a", "kW", "b"),
                derived("b", "kW", "a"),
            ],
            "in a circle: a -> b -> a",
        ),
        (
            vec![point("c", kilowatts()), derived("a", "kV", "c")],
            "derived point a: the expression gives a number in W, the point holds a number in kV",
        ),
        (
            vec![point("c", kilowatts()), derived("a", "single", "c")],
            "the point holds a yes or no",
        ),
        (
            vec![derived("a", "kW", "2 kW +")],
            "derived point a: expression, column 7",
        ),
    ];
    for (points, expected) in cases {
        let error = image(points).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_wrong_point_list_is_named() {
    let mut image = image(vec![point("p", kilowatts()), derived("d", "kW", "p")]).unwrap();
    let mut update = report(&image, "p", Value::Single(true));
    let error = image.apply(&update, now(0)).unwrap_err().to_string();
    assert_eq!(
        error,
        "point p holds a number, the value is a single: correct the point list"
    );
    let reported = report(&image, "d", number("1"));
    assert!(matches!(
        image.apply(&reported, now(0)),
        Err(ImageError::Derived(_))
    ));
    update.point = PointId(9);
    assert_eq!(
        image.apply(&update, now(0)),
        Err(ImageError::Unknown(PointId(9)))
    );
}
