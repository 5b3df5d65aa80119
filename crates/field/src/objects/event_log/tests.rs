use gridloom_dlms::selection::{EntryDescriptor, RangeDescriptor};

use super::*;
use crate::objects::retained::assert_survives;

const VOLTAGE: CaptureObject = CaptureObject {
    class_id: 3,
    instance: ObisCode([1, 0, 12, 7, 0, 255]),
    attribute: 2,
    data_index: 0,
};
const CODE: ObisCode = ObisCode([0, 0, 96, 11, 0, 255]);

fn config(when_full: WhenFull) -> Arc<EventLogConfig> {
    Arc::new(EventLogConfig {
        code: CODE,
        code_type: CodeType::LongUnsigned,
        captures: vec![VOLTAGE],
        entries: 4,
        when_full,
    })
}

fn at(second: i64) -> UtcTime {
    UtcTime::from_secs(1_700_000_000 + second)
}

/// Events 1, 2, … `count`, one every ten seconds.
fn log(count: u16, when_full: WhenFull) -> EventLog {
    let mut log = EventLog::new(config(when_full));
    for code in 1..=count {
        let voltage = Data::LongUnsigned(2_300 + code);
        log.handle_event(code, vec![voltage], at(i64::from(code) * 10));
    }
    log
}

fn codes(buffer: &Data) -> Vec<u16> {
    shape::array(buffer, 99)
        .unwrap()
        .iter()
        .map(|row| {
            let [_, code, _] = shape::structure::<3>(row).unwrap();
            shape::long_unsigned(code).unwrap()
        })
        .collect()
}

#[test]
fn a_full_log_rolls_over_or_keeps() {
    let cases = [
        (3, WhenFull::Rollover, vec![1, 2, 3]),
        (6, WhenFull::Rollover, vec![3, 4, 5, 6]),
        (6, WhenFull::Keep, vec![1, 2, 3, 4]),
    ];
    for (count, when_full, expected) in cases {
        let log = log(count, when_full);
        assert_eq!(codes(&log.buffer(None, &UtcDial).unwrap()), expected);
        assert_eq!(log.occurred(), u64::from(count));
        assert_eq!(
            log.last_code(),
            Data::LongUnsigned(expected[expected.len() - 1])
        );
    }
}

#[test]
fn ranges_include_their_ends() {
    let log = log(4, WhenFull::Rollover);
    let open = CosemDateTime::from_bytes([0xFF; 12]);
    let time = |second| shape::date_time_value(UtcDial.write(at(second)));
    // The deviation left open means the same time.
    let undeviated = |second| {
        let mut time = UtcDial.write(at(second));
        time.deviation = CosemDateTime::DEVIATION_OPEN;
        shape::date_time_value(time)
    };
    let open = shape::date_time_value(open);
    let cases = [
        (time(20), time(30), vec![2, 3]),
        (undeviated(20), undeviated(30), vec![2, 3]),
        (time(21), time(30), vec![3]),
        (time(31), time(39), vec![]),
        (open.clone(), time(20), vec![1, 2]),
        (time(30), open, vec![3, 4]),
    ];
    for (from, to, expected) in cases {
        let range = RangeDescriptor {
            restricting: CaptureObject::CLOCK,
            from,
            to,
            selected: vec![],
        };
        let buffer = log.buffer(Some(&range.to_access()), &UtcDial).unwrap();
        assert_eq!(codes(&buffer), expected);
    }
}

#[test]
fn a_range_may_choose_columns_and_codes() {
    let log = log(4, WhenFull::Rollover);
    let code_column = log.columns()[1];
    let range = |restricting, from, to, selected| {
        RangeDescriptor {
            restricting,
            from,
            to,
            selected,
        }
        .to_access()
    };
    let chosen = range(
        code_column,
        Data::LongUnsigned(2),
        Data::LongUnsigned(2),
        vec![VOLTAGE, code_column],
    );
    assert_eq!(
        log.buffer(Some(&chosen), &UtcDial),
        Ok(Data::Array(vec![Data::Structure(vec![
            Data::LongUnsigned(2_302),
            Data::LongUnsigned(2)
        ])]))
    );
    let unordered = range(
        VOLTAGE,
        Data::LongUnsigned(1),
        Data::LongUnsigned(2),
        vec![],
    );
    assert_eq!(
        log.buffer(Some(&unordered), &UtcDial),
        Err(DataAccessResult::ScopeOfAccessViolated)
    );
    let badly_typed = range(CaptureObject::CLOCK, Data::Null, Data::Null, vec![]);
    assert_eq!(
        log.buffer(Some(&badly_typed), &UtcDial),
        Err(DataAccessResult::TypeUnmatched)
    );
}

#[test]
fn entries_and_columns_count_from_one() {
    let log = log(4, WhenFull::Rollover);
    let refused = Err(DataAccessResult::ScopeOfAccessViolated);
    let cases = [
        ((1, 0, 1, 0), Ok(vec![1, 2, 3, 4])),
        ((2, 3, 1, 3), Ok(vec![2, 3])),
        ((4, 9, 1, 0), Ok(vec![4])),
        ((5, 0, 1, 0), Ok(vec![])),
        ((0, 0, 0, 0), Ok(vec![1, 2, 3, 4])),
        ((1, 0, 1, 4), Ok(vec![1, 2, 3, 4])),
        ((1, 0, 3, 2), refused),
    ];
    for ((from, to, from_column, to_column), expected) in cases {
        let access = EntryDescriptor {
            from,
            to,
            from_column,
            to_column,
        }
        .to_access();
        let read = log
            .buffer(Some(&access), &UtcDial)
            .map(|buffer| codes(&buffer));
        assert_eq!(read, expected, "{from}..{to}");
    }
    let column = EntryDescriptor {
        from: 1,
        to: 1,
        from_column: 2,
        to_column: 2,
    };
    assert_eq!(
        log.buffer(Some(&column.to_access()), &UtcDial),
        Ok(Data::Array(vec![Data::Structure(vec![
            Data::LongUnsigned(1)
        ])]))
    );
}

#[test]
fn it_describes_itself_and_can_be_cleared() {
    let mut full = log(4, WhenFull::Rollover);
    assert_eq!(full.get(7, at(0)), Ok(Data::DoubleLongUnsigned(4)));
    assert_eq!(full.get(8, at(0)), Ok(Data::DoubleLongUnsigned(4)));
    assert_eq!(full.get(4, at(0)), Ok(Data::DoubleLongUnsigned(0)));
    let columns = full.get(3, at(0)).unwrap();
    assert_eq!(shape::array(&columns, 9).map(<[_]>::len), Ok(3));
    assert_eq!(full.invoke(1, Some(&Data::Integer(0)), at(0)), Ok(None));
    assert_eq!(full.get(7, at(0)), Ok(Data::DoubleLongUnsigned(0)));
    assert_eq!(full.occurred(), 4);
    let mut kept = log(4, WhenFull::Keep);
    assert_eq!(
        kept.invoke(1, None, at(0)),
        Err(ActionResult::ReadWriteDenied)
    );
}

#[test]
fn it_survives() {
    let config = config(WhenFull::Rollover);
    assert_survives(&log(6, WhenFull::Rollover), EventLog::encode, |bytes| {
        EventLog::decode(Arc::clone(&config), bytes)
    });
}

#[test]
fn captured_values_that_nobody_wrote_are_refused() {
    let config = config(WhenFull::Rollover);
    let mut bytes = Vec::new();
    log(1, WhenFull::Rollover).encode(&mut bytes);
    // The value is the last three bytes: a tag and two of content.
    for (place, byte) in [(3, 0x08), (3, 0x11), (3, 0x05)] {
        let mut bent = bytes.clone();
        let place = bent.len() - place;
        bent[place] = byte;
        assert!(matches!(
            EventLog::decode(Arc::clone(&config), &bent),
            Err(RetainedError::Value { .. })
        ));
    }
    // More entries than the log has.
    let five = Arc::new(EventLogConfig {
        entries: 5,
        ..(*config).clone()
    });
    let mut larger = EventLog::new(Arc::clone(&five));
    for code in 1..=5 {
        larger.handle_event(code, vec![Data::Null], at(0));
    }
    let mut bytes = Vec::new();
    larger.encode(&mut bytes);
    assert!(EventLog::decode(five, &bytes).is_ok());
    assert!(EventLog::decode(config, &bytes).is_err());
}
