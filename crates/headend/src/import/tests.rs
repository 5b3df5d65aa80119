use gridloom_core::UtcTime;
use gridloom_store::{MemoryOperations, OperationsStore};

use super::*;
use crate::template::MeterTemplate;
use crate::vault::{LocalMasterKeys, MasterKey};

const BY: By<'_> = By {
    actor: "anna",
    at: UtcTime::from_secs(1_700_000_000),
};
const OWN: SystemTitle = SystemTitle(*b"GLH00001");

const GOOD: &str = "\
title,serial,name,transport,address,server,physical,roles,template,groups,service_point,phases,fuse_a,voltage_v,guek,gbek,gak,lls,counter
474C4D0000000001,S1,\"House 1, left\",tcp,10.0.0.1:4059,1,,16:none 17:lls 1:hls5/0,standard,north pilot,SP 1,3,35,240,000102030405060708090A0B0C0D0E0F,A0A1A2A3A4A5A6A7A8A9AAABACADAEAF,D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF,secret,77
474C4D0000000002,S2,House 2,hdlc-tcp,10.0.0.2:4060,1,17,,standard,,SP 2,,,,,,,,
";

fn templates() -> Templates {
    let mut template = MeterTemplate::standard("standard");
    (template.phases, template.fuse_a) = (2, 63);
    BTreeMap::from([(template.name.clone(), template)])
}

fn vault() -> (Vault, Vec<Change>) {
    let wrapper = LocalMasterKeys::single(MasterKey::Aes256([9; 32]));
    Vault::open(Box::new(wrapper), &[], &[], BY.at).unwrap()
}

fn parse(text: &str, registry: &Registry, on_fault: OnFault) -> Result<Import, Faults> {
    Import::parse(text, registry, &templates(), on_fault)
}

/// Imports into a store and a registry.
fn import(text: &str) -> (MemoryOperations, Registry) {
    let mut store = MemoryOperations::new();
    let mut registry = Registry::default();
    let import = parse(text, &registry, OnFault::RefuseAll).unwrap();
    let proposal = import
        .propose(&mut vault().0, OWN, &mut KeyId(1), BY)
        .unwrap();
    let answers = store.commit(std::slice::from_ref(&proposal.batch)).unwrap();
    assert_eq!(answers, [Ok(())]);
    registry.apply(proposal);
    (store, registry)
}

#[test]
fn a_file_becomes_meters_keys_and_one_audit_record() {
    let (store, registry) = import(GOOD);
    let rows = store.devices().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(registry.meters().eq(&rows));
    let first = &rows[0];
    assert_eq!(first.meter, MeterId(1));
    assert_eq!(first.name, "House 1, left");
    assert_eq!(first.roles.len(), 3);
    assert_eq!(first.link.endpoint(), "tcp:10.0.0.1:4059/1/0");
    assert_eq!(rows[1].link.endpoint(), "hdlc-tcp:10.0.0.2:4060/1/17");
    let service = |row: &DeviceRow| (row.phases, row.fuse_a, row.voltage_v);
    assert_eq!(service(first), (3, 35, 240));
    // What a row leaves empty is as its template says.
    assert_eq!(service(&rows[1]), (2, 63, 230));

    let keys = store.keys(None).unwrap();
    let kinds: Vec<_> = keys.iter().map(|row| (row.kind, row.client)).collect();
    assert_eq!(
        kinds,
        [
            (KeyKind::UnicastEncryption, 0),
            (KeyKind::BroadcastEncryption, 0),
            (KeyKind::Authentication, 0),
            (KeyKind::LowLevelSecret, 17)
        ]
    );
    let secret = vault().0.unseal(&keys[3]).unwrap();
    assert_eq!(secret, Secret::new(b"secret"));
    let counters = store.counters(None).unwrap();
    assert_eq!((counters[0].key, counters[0].value), (keys[0].key, 77));

    let log = store.audit_log(0, 10).unwrap();
    assert_eq!(log.len(), 1);
    let record = AuditRecord::decode(&log[0].record).unwrap();
    assert_eq!(record.after, "2 meters, 4 keys, 0 faults");
}

#[test]
fn what_is_exported_imports_as_no_change() {
    let (_, registry) = import(GOOD);
    let text = export(registry.meters());
    for secret in ["000102", "D0D1", "secret", "guek"] {
        assert!(!text.contains(secret), "{text}");
    }
    let again = parse(&text, &registry, OnFault::RefuseAll).unwrap();
    assert!(again.rows().eq(registry.meters()));
    // Into an empty registry as well: the numbers stay.
    let elsewhere = parse(&text, &Registry::default(), OnFault::RefuseAll).unwrap();
    assert!(elsewhere.rows().eq(registry.meters()));
}

#[test]
fn an_empty_cell_of_a_known_meter_leaves_it_as_it_is() {
    let (_, registry) = import(GOOD);
    let text = "meter,title,serial,name,transport,address,template,service_point,groups\n\
                1,,,New name,,,,,south\n";
    let changed = parse(text, &registry, OnFault::RefuseAll).unwrap();
    let mut expected = registry.meter(MeterId(1)).unwrap().clone();
    expected.name = "New name".into();
    expected.groups = BTreeSet::from(["south".into()]);
    assert!(changed.rows().eq([&expected]));
}

#[test]
fn every_fault_is_listed_by_line_and_column() {
    let (_, registry) = import(GOOD);
    let header = "title,serial,name,transport,address,template,service_point,phases,fuse_a,voltage_v,roles,guek,hls";
    let text = format!(
        "{header}\n\
         474C4D00000000,S9,n,tcp,10.0.0.9:1,standard,s,1,x,,,,\n\
         474C4D0000000008,S8,n,pigeon,10.0.0.8:1,standard,s,4,0,1001,,00FFx,\n\
         474C4D0000000001,S2,n,tcp,10.0.0.1:4059,odd,s,1,,,1=hls5,,\n\
         474C4D0000000007,S8,n,tcp,10.0.0.7:1,standard,s,1,,,1:hls5/0,,AA\n\
         474C4D0000000006,S6,\"n\nm\",tcp,10.0.0.7:1,standard,,1,,,,,\n\
         474C4D0000000005,S5\n\
         474C4D0000000004,S4,n,tcp,nowhere,standard,s,x,,,,,\n"
    );
    let faults = parse(&text, &registry, OnFault::RefuseAll).unwrap_err();
    let found: Vec<_> = faults
        .listed
        .iter()
        .map(|fault| (fault.line, fault.column.as_str()))
        .collect();
    let expected = [
        (7 + 1, "file"),
        (2, "title"),
        (2, "fuse_a"),
        (3, "transport"),
        (3, "guek"),
        (3, "phases"),
        (3, "fuse_a"),
        (3, "voltage_v"),
        (4, "roles"),
        (4, "template"),
        (4, "title"),
        (4, "serial"),
        (4, "address"),
        (5, "hls"),
        (5, "serial"),
        (6, "service_point"),
        (6, "address"),
        (9, "phases"),
        (9, "address"),
    ];
    let (mut found_sorted, mut expected_sorted) = (found.clone(), expected.to_vec());
    found_sorted.sort_unstable();
    expected_sorted.sort_unstable();
    assert_eq!(found_sorted, expected_sorted, "{:#?}", faults.listed);
    assert!(found.is_sorted_by_key(|(line, _)| *line), "{found:?}");
    let text = faults.listed.iter().map(Fault::to_string);
    let text: Vec<_> = text.collect();
    assert!(!text.concat().contains("00FFx"), "a secret is repeated");
    assert!(text.iter().any(|fault| fault.contains("line 3 already")));
}

#[test]
fn a_partial_import_takes_the_good_rows() {
    let text = format!("{GOOD}474C4D0000000001,S3,x,tcp,10.0.0.3:1,1,,,standard,,s,1,,,,,,,\n");
    let registry = Registry::default();
    let faults = parse(&text, &registry, OnFault::RefuseAll).unwrap_err();
    assert_eq!(faults.listed.len(), 1);
    assert_eq!(
        faults.listed[0].to_string(),
        "line 4, column title: system title 474C4D0000000001 stands in line 2 already"
    );
    let import = parse(&text, &registry, OnFault::SkipRow).unwrap();
    assert_eq!(import.rows().count(), 2);
    assert_eq!(import.faults, faults);
}

#[test]
fn files_that_are_no_meters() {
    let header = "title,serial,name,transport,address,template,service_point";
    let long = "x".repeat(FILE_BYTES_MAX + 1);
    let rows = format!("{header}\n{}", "1,2,3,4,5,6,7\n".repeat(ROWS_MAX + 1));
    let cases = [
        ("", "it is empty"),
        (header, "no row"),
        ("title\nx", "the column is missing"),
        (&format!("{header},colour\n"), "there is no such column"),
        (&format!("{header},title\n"), "twice"),
        (&format!("{header}\n\"x"), "never ends"),
        (&long, "import in parts"),
        (&rows, "import in parts"),
    ];
    for (text, problem) in cases {
        let faults = parse(text, &Registry::default(), OnFault::SkipRow).unwrap_err();
        let all: Vec<_> = faults.listed.iter().map(Fault::to_string).collect();
        assert!(all.join("\n").contains(problem), "{all:?}");
    }
}

#[test]
fn endless_faults_are_counted() {
    let header = "title,serial,name,transport,address,template,service_point";
    let text = format!("{header}\n{}", "?,,,,,,\n".repeat(400));
    let faults = parse(&text, &Registry::default(), OnFault::RefuseAll).unwrap_err();
    assert_eq!(faults.listed.len(), FAULTS_MAX);
    assert!(faults.unlisted > 400);
}
