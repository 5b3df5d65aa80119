//! Shows one utility in a browser: HTTP API, live events and the console's assets.
//!
//! Invariants:
//!
//! - Nothing here decides: it serves the latest [`Snapshot`] that the host published, and passes on
//!   to the [`Desk`] what an operator asks of the head-end, to the [`SecurityDesk`] what one asks
//!   of the edge.
//! - Nothing is changed without the operator's token; its name reaches the audit, its secret nothing.
//! - A slow client never queues: what it missed is coalesced into its next frame.
//! - Clients, request sizes and frames are bounded; past a bound the answer says so in words.
//! - No foreign origin gets in: no CORS, the `Host` name is checked, and so is a socket's `Origin`.

mod assets;
mod campaigns;
mod desk;
mod error;
mod feeder;
mod frame;
mod guard;
mod headend;
mod listener;
mod live;
mod metrics;
mod model;
mod network;
mod pair;
#[cfg(test)]
mod sample;
mod screening;
mod security;
mod server;
mod token;
mod topology;
#[cfg(test)]
mod typescript;
mod wire;

pub use desk::{
    ANSWER_MAX, Answer, CampaignAction, CampaignStep, CampaignView, Desk, DeskError, Fault,
    HeadEndView, ImportReport, LaneCounts, MeterFault, MeterView, NewCampaign, NewOrder, OrderKind,
    OrderState, OrderView, Page, PartState, PartView, Previous, PushesView, ReadRateView,
};
pub use feeder::{
    FeederBranch, FeederMeter, FeederNode, FeederPicture, FeederSource, FeederTransformer,
};
pub use model::{
    Appliance, ClosedBill, Counters, DemandResponse, DisplayItem, House, HouseDetail, HouseRow,
    HouseState, LayerNode, Oversized, RunFigures, Snapshot, Station, Tariff, TrendPoint,
};
pub use network::{BufferDropped, BufferGap, BufferView, DelayPart, DelayView, Network};
pub use pair::{PairDesk, PairEdge, PairView};
pub use screening::{
    CertificateView, CertificatesView, Decision, DecisionAbout, DecisionView, EvidenceKind,
    EvidenceView, FieldView, HeldDetail, HeldState, HeldView, IncidentDetail, IncidentKind,
    IncidentView, QueuePage, QueueView, ReasonCount, ReasonView, ScoresView, SecurityDesk,
    SecurityView, StepView, StrangerView, SubjectKind, SubjectView, TrustKind, TrustPage,
    TrustView, VerdictsView,
};
pub use server::{Desks, Options, serve, serve_desks, serve_with};
pub use token::{OperatorToken, TokenError};
pub use topology::{
    FailoverView, NetworkNode, NetworkWay, NodeState, PathsView, Topology, WayState,
};
