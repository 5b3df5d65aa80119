//! What an edge's node says, as the API shows it.

use gridloom_core::{Period, ReadingStatus};
use gridloom_dlms::security::{CipheredApdu, SecurityControl};
use gridloom_edge::{
    DeviceTrust, Edge, Evidence, Held, HeldState as Standing, Imbalance, ImbalanceKind, Incident,
    IncidentKind as Kind, PacketId, Path, Quarantine, Reason, Scores, ScreeningSettings, Step,
    Subject, TrustPage as Devices,
};
use gridloom_nodes::EdgeNode;
use gridloom_web::{
    EvidenceKind, EvidenceView, FieldView, HeldDetail, HeldState, HeldView, IncidentDetail,
    IncidentKind, IncidentView, QueuePage, QueueView, ReasonCount, ReasonView, ScoresView,
    SecurityView, StepView, StrangerView, SubjectKind, SubjectView, TrustKind, TrustPage,
    TrustView, VerdictsView,
};

use crate::hex;

pub(super) fn status(node: &EdgeNode, name: String, settings: &ScreeningSettings) -> SecurityView {
    let (edge, status) = (node.edge(), node.status());
    let steps = status
        .reasons
        .by_step()
        .into_iter()
        .map(|(step, mut found)| {
            found.sort_by_key(|(reason, count)| (u64::MAX - count, *reason));
            StepView {
                step: step.name().to_owned(),
                total: status.reasons.of_step(step),
                reasons: found.into_iter().map(reason_count).collect(),
            }
        });
    let queue = status.quarantine;
    SecurityView {
        edge: name,
        registered: wide(status.registered),
        heard: wide(status.heard),
        accepted: status.accepted,
        threshold: settings.threshold,
        behaviour_floor: settings.behaviour_floor,
        trust: scores(status.trust),
        verdicts: VerdictsView {
            forwarded: status.verdicts.forwarded,
            quarantined: status.verdicts.quarantined,
            dropped: status.verdicts.dropped,
        },
        steps: steps.collect(),
        queue: QueueView {
            packets: narrow(queue.packets),
            packets_max: narrow(Quarantine::PACKETS_MAX),
            bytes: wide(queue.bytes),
            bytes_max: wide(Quarantine::BYTES_MAX),
            turned_away: queue.full_packets + queue.full_bytes + queue.full_device,
        },
        incidents: narrow(edge.incidents().count()),
        incidents_lost: status.incidents_lost,
        strangers: edge
            .strangers()
            .into_iter()
            .map(|(title, packets)| StrangerView {
                title: title.to_string(),
                packets,
            })
            .collect(),
        memory_failures: status.memory_failures,
    }
}

fn reason_count((reason, count): (Reason, u64)) -> ReasonCount {
    ReasonCount {
        reason: reason.text().to_owned(),
        count,
    }
}

/// Newest first.
pub(super) fn incidents(node: &EdgeNode) -> Vec<IncidentView> {
    let mut all: Vec<&Incident> = node.incidents().collect();
    all.sort_by_key(|it| (it.last, it.id));
    let newest = all.into_iter().rev().take(IncidentView::INCIDENTS_MAX);
    newest.map(|it| incident_view(node.edge(), it)).collect()
}

pub(super) fn incident(node: &EdgeNode, id: u64) -> Option<IncidentDetail> {
    let found = node.incidents().find(|it| it.id.0 == id)?;
    let edge = node.edge();
    Some(IncidentDetail {
        incident: incident_view(edge, found),
        evidence: found.evidence.iter().map(|it| evidence(edge, it)).collect(),
    })
}

fn incident_view(edge: &Edge, incident: &Incident) -> IncidentView {
    let (kind, what, step) = match incident.kind {
        Kind::Packets(reason) => (IncidentKind::Packets, reason.text(), Some(reason.step())),
        Kind::Shift => (IncidentKind::Shift, "more packets than usual", None),
        Kind::Imbalance(kind) => (IncidentKind::Imbalance, imbalance_words(kind), None),
        Kind::Line(fault) => (IncidentKind::Packets, fault.text(), Some(Step::Frame)),
        Kind::Silence => (
            IncidentKind::Shift,
            "more of its meters are late than elsewhere",
            None,
        ),
        Kind::Loss => (
            IncidentKind::Shift,
            "more frames are lost below it than elsewhere",
            None,
        ),
    };
    IncidentView {
        id: incident.id.0,
        subject: subject(edge, incident.subject),
        kind,
        what: what.to_owned(),
        step: step.map(|step| step.name().to_owned()),
        first: incident.first.to_string(),
        last: incident.last.to_string(),
        count: incident.count,
        held: incident.held,
    }
}

const fn imbalance_words(kind: ImbalanceKind) -> &'static str {
    match kind {
        ImbalanceKind::Missing => "energy that no meter reports",
        ImbalanceKind::Surplus => "more energy reported than delivered",
    }
}

fn subject(edge: &Edge, subject: Subject) -> SubjectView {
    let (kind, name, meter) = match subject {
        Subject::Device(title) => {
            let meter = edge.meter_of(title).map(|meter| meter.0);
            (SubjectKind::Device, title.to_string(), meter)
        }
        Subject::Path(path) => (SubjectKind::Path, way(edge, path), None),
        Subject::Gateway(link) => (SubjectKind::Gateway, gateway(edge, link), None),
        Subject::Address {
            gateway: at,
            address,
        } => {
            let at = at.map_or_else(|| "this edge".to_owned(), |link| gateway(edge, link));
            (SubjectKind::Path, format!("{address}, at {at}"), None)
        }
        Subject::Transformer(transformer) => {
            let name = format!("transformer {}", transformer.0);
            (SubjectKind::Transformer, name, None)
        }
        Subject::Edge => (SubjectKind::Edge, "many at once".to_owned(), None),
    };
    SubjectView { kind, name, meter }
}

fn evidence(edge: &Edge, evidence: &Evidence) -> EvidenceView {
    match evidence {
        Evidence::Packet { path, bytes } => EvidenceView {
            kind: EvidenceKind::Packet,
            path: Some(way(edge, *path)),
            hex: (!bytes.is_empty()).then(|| hex::text(bytes)),
            fields: outside(bytes),
        },
        Evidence::Imbalance(imbalance) => EvidenceView {
            kind: EvidenceKind::Imbalance,
            path: None,
            hex: None,
            fields: balance(imbalance),
        },
        Evidence::Line { path, line } => EvidenceView {
            kind: EvidenceKind::Packet,
            path: path.map(|path| way(edge, path)),
            hex: None,
            fields: vec![field("closed", line.fault.text().to_owned())],
        },
        Evidence::Loss(loss) => EvidenceView {
            kind: EvidenceKind::Imbalance,
            path: None,
            hex: None,
            fields: vec![
                field("from", loss.since.to_string()),
                field("to", loss.until.to_string()),
                field("frames numbered", loss.sent.to_string()),
                field("never came", loss.lost.to_string()),
                field("usually lost", format!("{} ‰", loss.usual_milli)),
            ],
        },
        Evidence::Silence(silence) => EvidenceView {
            kind: EvidenceKind::Imbalance,
            path: None,
            hex: None,
            fields: vec![
                field("interval", format!("to {}", silence.end)),
                field("due", silence.due.to_string()),
                field("in time", silence.heard.to_string()),
                field("usually late", format!("{} ‰", silence.usual_milli)),
            ],
        },
    }
}

/// What stands on the outside of a packet. Nobody vouches for it.
fn outside(bytes: &[u8]) -> Vec<FieldView> {
    if bytes.is_empty() {
        return vec![field(
            "packet",
            "in the quarantine; no copy here".to_owned(),
        )];
    }
    match CipheredApdu::decode(bytes) {
        Ok(apdu) => vec![
            field("title", apdu.title.to_string()),
            field("protection", protection(apdu.control)),
            field("invocation counter", apdu.counter.to_string()),
        ],
        Err(error) => vec![field("packet", error.to_string())],
    }
}

fn protection(control: SecurityControl) -> String {
    let words = match (control.is_authenticated(), control.is_encrypted()) {
        (true, true) => "authenticated and encrypted",
        (true, false) => "authenticated",
        (false, true) => "encrypted",
        (false, false) => "none",
    };
    format!("{words} (0x{control})")
}

fn balance(imbalance: &Imbalance) -> Vec<FieldView> {
    let minutes = imbalance.period.as_secs() / 60;
    let lost = imbalance.delivered_wh - imbalance.reported_wh;
    let suspects: Vec<_> = imbalance
        .suspects
        .iter()
        .map(|suspect| suspect.meter.to_string())
        .collect();
    let mut fields = vec![
        field("interval", format!("{minutes} min to {}", imbalance.end)),
        field("delivered", format!("{} Wh", imbalance.delivered_wh)),
        field("reported", format!("{} Wh", imbalance.reported_wh)),
        field("difference", format!("{lost} Wh")),
    ];
    if !suspects.is_empty() {
        fields.push(field("unlike themselves", suspects.join(", ")));
    }
    fields
}

pub(super) fn queue(node: &EdgeNode, page: &QueuePage) -> Vec<HeldView> {
    let edge = node.edge();
    let wanted = page.incident.map(|id| {
        let found = node.incidents().find(|it| it.id.0 == id);
        found.map(|it| (it.subject, it.kind))
    });
    node.quarantine()
        .packets()
        .filter(|held| held.id.0 > page.after)
        .filter(|held| match wanted {
            None => true,
            Some(incident) => incident == Some(belongs_to(held)),
        })
        .take(page.limit.into())
        .map(|held| held_view(edge, held))
        .collect()
}

/// The incident of a held packet is that of its device and its gravest reason.
pub(super) fn belongs_to(held: &Held) -> (Subject, Kind) {
    let kind = Kind::Packets(held.main_reason());
    (Subject::Device(held.said.title), kind)
}

pub(super) fn packet(node: &EdgeNode, id: u64) -> Option<HeldDetail> {
    let held = node.quarantine().packet(PacketId(id))?;
    let owner = belongs_to(held);
    // The newest one: an older one of the same kind is over.
    let incident = node
        .incidents()
        .filter(|it| (it.subject, it.kind) == owner)
        .last();
    Some(HeldDetail {
        packet: held_view(node.edge(), held),
        incident: incident.map(|it| it.id.0),
        fields: said(held),
        frame: hex::text(&held.frame),
        plain: hex::text(&held.plain),
    })
}

fn held_view(edge: &Edge, held: &Held) -> HeldView {
    let (state, by) = match &held.state {
        Standing::Open => (HeldState::Open, None),
        Standing::Released { who, .. } => (HeldState::Released, Some(who.clone())),
        Standing::Rejected { who, .. } => (HeldState::Rejected, Some(who.clone())),
    };
    let mut reasons: Vec<Reason> = held.reasons.iter().collect();
    reasons.sort_by_key(|reason| (reason.step(), *reason));
    HeldView {
        id: held.id.0,
        meter: held.said.reading.meter.0,
        title: held.said.title.to_string(),
        path: way(edge, held.path),
        received: held.received.to_string(),
        interval_end: held.said.reading.end.to_string(),
        scores: scores(held.scores),
        reasons: reasons
            .into_iter()
            .map(|reason| ReasonView {
                step: reason.step().name().to_owned(),
                reason: reason.text().to_owned(),
            })
            .collect(),
        state,
        by,
    }
}

/// What a held packet says. Its tag verified: whoever has the meter's keys said it.
fn said(held: &Held) -> Vec<FieldView> {
    let (said, reading) = (&held.said, &held.said.reading);
    let values = &reading.values;
    let mut fields = outside(&held.frame);
    let minutes = reading.period.as_secs() / 60;
    fields.extend([
        field("interval", format!("{minutes} min to {}", reading.end)),
        field("meter's flags", flags(reading.status)),
        field("energy imported", milli(values.import.get(), "Wh")),
        field("energy exported", milli(values.export.get(), "Wh")),
        field("apparent energy", milli(values.apparent.get(), "VAh")),
    ]);
    for (quadrant, energy) in ["I", "II", "III", "IV"].iter().zip(values.reactive) {
        let name = format!("reactive energy {quadrant}");
        fields.push(field(&name, milli(energy.get(), "varh")));
    }
    fields.extend([
        field("mean power", mean(values.import.get(), reading.period)),
        field("voltage L1", milli(values.voltage.get(), "V")),
        field(
            "import register",
            milli(reading.import_register.get(), "Wh"),
        ),
        field("power when sent", format!("{} W", said.power.get())),
        field(
            "intervals without a price",
            said.billing.unpriced.to_string(),
        ),
    ]);
    fields
}

/// Thousandths of a unit, exactly.
fn milli(thousandths: i64, unit: &str) -> String {
    let sign = if thousandths < 0 { "-" } else { "" };
    let (whole, rest) = (
        thousandths.unsigned_abs() / 1_000,
        thousandths.unsigned_abs() % 1_000,
    );
    let digits = format!("{rest:03}");
    match digits.trim_end_matches('0') {
        "" => format!("{sign}{whole} {unit}"),
        fraction => format!("{sign}{whole}.{fraction} {unit}"),
    }
}

/// The mean power that gives an interval's energy, rounded down to whole watts.
fn mean(milliwatt_hours: i64, period: Period) -> String {
    let seconds = i64::from(period.as_secs());
    let watts = milliwatt_hours.saturating_mul(3_600) / (1_000 * seconds);
    format!("{watts} W")
}

fn flags(status: ReadingStatus) -> String {
    let words: Vec<_> = [
        (ReadingStatus::CRITICAL_ERROR, "critical error"),
        (ReadingStatus::CLOCK_INVALID, "clock doubtful"),
        (ReadingStatus::DATA_NOT_VALID, "not for billing"),
        (ReadingStatus::CLOCK_ADJUSTED, "clock was set"),
        (ReadingStatus::POWER_DOWN, "supply failed"),
    ]
    .into_iter()
    .filter(|(flag, _)| status.contains(*flag))
    .map(|(_, words)| words)
    .collect();
    match (words.is_empty(), status.0) {
        (true, 0) => "none".to_owned(),
        (true, other) => format!("0x{other:02X}"),
        (false, _) => words.join(", "),
    }
}

pub(super) fn trust(node: &EdgeNode, name: &str, page: TrustPage) -> Vec<TrustView> {
    let edge = node.edge();
    let (skip, limit) = (
        usize::try_from(page.skip).unwrap_or(usize::MAX),
        usize::from(page.limit),
    );
    match page.kind {
        TrustKind::Device => edge
            .least_trusted(Devices { skip, count: limit })
            .into_iter()
            .map(|device| device_trust(edge, &device))
            .collect(),
        TrustKind::Gateway => {
            let mut gateways: Vec<_> = edge.gateways().collect();
            gateways.sort_by_key(|it| (it.trust.p, it.link));
            let worst = gateways.into_iter().skip(skip).take(limit);
            worst
                .map(|it| TrustView {
                    name: gateway(edge, it.link),
                    packets: Some(it.packets),
                    ..trust_view(it.trust)
                })
                .collect()
        }
        TrustKind::Edge => {
            let status = node.status();
            let verdicts = status.verdicts;
            let packets = verdicts.forwarded + verdicts.quarantined + verdicts.dropped;
            let only = TrustView {
                name: name.to_owned(),
                packets: Some(packets),
                ..trust_view(status.trust)
            };
            [only].into_iter().skip(skip).take(limit).collect()
        }
    }
}

fn device_trust(edge: &Edge, device: &DeviceTrust) -> TrustView {
    let home = device.home.map(|home| {
        let named = edge.gateways().find(|it| it.id == Some(home));
        let name = named.and_then(|it| it.name);
        name.unwrap_or_else(|| format!("gateway number {}", home.0))
    });
    TrustView {
        name: device.title.to_string(),
        meter: Some(device.meter.0),
        home,
        gateway: device.path.map(|path| gateway(edge, path.gateway)),
        is_revoked: device.is_revoked,
        ..trust_view(device.scores)
    }
}

fn trust_view(of: Scores) -> TrustView {
    TrustView {
        name: String::new(),
        meter: None,
        scores: scores(of),
        home: None,
        gateway: None,
        packets: None,
        is_revoked: false,
    }
}

fn scores(scores: Scores) -> ScoresView {
    let [i, h, b, q, p] = scores.to_array();
    ScoresView { i, h, b, q, p }
}

/// The way of a packet, in the gateway's own name where its link stands.
fn way(edge: &Edge, path: Path) -> String {
    format!("{}, line {}", gateway(edge, path.gateway), path.down)
}

fn gateway(edge: &Edge, link: u64) -> String {
    let standing = edge.gateways().find(|it| it.link == link);
    match standing {
        Some(it) => it.name.unwrap_or_else(|| format!("unnamed link {link}")),
        None => format!("former link {link}"),
    }
}

fn field(name: &str, value: String) -> FieldView {
    FieldView {
        name: name.to_owned(),
        value,
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_written_exactly() {
        let cases = [
            (0, "0 Wh"),
            (250_000, "250 Wh"),
            (1, "0.001 Wh"),
            (-1_500, "-1.5 Wh"),
            (230_050, "230.05 Wh"),
            (i64::MIN, "-9223372036854775.808 Wh"),
        ];
        for (value, text) in cases {
            assert_eq!(milli(value, "Wh"), text);
        }
    }

    #[test]
    fn flags_are_words_and_what_has_none_is_shown() {
        let clock = ReadingStatus::CLOCK_INVALID.with(ReadingStatus::POWER_DOWN);
        let cases = [
            (ReadingStatus::GOOD, "none"),
            (clock, "clock doubtful, supply failed"),
            (ReadingStatus(0x40), "0x40"),
        ];
        for (status, words) in cases {
            assert_eq!(flags(status), words);
        }
    }

    #[test]
    fn a_mean_is_of_its_interval() {
        assert_eq!(mean(250_000, Period::QUARTER_HOUR), "1000 W");
        assert_eq!(mean(250_000, Period::HALF_HOUR), "500 W");
    }

    #[test]
    fn what_is_no_packet_says_why() {
        assert_eq!(outside(&[])[0].value, "in the quarantine; no copy here");
        let noise = outside(&[0xFF, 0, 1]);
        assert_eq!((noise.len(), noise[0].name.as_str()), (1, "packet"));
    }
}
