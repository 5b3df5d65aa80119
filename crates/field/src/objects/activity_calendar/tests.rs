use gridloom_core::ObisCode;

use super::*;
use crate::objects::recurrence::DatePattern;
use crate::objects::retained::assert_survives;

const fn tariff(selector: u16) -> ScriptName {
    ScriptName {
        table: ObisCode([0, 0, 10, 0, 100, 255]),
        selector,
    }
}

fn day(id: u8, actions: &[(u32, u16)]) -> PlannedDay {
    PlannedDay {
        id,
        actions: actions
            .iter()
            .map(|(hour, selector)| PlannedAction {
                start: hour * 3_600,
                script: tariff(*selector),
            })
            .collect(),
    }
}

fn season(name: &[u8], month: u8, day: u8, week: &[u8]) -> Season {
    Season {
        name: name.to_vec(),
        start: CosemDateTime::from_bytes([0xFF, 0xFF, month, day, 0xFF, 0, 0, 0, 0, 0x80, 0, 0xFF]),
        week: week.to_vec(),
    }
}

/// Summer from 1 April, winter from 1 October. On summer workdays tariff 1 holds from 6, 2 from
/// 18, 3 from 22; on summer weekends nothing happens before noon; in winter tariff 4 all day.
fn plan() -> Plan {
    Plan {
        name: b"2026".to_vec(),
        seasons: vec![
            season(b"S", 4, 1, b"summer"),
            season(b"W", 10, 1, b"winter"),
        ],
        weeks: vec![
            Week {
                name: b"summer".to_vec(),
                days: [1, 1, 1, 1, 1, 2, 2],
            },
            Week {
                name: b"winter".to_vec(),
                days: [3; 7],
            },
        ],
        days: vec![
            day(1, &[(22, 3), (6, 1), (18, 2)]),
            day(2, &[(12, 5)]),
            day(3, &[(0, 4)]),
            day(9, &[(0, 9)]),
        ],
    }
}

fn at(text: &str) -> UtcTime {
    UtcTime::parse(text).unwrap()
}

#[test]
fn the_script_follows_season_week_and_day() {
    let calendar = ActivityCalendar::new(plan());
    let mut special = SpecialDays::new();
    let holiday = Data::Array(vec![
        Data::Structure(vec![
            Data::LongUnsigned(1),
            Data::OctetString(
                DatePattern::from_bytes([0xFF, 0xFF, 8, 15, 0xFF])
                    .unwrap()
                    .to_bytes()
                    .to_vec(),
            ),
            Data::Unsigned(9),
        ]),
        // A day profile that the calendar does not have.
        Data::Structure(vec![
            Data::LongUnsigned(2),
            Data::OctetString(vec![0xFF, 0xFF, 8, 18, 0xFF]),
            Data::Unsigned(77),
        ]),
    ]);
    special
        .set(2, &holiday, at("2026-01-01T00:00:00Z"))
        .unwrap();
    // When, the tariff, since when, the next change.
    let cases = [
        // Thursday in summer.
        (
            "2026-08-13T05:59:59Z",
            3,
            "2026-08-12T22:00:00Z",
            "2026-08-13T06:00:00Z",
        ),
        (
            "2026-08-13T06:00:00Z",
            1,
            "2026-08-13T06:00:00Z",
            "2026-08-13T18:00:00Z",
        ),
        (
            "2026-08-13T21:00:00Z",
            2,
            "2026-08-13T18:00:00Z",
            "2026-08-13T22:00:00Z",
        ),
        (
            "2026-08-13T23:00:00Z",
            3,
            "2026-08-13T22:00:00Z",
            "2026-08-14T00:00:00Z",
        ),
        // Saturday the 15th is special, Sunday is not.
        (
            "2026-08-15T11:00:00Z",
            9,
            "2026-08-15T00:00:00Z",
            "2026-08-16T00:00:00Z",
        ),
        (
            "2026-08-16T11:00:00Z",
            9,
            "2026-08-15T00:00:00Z",
            "2026-08-16T12:00:00Z",
        ),
        (
            "2026-08-16T13:00:00Z",
            5,
            "2026-08-16T12:00:00Z",
            "2026-08-17T00:00:00Z",
        ),
        (
            "2026-08-18T07:00:00Z",
            1,
            "2026-08-18T06:00:00Z",
            "2026-08-18T18:00:00Z",
        ),
        // Winter holds over the new year until April.
        (
            "2026-10-01T00:00:00Z",
            4,
            "2026-10-01T00:00:00Z",
            "2026-10-02T00:00:00Z",
        ),
        (
            "2027-01-31T12:00:00Z",
            4,
            "2027-01-31T00:00:00Z",
            "2027-02-01T00:00:00Z",
        ),
        (
            "2027-03-31T23:59:59Z",
            4,
            "2027-03-31T00:00:00Z",
            "2027-04-01T00:00:00Z",
        ),
        (
            "2027-04-01T06:00:00Z",
            1,
            "2027-04-01T06:00:00Z",
            "2027-04-01T18:00:00Z",
        ),
    ];
    for (time, selector, since, next) in cases {
        assert_eq!(
            calendar.script_at(at(time), &special),
            Some((at(since), tariff(selector))),
            "{time}"
        );
        assert_eq!(
            calendar.wake(at(time), &special),
            Some((at(next), "tariff change")),
            "{time}"
        );
    }
    let empty = ActivityCalendar::new(Plan::default());
    assert_eq!(empty.script_at(at("2026-08-13T06:00:00Z"), &special), None);
    assert_eq!(empty.wake(at("2026-08-13T06:00:00Z"), &special), None);
}

#[test]
fn a_script_runs_once_for_each_change() {
    let mut calendar = ActivityCalendar::new(plan());
    let special = SpecialDays::new();
    for time in ["05:00:00", "06:00:00", "07:00:00", "20:00:00"] {
        calendar.handle_time(at(&format!("2026-08-13T{time}Z")), &special);
    }
    let ran: Vec<_> = std::iter::from_fn(|| calendar.poll_event()).collect();
    let execute = |time, selector| CalendarEvent::Execute {
        at: at(time),
        script: tariff(selector),
    };
    assert_eq!(
        ran,
        [
            execute("2026-08-12T22:00:00Z", 3),
            execute("2026-08-13T06:00:00Z", 1),
            execute("2026-08-13T18:00:00Z", 2),
        ]
    );
}

#[test]
fn the_passive_calendar_takes_over_at_its_time_or_when_asked() {
    let special = SpecialDays::new();
    let source = ActivityCalendar::new(plan());
    let start = at("2026-08-13T12:00:00Z");
    let due = at("2026-09-01T00:00:00Z");
    let prepared = || {
        let mut calendar = ActivityCalendar::new(Plan::default());
        for attribute in 2..=5 {
            let value = source.get(attribute, start).unwrap();
            assert_eq!(
                calendar.set(attribute, &value, start),
                Err(DataAccessResult::ReadWriteDenied)
            );
            assert_eq!(calendar.set(attribute + 4, &value, start), Ok(()));
            assert_eq!(calendar.get(attribute + 4, start), Ok(value));
        }
        assert_eq!(calendar.events.len(), 4);
        calendar.events.clear();
        calendar
    };
    let mut calendar = prepared();
    let activation = shape::date_time_value(CosemDateTime::from_utc(due).unwrap());
    assert_eq!(calendar.set(10, &activation, start), Ok(()));
    assert_eq!(
        calendar.wake(start, &special),
        Some((due, "passive calendar"))
    );
    calendar.handle_time(at("2026-08-31T23:59:59Z"), &special);
    assert_eq!(calendar.poll_event(), None);
    calendar.handle_time(at("2026-09-01T07:00:00Z"), &special);
    assert_eq!(
        calendar.poll_event(),
        Some(CalendarEvent::Activated { at: due })
    );
    assert!(matches!(
        calendar.poll_event(),
        Some(CalendarEvent::Execute { .. })
    ));
    assert_eq!(calendar.get(5, due), source.get(5, due));
    assert_eq!(calendar.get(10, due), Ok(shape::date_time_value(NEVER)));

    let mut calendar = prepared();
    assert_eq!(calendar.invoke(1, Some(&Data::Integer(0)), start), Ok(None));
    assert_eq!(
        calendar.poll_event(),
        Some(CalendarEvent::Activated { at: start })
    );
    // What does not fit together is not activated, neither now nor later.
    let mut calendar = ActivityCalendar::new(plan());
    assert_eq!(
        calendar.invoke(1, None, start),
        Err(ActionResult::OtherReason),
        "empty"
    );
    calendar
        .set(8, &source.get(4, start).unwrap(), start)
        .unwrap();
    assert_eq!(
        calendar.invoke(1, None, start),
        Err(ActionResult::OtherReason),
        "weeks without days"
    );
    calendar.set(10, &activation, start).unwrap();
    calendar.handle_time(due, &special);
    assert_eq!(calendar.active, plan());
}

#[test]
fn what_is_no_plan_is_refused() {
    let mut calendar = ActivityCalendar::new(plan());
    let start = at("2026-08-13T12:00:00Z");
    let (other, wrong) = (
        DataAccessResult::OtherReason,
        DataAccessResult::TypeUnmatched,
    );
    let cases = [
        (6, Data::OctetString(vec![0; CALENDAR_NAME_MAX + 1]), other),
        (6, Data::Null, wrong),
        (
            7,
            Data::Array(vec![season(b"x", 13, 1, b"x").value()]),
            other,
        ),
        (8, Data::Array(vec![Data::Structure(vec![])]), wrong),
        (
            9,
            Data::Array(vec![Data::Structure(vec![
                Data::Unsigned(1),
                Data::Array(vec![Data::Structure(vec![
                    Data::OctetString(vec![24, 0, 0, 0]),
                    shape::name_value(tariff(1).table),
                    Data::LongUnsigned(1),
                ])]),
            ])]),
            other,
        ),
        (11, Data::Null, DataAccessResult::ObjectUndefined),
    ];
    for (attribute, value, expected) in cases {
        assert_eq!(calendar.set(attribute, &value, start), Err(expected));
    }
}

#[test]
fn it_survives() {
    let mut calendar = ActivityCalendar::new(plan());
    calendar.handle_time(at("2026-08-13T12:00:00Z"), &SpecialDays::new());
    calendar.events.clear();
    calendar.passive.name = b"next".to_vec();
    assert_survives(
        &calendar,
        ActivityCalendar::encode,
        ActivityCalendar::decode,
    );
}
