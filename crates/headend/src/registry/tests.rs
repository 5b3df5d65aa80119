use gridloom_store::{ClientRole, DeviceLink, MemoryOperations, OperationsStore};

use super::*;

const BY: By<'_> = By {
    actor: "anna",
    at: UtcTime::from_secs(1_700_000_000),
};

fn templates() -> Templates {
    let template = MeterTemplate::standard("standard");
    BTreeMap::from([(template.name.clone(), template)])
}

fn row(meter: u32) -> DeviceRow {
    DeviceRow {
        meter: MeterId(meter),
        title: SystemTitle::new(*b"GLM", meter.into()),
        serial: format!("S{meter}"),
        name: format!("House {meter}"),
        state: DeviceState::Enrolled,
        link: DeviceLink {
            transport: Transport::Tcp,
            address: format!("meter-{meter}.example:4059"),
            server: 1,
            physical: 0,
        },
        roles: vec![ClientRole {
            client: 1,
            mechanism: 5,
            suite: Some(0),
        }],
        template: "standard".into(),
        groups: BTreeSet::from(["north".into()]),
        service_point: "SP".into(),
        phases: 1,
        fuse_a: 100,
        voltage_v: 230,
        retired_at: None,
    }
}

#[test]
fn each_fault_of_a_row_is_named_with_its_column() {
    type Case = (fn(&mut DeviceRow), &'static str, &'static str);
    let hdlc: fn(&mut DeviceRow) = |row| {
        row.link.transport = Transport::HdlcTcp;
        row.link.server = 0x4000;
    };
    let cases: [Case; 24] = [
        (|row| row.serial.clear(), "serial", "0 bytes"),
        (|row| row.name = "x".repeat(201), "name", "201 bytes"),
        (|row| row.link.address.clear(), "address", "0 bytes"),
        (|row| row.service_point.clear(), "service_point", "0 bytes"),
        (|row| row.template = "odd".into(), "template", "unknown"),
        (
            |row| row.groups = BTreeSet::from(["a b".into()]),
            "groups",
            "letters",
        ),
        (
            |row| row.groups = (0..33).map(|n| n.to_string()).collect(),
            "groups",
            "33 groups",
        ),
        (|row| row.phases = 0, "phases", "1 to 3"),
        (|row| row.phases = 4, "phases", "1 to 3"),
        (|row| row.fuse_a = 0, "fuse_a", "1 to 6000"),
        (|row| row.voltage_v = 49, "voltage_v", "50 to 1000"),
        (
            |row| row.link.address = "meter".into(),
            "address",
            "host:port",
        ),
        (
            |row| row.link.address = "meter:0".into(),
            "address",
            "host:port",
        ),
        (
            |row| row.link.address = "::1:4059".into(),
            "address",
            "host:port",
        ),
        (|row| row.link.server = 0, "server", "logical device"),
        (
            |row| row.link.physical = 1,
            "physical",
            "only meters on HDLC",
        ),
        (hdlc, "server", "upper HDLC"),
        (
            |row| row.roles[0].mechanism = 3,
            "roles",
            "HLS 2 to 4 are broken",
        ),
        (
            |row| row.roles[0].mechanism = 8,
            "roles",
            "the mechanism is",
        ),
        (|row| row.roles[0].suite = None, "roles", "needs ciphering"),
        (|row| row.roles[0].suite = Some(3), "roles", "suite is 0"),
        (|row| row.roles[0].client = 0, "roles", "no client"),
        (|row| row.roles.push(row.roles[0]), "roles", "twice"),
        (
            |row| row.title = SystemTitle::new(*b"GLM", 1),
            "title",
            "belongs to m1",
        ),
    ];
    let registry = Registry::load(vec![row(1)]);
    for (change, column, text) in cases {
        let mut changed = row(2);
        change(&mut changed);
        let faults = registry.check(&changed, &templates());
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].column(), column);
        assert!(faults[0].to_string().contains(text), "{}", faults[0]);
    }
    for address in ["10.0.0.1:1", "[fe80::1]:4059", "a:65535"] {
        let mut good = row(2);
        good.link.address = address.into();
        assert_eq!(registry.check(&good, &templates()), [], "{address}");
    }
}

#[test]
fn a_meters_life() {
    use DeviceState::{Commissioned, Enrolled, Retired, Suspended};
    let cases = [
        (Enrolled, Commissioned, true),
        (Commissioned, Suspended, true),
        (Commissioned, Enrolled, false),
        (Suspended, Commissioned, true),
        (Suspended, Retired, true),
        (Retired, Commissioned, false),
        (Retired, Enrolled, false),
    ];
    for (from, to, may) in cases {
        let mut held = row(1);
        held.state = from;
        let registry = Registry::load(vec![held]);
        let moved = registry.move_on(MeterId(1), to, &templates(), BY);
        assert_eq!(moved.is_ok(), may, "{from} to {to}");
        // From then on it owes nothing more; its readings until then are billed.
        let Ok(proposal) = moved else { continue };
        let retired_at = (to == Retired).then_some(BY.at);
        assert!(
            proposal.rows.iter().all(|row| row.retired_at == retired_at),
            "{to}"
        );
    }
    let unknown = Registry::default().move_on(MeterId(1), Retired, &templates(), BY);
    assert_eq!(unknown.unwrap_err(), [RowFault::UnknownMeter(MeterId(1))]);
}

#[test]
fn a_proposal_counts_once_it_is_applied_and_agrees_with_the_store() {
    let mut store = MemoryOperations::new();
    let mut registry = Registry::default();
    let mut write = |registry: &mut Registry, row: DeviceRow| {
        let proposal = registry.write(row, &templates(), BY)?;
        let answers = store.commit(std::slice::from_ref(&proposal.batch)).unwrap();
        assert_eq!(answers, [Ok(())]);
        let audit = store.audit_head().unwrap().number;
        registry.apply(proposal);
        Ok::<_, Vec<RowFault>>(audit)
    };
    assert_eq!(write(&mut registry, row(1)), Ok(1));
    assert_eq!(write(&mut registry, row(2)), Ok(2));
    let mut moved = row(2);
    moved.groups = BTreeSet::from(["south".into(), "pilot".into()]);
    moved.title = SystemTitle::new(*b"GLM", 77);
    assert_eq!(write(&mut registry, moved.clone()), Ok(3));

    let groups: Vec<_> = registry.groups().collect();
    assert_eq!(groups, [("north", 1), ("pilot", 1), ("south", 1)]);
    assert_eq!(registry.by_title(moved.title), Some(&moved));
    assert_eq!(registry.by_title(row(2).title), None);
    let members = registry.members(["north", "south", "pilot", "none"]);
    assert_eq!(members, BTreeSet::from([MeterId(1), MeterId(2)]));

    // What a retired meter had is free, and it belongs to no selection.
    let mut gone = row(1);
    gone.state = DeviceState::Retired;
    assert_eq!(write(&mut registry, gone), Ok(4));
    let mut heir = row(3);
    heir.title = row(1).title;
    assert_eq!(write(&mut registry, heir), Ok(5));
    assert_eq!(registry.members(["north"]), BTreeSet::from([MeterId(3)]));
    assert_eq!(registry.next_meter(), MeterId(4));
    let rows: Vec<_> = registry.meters().cloned().collect();
    assert_eq!(store.devices().unwrap(), rows);
}
