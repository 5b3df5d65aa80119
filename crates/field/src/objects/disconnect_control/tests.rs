use super::ControlState::{Connected, Disconnected, ReadyForReconnection};
use super::*;
use crate::objects::retained::assert_survives;

const AT: UtcTime = UtcTime::from_secs(1_000);

fn config(mode: u8) -> DisconnectConfig {
    DisconnectConfig {
        mode,
        reverse_voltage_max_mv: 50_000,
        switch_time: Duration::from_secs(2),
    }
}

fn control(mode: u8, state: ControlState) -> DisconnectControl {
    let mut control = DisconnectControl::new(config(mode));
    control.state = state;
    control.position = state.position();
    control
}

/// Lets the contacts follow and returns the events.
fn settle(control: &mut DisconnectControl) -> Vec<DisconnectEvent> {
    let mut events = Vec::new();
    while let Some(event) = control.poll_event() {
        if let DisconnectEvent::Switch(position) = event {
            control.handle_position(position, AT);
        }
        events.push(event);
    }
    events
}

#[test]
fn every_mode_has_its_transitions() {
    type Try = fn(&mut DisconnectControl, UtcTime) -> Result<(), SwitchRefusal>;
    // The trial, the state before, then the state after in modes 0 to 6; `None` is a refusal.
    let (d, c, r) = (
        Some(Disconnected),
        Some(Connected),
        Some(ReadyForReconnection),
    );
    let cases: [(&str, Try, ControlState, [Option<ControlState>; 7]); 15] = [
        (
            "b",
            DisconnectControl::remote_disconnect,
            Connected,
            [None, d, d, d, d, d, d],
        ),
        (
            "c",
            DisconnectControl::remote_disconnect,
            ReadyForReconnection,
            [None, d, d, d, d, d, d],
        ),
        (
            "-",
            DisconnectControl::remote_disconnect,
            Disconnected,
            [None, d, d, d, d, d, d],
        ),
        (
            "a, d",
            DisconnectControl::remote_reconnect,
            Disconnected,
            [None, r, c, r, c, r, r],
        ),
        (
            "-",
            DisconnectControl::remote_reconnect,
            ReadyForReconnection,
            [None, r, None, r, None, r, r],
        ),
        (
            "-",
            DisconnectControl::remote_reconnect,
            Connected,
            [None, c, c, c, c, c, c],
        ),
        (
            "e",
            DisconnectControl::handle_button,
            ReadyForReconnection,
            [None, c, c, c, c, c, c],
        ),
        (
            "f",
            DisconnectControl::handle_button,
            Connected,
            [None, r, r, None, None, r, None],
        ),
        (
            "-",
            DisconnectControl::handle_button,
            Disconnected,
            [None; 7],
        ),
        (
            "g",
            DisconnectControl::local_disconnect,
            Connected,
            [None, r, r, r, r, r, r],
        ),
        (
            "-",
            DisconnectControl::local_disconnect,
            Disconnected,
            [None, d, d, d, d, d, d],
        ),
        (
            "-",
            DisconnectControl::local_disconnect,
            ReadyForReconnection,
            [None, r, r, r, r, r, r],
        ),
        (
            "h",
            DisconnectControl::local_reconnect,
            ReadyForReconnection,
            [None, None, None, None, None, c, c],
        ),
        (
            "-",
            DisconnectControl::local_reconnect,
            Disconnected,
            [None; 7],
        ),
        ("-", DisconnectControl::local_reconnect, Connected, [c; 7]),
    ];
    for (name, attempt, from, after) in cases {
        for (mode, expected) in (0_u8..).zip(after) {
            let mut control = control(mode, from);
            let done = attempt(&mut control, AT);
            settle(&mut control);
            let case = format!("{name} in mode {mode} from {from:?}");
            assert_eq!(done.is_ok(), expected.is_some(), "{case}");
            assert_eq!(control.state(), expected.unwrap_or(from), "{case}");
            assert_eq!(control.position(), control.state().position(), "{case}");
        }
    }
}

#[test]
fn a_fed_output_is_not_closed() {
    let refused = SwitchRefusal::ReverseVoltage { millivolts: 50_001 };
    let mut open = control(2, Disconnected);
    open.handle_load_side_voltage(50_001);
    assert_eq!(open.remote_reconnect(AT), Err(refused));
    assert_eq!(
        open.invoke(2, Some(&Data::Integer(0)), AT),
        Err(ActionResult::TemporaryFailure)
    );
    assert_eq!(open.state(), Disconnected);
    // Setting mode 0 would close it as well.
    assert_eq!(
        open.set(4, &Data::Enum(0), AT),
        Err(DataAccessResult::TemporaryFailure)
    );
    assert_eq!(open.mode(), 2);
    let events = settle(&mut open);
    assert!(
        events
            .iter()
            .all(|event| matches!(event, DisconnectEvent::ReverseVoltage { .. })),
        "{events:?}"
    );
    assert_eq!(events.len(), 3);
    open.handle_load_side_voltage(50_000);
    assert_eq!(open.remote_reconnect(AT), Ok(()));
    assert_eq!(
        settle(&mut open),
        [
            DisconnectEvent::Changed {
                from: Disconnected,
                to: Connected,
                cause: Cause::Remote
            },
            DisconnectEvent::Switch(SwitchPosition::Closed)
        ]
    );
}

#[test]
fn becoming_ready_moves_no_contact() {
    let mut open = control(1, Disconnected);
    assert_eq!(open.remote_reconnect(AT), Ok(()));
    assert_eq!(settle(&mut open).len(), 1);
    assert_eq!(open.wake(), None);
}

#[test]
fn contacts_that_do_not_follow_are_reported_once() {
    let mut control = control(1, Connected);
    control.remote_disconnect(AT).unwrap();
    while control.poll_event().is_some() {}
    let due = AT + Duration::from_secs(2);
    assert_eq!(control.wake(), Some((due, "load switch follows")));
    assert_eq!(control.get(2, AT), Ok(Data::Boolean(true)));
    control.handle_timeout(AT + Duration::from_millis(1_999));
    assert_eq!(control.poll_event(), None);
    control.handle_timeout(due);
    let failed = DisconnectEvent::Failed {
        wanted: SwitchPosition::Open,
    };
    assert_eq!(control.poll_event(), Some(failed));
    control.handle_timeout(due);
    assert_eq!((control.poll_event(), control.wake()), (None, None));
    control.handle_position(SwitchPosition::Open, due);
    // Later they weld shut.
    control.handle_position(SwitchPosition::Closed, due);
    assert_eq!(control.poll_event(), Some(failed));
    assert_eq!(
        control.poll_event(),
        Some(DisconnectEvent::Switch(SwitchPosition::Open))
    );
}

#[test]
fn what_a_client_may_write() {
    let mut control = control(1, Disconnected);
    let cases = [
        (4, Data::Enum(7), Err(DataAccessResult::OtherReason)),
        (4, Data::Unsigned(1), Err(DataAccessResult::TypeUnmatched)),
        (3, Data::Enum(1), Err(DataAccessResult::ReadWriteDenied)),
        (5, Data::Enum(1), Err(DataAccessResult::ObjectUndefined)),
        (4, Data::Enum(6), Ok(())),
        (4, Data::Enum(0), Ok(())),
    ];
    for (attribute, value, expected) in cases {
        assert_eq!(control.set(attribute, &value, AT), expected, "{value:?}");
    }
    settle(&mut control);
    assert_eq!(control.get(2, AT), Ok(Data::Boolean(true)));
    assert_eq!(control.get(3, AT), Ok(Data::Enum(1)));
    assert_eq!(
        control.invoke(1, None, AT),
        Err(ActionResult::OtherReason),
        "mode 0 never disconnects"
    );
}

#[test]
fn it_survives_and_drives_again_what_had_not_followed() {
    for (mode, state) in [(0, Connected), (4, Disconnected), (6, ReadyForReconnection)] {
        assert_survives(&control(mode, state), DisconnectControl::encode, |bytes| {
            DisconnectControl::decode(config(1), bytes, AT).map(|mut c| {
                c.config.mode = mode;
                c
            })
        });
    }
    let mut control = control(1, Connected);
    control.remote_disconnect(AT).unwrap();
    let mut bytes = Vec::new();
    control.encode(&mut bytes);
    let mut restarted = DisconnectControl::decode(config(1), &bytes, AT).unwrap();
    assert_eq!(
        settle(&mut restarted),
        [DisconnectEvent::Switch(SwitchPosition::Open)]
    );
    for impossible in [[1, 7, 1, 1], [1, 1, 3, 1], [1, 0, 0, 0], [1, 1, 1, 2]] {
        assert!(matches!(
            DisconnectControl::decode(config(1), &impossible, AT),
            Err(RetainedError::Value { .. })
        ));
    }
}
