//! Keeps the console's types in step with the wire: they are inferred from what serde really
//! writes for the samples, and compared with `console/src/lib/api.ts`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::frame::{Frame, update};
use crate::sample;

/// Objects that have a name in TypeScript, by the path of one place where they occur.
/// An object that is found elsewhere with the same fields has the same name.
const NAMES: [(&str, &str); 54] = [
    ("Snapshot", "Snapshot"),
    ("Snapshot.tariff", "Tariff"),
    ("Snapshot.stations[]", "Station"),
    ("Snapshot.houses[]", "HouseRow"),
    ("Snapshot.trend[]", "TrendPoint"),
    ("Snapshot.counters", "Counters"),
    ("Snapshot.layers[]", "LayerNode"),
    ("Snapshot.bills[]", "ClosedBill"),
    ("Snapshot.demand_response", "DemandResponse"),
    ("Snapshot.demand_response.baseline", "RunFigures"),
    ("House", "House"),
    ("House.appliances[]", "Appliance"),
    ("House.display[]", "DisplayItem"),
    ("Delta", "Delta"),
    ("MeterView", "MeterView"),
    ("MeterView.last_error", "MeterFault"),
    ("OrderView", "OrderView"),
    ("OrderView.parts[]", "PartView"),
    ("HeadEndView", "HeadEndView"),
    ("HeadEndView.queued_by_lane", "LaneCounts"),
    ("HeadEndView.pushes", "PushesView"),
    ("HeadEndView.read_rate", "ReadRateView"),
    ("SecurityView", "SecurityView"),
    ("SecurityView.trust", "ScoresView"),
    ("SecurityView.verdicts", "VerdictsView"),
    ("SecurityView.steps[]", "StepView"),
    ("SecurityView.steps[].reasons[]", "ReasonCount"),
    ("SecurityView.queue", "QueueView"),
    ("SecurityView.strangers[]", "StrangerView"),
    ("IncidentDetail", "IncidentDetail"),
    ("IncidentDetail.incident", "IncidentView"),
    ("IncidentDetail.incident.subject", "SubjectView"),
    ("IncidentDetail.evidence[]", "EvidenceView"),
    ("IncidentDetail.evidence[].fields[]", "FieldView"),
    ("HeldDetail", "HeldDetail"),
    ("HeldDetail.packet", "HeldView"),
    ("HeldDetail.packet.reasons[]", "ReasonView"),
    ("DecisionView", "DecisionView"),
    ("TrustView", "TrustView"),
    ("CertificatesView", "CertificatesView"),
    ("CertificatesView.certificates[]", "CertificateView"),
    ("Network", "Network"),
    ("Network.buffers[]", "BufferView"),
    ("Network.buffers[].dropped", "BufferDropped"),
    ("Network.buffers[].gaps[]", "BufferGap"),
    ("Network.delay", "DelayView"),
    ("Network.delay.parts[]", "DelayPart"),
    ("Network.topology", "Topology"),
    ("Network.topology.nodes[]", "NetworkNode"),
    ("Network.topology.ways[]", "NetworkWay"),
    ("Network.paths[]", "PathsView"),
    ("Network.failovers[]", "FailoverView"),
    ("PairView", "PairView"),
    ("PairView.edges[]", "PairEdge"),
];

/// Strings that are one of a few words, by the field's name.
const WORDS: [&str; 3] = ["state", "kind", "decision"];

/// Where a field of such a name holds any text: the host's word for a meter's life.
const FREE: [&str; 1] = ["MeterView.state"];

fn is_word(path: &str) -> bool {
    let field = path.rsplit('.').next().unwrap();
    WORDS.contains(&field) && !FREE.contains(&path)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Word(String),
    String,
    Number,
    Boolean,
    Null,
    Object(BTreeMap<String, BTreeSet<Shape>>),
    List(BTreeSet<Shape>),
}

fn shape(path: &str, value: &Value) -> Shape {
    match value {
        Value::Null => Shape::Null,
        Value::Bool(_) => Shape::Boolean,
        Value::Number(_) => Shape::Number,
        Value::String(word) if is_word(path) => Shape::Word(word.clone()),
        Value::String(_) => Shape::String,
        Value::Array(items) => {
            let mut shapes = BTreeSet::new();
            items
                .iter()
                .for_each(|item| add(&mut shapes, shape(path, item)));
            Shape::List(shapes)
        }
        Value::Object(fields) => Shape::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    (
                        name.clone(),
                        BTreeSet::from([shape(&format!("{path}.{name}"), value)]),
                    )
                })
                .collect(),
        ),
    }
}

/// Adds a shape to alternatives; objects and lists grow together.
fn add(shapes: &mut BTreeSet<Shape>, new: Shape) {
    let old = shapes
        .iter()
        .find(|old| std::mem::discriminant(*old) == std::mem::discriminant(&new))
        .cloned();
    let merged = match (old, new) {
        (Some(Shape::Object(old)), Shape::Object(new)) => {
            shapes.remove(&Shape::Object(old.clone()));
            let mut all = old;
            assert!(
                all.keys().eq(new.keys()),
                "optional fields: {all:?} and {new:?}"
            );
            for (name, others) in new {
                let field = all.get_mut(&name).unwrap();
                others.into_iter().for_each(|other| add(field, other));
            }
            Shape::Object(all)
        }
        (Some(Shape::List(old)), Shape::List(new)) => {
            shapes.remove(&Shape::List(old.clone()));
            let mut all = old;
            new.into_iter().for_each(|item| add(&mut all, item));
            Shape::List(all)
        }
        (_, new) => new,
    };
    shapes.insert(merged);
}

fn wire(frame: &Frame<'_>) -> Value {
    serde_json::from_str(&frame.encode()).unwrap()
}

/// Everything that the samples put on the wire, by the name of its TypeScript type.
fn roots() -> BTreeMap<&'static str, Shape> {
    let (full, unknown) = (sample::full(), sample::unknown());
    let mut stepped = full.clone();
    stepped.now = unknown.now;
    let mut other = unknown.clone();
    other.stations.iter_mut().for_each(|it| it.output_w += 1);
    other.layers.iter_mut().for_each(|it| it.detail.clear());
    other.bills.iter_mut().for_each(|it| it.gaps += 1);
    let part = |frame: Frame<'_>, part: &str| wire(&frame)[part].take();
    let mut values = vec![
        ("Snapshot", part(update(None, &full), "snapshot")),
        ("Snapshot", part(update(None, &unknown), "snapshot")),
        ("Delta", part(update(Some(&unknown), &full), "delta")),
        ("Delta", part(update(Some(&full), &unknown), "delta")),
        ("Delta", part(update(Some(&full), &stepped), "delta")),
        ("Delta", part(update(Some(&unknown), &other), "delta")),
    ];
    for house in full.houses.iter().chain(&unknown.houses) {
        let id = &house.row.id;
        let house = Some(house);
        values.push(("House", part(Frame::House { id, house }, "house")));
    }
    let json = |view: Result<Value, serde_json::Error>| view.unwrap();
    for meter in sample::meters() {
        values.push(("MeterView", json(serde_json::to_value(meter))));
    }
    for order in sample::orders() {
        values.push(("OrderView", json(serde_json::to_value(order))));
    }
    for view in sample::headends() {
        values.push(("HeadEndView", json(serde_json::to_value(view))));
    }
    let status = sample::security::status();
    values.push(("SecurityView", json(serde_json::to_value(status))));
    for incident in sample::security::incidents() {
        values.push(("IncidentDetail", json(serde_json::to_value(incident))));
    }
    for packet in sample::security::packets() {
        values.push(("HeldDetail", json(serde_json::to_value(packet))));
    }
    for decision in sample::security::decisions() {
        values.push(("DecisionView", json(serde_json::to_value(decision))));
    }
    for subject in sample::security::trust() {
        values.push(("TrustView", json(serde_json::to_value(subject))));
    }
    let certificates = sample::security::certificates();
    values.push(("CertificatesView", json(serde_json::to_value(certificates))));
    for network in sample::networks() {
        values.push(("Network", json(serde_json::to_value(network))));
    }
    for pair in sample::pairs() {
        values.push(("PairView", json(serde_json::to_value(pair))));
    }
    let mut roots: BTreeMap<&str, BTreeSet<Shape>> = BTreeMap::new();
    for (name, value) in values {
        assert!(value.is_object(), "{name}: {value}");
        add(roots.entry(name).or_default(), shape(name, &value));
    }
    roots
        .into_iter()
        .map(|(name, shapes)| (name, shapes.into_iter().next().unwrap()))
        .collect()
}

/// The object at a path such as `Snapshot.houses[]`.
fn find(roots: &BTreeMap<&'static str, Shape>, path: &str) -> BTreeMap<String, BTreeSet<Shape>> {
    let mut steps = path.split('.');
    let mut at = roots[steps.next().unwrap()].clone();
    for step in steps {
        let Shape::Object(fields) = &at else {
            panic!("{path}: no object above {step}");
        };
        let shapes = &fields[step.trim_end_matches("[]")];
        let found = if step.ends_with("[]") {
            shapes.iter().find_map(|shape| items(shape)?.first())
        } else {
            shapes
                .iter()
                .find(|shape| matches!(shape, Shape::Object(_)))
        };
        at = found
            .unwrap_or_else(|| panic!("{path}: no sample of {step}"))
            .clone();
    }
    let Shape::Object(fields) = at else {
        panic!("{path} is no object");
    };
    fields
}

fn items(shape: &Shape) -> Option<&BTreeSet<Shape>> {
    if let Shape::List(items) = shape {
        Some(items)
    } else {
        None
    }
}

fn type_of(names: &BTreeMap<Vec<String>, &str>, shapes: &BTreeSet<Shape>) -> String {
    let alternatives: Vec<String> = shapes
        .iter()
        .map(|shape| match shape {
            Shape::Word(word) => format!("'{word}'"),
            Shape::String => "string".to_owned(),
            Shape::Number => "number".to_owned(),
            Shape::Boolean => "boolean".to_owned(),
            Shape::Null => "null".to_owned(),
            Shape::List(items) => {
                let item = type_of(names, items);
                if items.len() > 1 {
                    format!("({item})[]")
                } else {
                    format!("{item}[]")
                }
            }
            Shape::Object(fields) => {
                let keys: Vec<String> = fields.keys().cloned().collect();
                names
                    .get(&keys)
                    .unwrap_or_else(|| panic!("name this object in NAMES: {keys:?}"))
                    .to_string()
            }
        })
        .collect();
    alternatives.join(" | ")
}

fn render() -> String {
    let roots = roots();
    let objects = NAMES.map(|(path, name)| (name, find(&roots, path)));
    let names: BTreeMap<Vec<String>, &str> = objects
        .iter()
        .map(|(name, fields)| (fields.keys().cloned().collect(), *name))
        .collect();
    let mut text = String::from(
        "// Generated from crates/web. After a change there:\n\
         // GRIDLOOM_BLESS=1 cargo test -p gridloom-web typescript\n\
         // Money and prices are decimal strings, energy is Wh, power W, times ISO 8601 in UTC.\n",
    );
    for (name, fields) in &objects {
        writeln!(text, "\nexport interface {name} {{").unwrap();
        for (field, shapes) in fields {
            writeln!(text, "  {field}: {};", type_of(&names, shapes)).unwrap();
        }
        text.push_str("}\n");
    }
    text.push_str(
        "\nexport type Frame =\n  \
         | { type: 'snapshot'; snapshot: Snapshot }\n  \
         | { type: 'delta'; delta: Delta }\n  \
         | { type: 'house'; id: string; house: House | null };\n",
    );
    text
}

#[test]
fn typescript_says_what_serde_writes() {
    let path = Path::new("../../console/src/lib/api.ts");
    let rendered = render();
    if std::env::var_os("GRIDLOOM_BLESS").is_some() {
        std::fs::write(path, &rendered).unwrap();
    }
    let stands = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        stands, rendered,
        "run again with GRIDLOOM_BLESS=1 and review the difference"
    );
}
