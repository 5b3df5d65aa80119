//! An edge's answers: everything occurs that may be on the wire.

use crate::screening::{
    CertificateView, CertificatesView, Decision, DecisionView, EvidenceKind, EvidenceView,
    FieldView, HeldDetail, HeldState, HeldView, IncidentDetail, IncidentKind, IncidentView,
    QueueView, ReasonCount, ReasonView, ScoresView, SecurityView, StepView, StrangerView,
    SubjectKind, SubjectView, TrustView, VerdictsView,
};

const AT: &str = "2026-11-21T12:00:00Z";
const TITLE: &str = "474C4D0000000007";

fn scores() -> ScoresView {
    ScoresView {
        i: 5_000,
        h: 10_000,
        b: 2_000,
        q: 10_000,
        p: 6_600,
    }
}

/// An edge under attack.
pub(crate) fn status() -> SecurityView {
    SecurityView {
        edge: "edge-1".to_owned(),
        registered: 12,
        heard: 11,
        accepted: 4_000,
        threshold: 7_000,
        behaviour_floor: 2_500,
        trust: scores(),
        verdicts: VerdictsView {
            forwarded: 4_000,
            quarantined: 3,
            dropped: 900,
        },
        steps: vec![StepView {
            step: "integrity".to_owned(),
            total: 900,
            reasons: vec![ReasonCount {
                reason: "bad tag".to_owned(),
                count: 900,
            }],
        }],
        queue: QueueView {
            packets: 3,
            packets_max: 4_096,
            bytes: 700,
            bytes_max: 4 << 20,
            turned_away: 0,
        },
        incidents: 5,
        incidents_lost: 0,
        strangers: vec![StrangerView {
            title: TITLE.to_owned(),
            packets: 17,
        }],
        memory_failures: 0,
    }
}

/// One incident of every kind and subject.
pub(crate) fn incidents() -> Vec<IncidentDetail> {
    let kinds = [
        IncidentKind::Packets,
        IncidentKind::Shift,
        IncidentKind::Imbalance,
    ];
    [
        SubjectKind::Device,
        SubjectKind::Path,
        SubjectKind::Gateway,
        SubjectKind::Transformer,
        SubjectKind::Edge,
    ]
    .into_iter()
    .zip(kinds.into_iter().cycle())
    .zip(1..)
    .map(|((subject, kind), id)| {
        let is_device = subject == SubjectKind::Device;
        let packet = EvidenceView {
            kind: EvidenceKind::Packet,
            path: Some("gateway-1, line 4".to_owned()),
            hex: Some("DB08".to_owned()),
            fields: vec![field()],
        };
        let imbalance = EvidenceView {
            kind: EvidenceKind::Imbalance,
            path: None,
            hex: None,
            fields: vec![field()],
        };
        IncidentDetail {
            incident: IncidentView {
                id,
                subject: SubjectView {
                    kind: subject,
                    name: TITLE.to_owned(),
                    meter: is_device.then_some(7),
                },
                kind,
                what: "cloned identity".to_owned(),
                step: is_device.then(|| "identity".to_owned()),
                first: AT.to_owned(),
                last: AT.to_owned(),
                count: 3,
                held: 2,
            },
            evidence: vec![packet, imbalance],
        }
    })
    .collect()
}

fn field() -> FieldView {
    FieldView {
        name: "energy imported".to_owned(),
        value: "250 Wh".to_owned(),
    }
}

/// A held packet in every state.
pub(crate) fn packets() -> Vec<HeldDetail> {
    [HeldState::Open, HeldState::Released, HeldState::Rejected]
        .into_iter()
        .zip(1..)
        .map(|(state, id)| {
            let is_open = state == HeldState::Open;
            HeldDetail {
                packet: HeldView {
                    id,
                    meter: 7,
                    title: TITLE.to_owned(),
                    path: "gateway-1, line 4".to_owned(),
                    received: AT.to_owned(),
                    interval_end: AT.to_owned(),
                    scores: scores(),
                    reasons: vec![ReasonView {
                        step: "identity".to_owned(),
                        reason: "cloned identity".to_owned(),
                    }],
                    state,
                    by: (!is_open).then(|| "night shift".to_owned()),
                },
                incident: is_open.then_some(1),
                fields: vec![field()],
                frame: "DB08".to_owned(),
                plain: "0F00".to_owned(),
            }
        })
        .collect()
}

/// A decision of either sort.
pub(crate) fn decisions() -> [DecisionView; 2] {
    [Decision::Release, Decision::Reject].map(|decision| DecisionView {
        packet: (decision == Decision::Release).then_some(1),
        incident: (decision == Decision::Reject).then_some(5),
        packets: 1,
        done: 1,
        decision,
        by: "night shift".to_owned(),
        at: AT.to_owned(),
        reason: "the fitter swapped the meter".to_owned(),
        is_done: true,
        detail: "the utility has the reading".to_owned(),
    })
}

/// A meter, and a gateway.
pub(crate) fn trust() -> [TrustView; 2] {
    let meter = TrustView {
        name: TITLE.to_owned(),
        meter: Some(7),
        scores: scores(),
        home: Some("gateway-1".to_owned()),
        gateway: Some("gateway-2".to_owned()),
        packets: None,
        is_revoked: false,
    };
    let gateway = TrustView {
        name: "gateway-1".to_owned(),
        meter: None,
        home: None,
        gateway: None,
        packets: Some(900),
        ..meter.clone()
    };
    [meter, gateway]
}

/// A certificate of which everything is known, and one of which only the holder is.
pub(crate) fn certificates() -> CertificatesView {
    let bare = CertificateView {
        role: "gateway".to_owned(),
        name: "gateway-1".to_owned(),
        serial: "0A".to_owned(),
        not_before: None,
        not_after: None,
        hosts: vec!["127.0.0.1".to_owned()],
        standing: "valid".to_owned(),
        revoked_at: None,
        reason: None,
        seen_at: None,
        seen_from: None,
    };
    let some = || Some(AT.to_owned());
    let whole = CertificateView {
        standing: "revoked".to_owned(),
        not_before: some(),
        not_after: some(),
        revoked_at: some(),
        reason: Some("key-compromise".to_owned()),
        seen_at: some(),
        seen_from: Some("127.0.0.1:4060".to_owned()),
        ..bare.clone()
    };
    CertificatesView {
        is_protected: true,
        certificates: vec![whole, bare],
    }
}
