// Generated from crates/web. After a change there:
// GRIDLOOM_BLESS=1 cargo test -p gridloom-web typescript
// Money and prices are decimal strings, energy is Wh, power W, times ISO 8601 in UTC.

export interface Snapshot {
  bills: ClosedBill[];
  counters: Counters;
  currency: string;
  demand_response: null | DemandResponse;
  houses: HouseRow[];
  interval_s: number;
  layers: LayerNode[];
  minor_digits: number;
  now: string;
  price_interval_end: string | null;
  price_per_kwh: string | null;
  speed: number;
  stations: Station[];
  tariff: Tariff;
  total_w: number | null;
  trend: TrendPoint[];
  utility: string;
}

export interface Tariff {
  k_per_w: number;
  p_max: string;
  p_min: string;
  x0_w: number;
}

export interface Station {
  capacity_w: number;
  cost_per_mwh: string;
  min_w: number;
  name: string;
  on: boolean;
  output_w: number;
  technology: string;
  year: number;
}

export interface HouseRow {
  bill_so_far: string | null;
  day: (number | null)[];
  energy_wh: number | null;
  id: string;
  last_heard: string | null;
  meter_bill: string | null;
  name: string;
  phases: number;
  power_w: number | null;
  state: 'late' | 'online' | 'silent';
  unpriced: number;
  voltage_v: number | null;
}

export interface TrendPoint {
  end: string;
  price_per_kwh: string | null;
  total_w: number | null;
}

export interface Counters {
  bad_tag: number;
  conflicts: number;
  duplicates: number;
  gaps: number;
  malformed: number;
  readings_stored: number;
  replayed: number;
  unknown: number;
}

export interface LayerNode {
  detail: string;
  layer: string;
  node: string;
  state: 'degraded' | 'down' | 'up';
}

export interface ClosedBill {
  agreed: boolean;
  amount: string;
  gaps: number;
  house: string;
  meter_amount: string | null;
  month: string;
}

export interface DemandResponse {
  baseline: RunFigures;
  responding: RunFigures;
}

export interface RunFigures {
  cost: string;
  energy_wh: number;
  load_factor_permille: number;
  peak_w: number;
}

export interface House {
  appliances: Appliance[];
  bill_so_far: string | null;
  day: (number | null)[];
  display: DisplayItem[];
  energy_wh: number | null;
  id: string;
  last_heard: string | null;
  meter_bill: string | null;
  name: string;
  phases: number;
  power_w: number | null;
  state: 'late' | 'online' | 'silent';
  unpriced: number;
  voltage_v: number | null;
}

export interface Appliance {
  name: string;
  on: boolean;
  watts: number;
}

export interface DisplayItem {
  code: string;
  label: string;
  unit: string;
  value: string;
}

export interface Delta {
  bills: ClosedBill[];
  counters: Counters;
  demand_response: null | DemandResponse;
  houses: HouseRow[];
  layers: null | LayerNode[];
  now: string;
  price_interval_end: string | null;
  price_per_kwh: string | null;
  speed: number;
  stations: null | Station[];
  total_w: number | null;
  trend: null | TrendPoint[];
}

export interface MeterView {
  address: string;
  collected_through: string | null;
  groups: string[];
  id: number;
  last_error: null | MeterFault;
  name: string;
  serial: string;
  state: string;
  template: string;
  title: string;
  transport: string;
}

export interface MeterFault {
  at: string;
  layer: string;
  text: string;
}

export interface OrderView {
  at: string;
  by: string;
  done: number;
  failed: number;
  id: number;
  kind: 'connect' | 'disconnect' | 'read' | 'rekey' | 'set' | 'sync-clock';
  parts: PartView[];
  queued: number;
  running: number;
  state: 'over' | 'running' | 'selected';
  total: number;
}

export interface PartView {
  detail: string;
  meter: number;
  state: 'done' | 'failed' | 'queued' | 'running';
}

export interface HeadEndView {
  alarms: number;
  meters: number;
  orders_open: number;
  pushes: PushesView;
  queued_by_lane: LaneCounts;
  read_rate: null | ReadRateView;
  sessions: number;
}

export interface LaneCounts {
  backfill: number;
  command: number;
  on_demand: number;
  periodic: number;
}

export interface PushesView {
  accepted: number;
  bad_tag: number;
  other: number;
  plaintext: number;
  replayed: number;
  unknown_title: number;
  unreadable: number;
}

export interface ReadRateView {
  due: string;
  missed: number;
  succeeded: number;
}

export interface SecurityView {
  accepted: number;
  behaviour_floor: number;
  edge: string;
  heard: number;
  incidents: number;
  incidents_lost: number;
  memory_failures: number;
  queue: QueueView;
  registered: number;
  steps: StepView[];
  strangers: StrangerView[];
  threshold: number;
  trust: ScoresView;
  verdicts: VerdictsView;
}

export interface ScoresView {
  b: number;
  h: number;
  i: number;
  p: number;
  q: number;
}

export interface VerdictsView {
  dropped: number;
  forwarded: number;
  quarantined: number;
}

export interface StepView {
  reasons: ReasonCount[];
  step: string;
  total: number;
}

export interface ReasonCount {
  count: number;
  reason: string;
}

export interface QueueView {
  bytes: number;
  bytes_max: number;
  packets: number;
  packets_max: number;
  turned_away: number;
}

export interface StrangerView {
  packets: number;
  title: string;
}

export interface IncidentDetail {
  evidence: EvidenceView[];
  incident: IncidentView;
}

export interface IncidentView {
  count: number;
  first: string;
  held: number;
  id: number;
  kind: 'imbalance' | 'packets' | 'shift';
  last: string;
  step: string | null;
  subject: SubjectView;
  what: string;
}

export interface SubjectView {
  kind: 'device' | 'edge' | 'gateway' | 'path' | 'transformer';
  meter: number | null;
  name: string;
}

export interface EvidenceView {
  fields: FieldView[];
  hex: string | null;
  kind: 'imbalance' | 'packet';
  path: string | null;
}

export interface FieldView {
  name: string;
  value: string;
}

export interface HeldDetail {
  fields: FieldView[];
  frame: string;
  incident: number | null;
  packet: HeldView;
  plain: string;
}

export interface HeldView {
  by: string | null;
  id: number;
  interval_end: string;
  meter: number;
  path: string;
  reasons: ReasonView[];
  received: string;
  scores: ScoresView;
  state: 'open' | 'rejected' | 'released';
  title: string;
}

export interface ReasonView {
  reason: string;
  step: string;
}

export interface DecisionView {
  at: string;
  by: string;
  decision: 'reject' | 'release';
  detail: string;
  done: number;
  incident: number | null;
  is_done: boolean;
  packet: number | null;
  packets: number;
  reason: string;
}

export interface TrustView {
  gateway: string | null;
  home: string | null;
  is_revoked: boolean;
  meter: number | null;
  name: string;
  packets: number | null;
  scores: ScoresView;
}

export interface CertificatesView {
  certificates: CertificateView[];
  is_protected: boolean;
}

export interface CertificateView {
  hosts: string[];
  name: string;
  not_after: string | null;
  not_before: string | null;
  reason: string | null;
  revoked_at: string | null;
  role: string;
  seen_at: string | null;
  seen_from: string | null;
  serial: string;
  standing: string;
}

export interface Network {
  buffers: BufferView[];
  delay: null | DelayView;
  failovers: FailoverView[];
  paths: PathsView[];
  topology: Topology;
}

export interface BufferView {
  acknowledged: number;
  bytes: number;
  bytes_max: number;
  disk_failures: number;
  dropped: BufferDropped;
  entries: number;
  gaps: BufferGap[];
  gaps_untaken: number;
  in_flight: number;
  node: string;
  oldest: string | null;
  oldest_age_s: number | null;
  sent_again: number;
  taken: number;
}

export interface BufferDropped {
  damaged: number;
  full: number;
  unanswered: number;
}

export interface BufferGap {
  cause: string;
  entries: number;
  from: string | null;
  lane: string;
  meter: string | null;
  to: string | null;
}

export interface DelayView {
  ahead: number;
  parts: DelayPart[];
}

export interface DelayPart {
  count: number;
  max_us: number;
  p50_us: number | null;
  p95_us: number | null;
  p99_us: number | null;
  part: string;
}

export interface Topology {
  left_off: number;
  nodes: NetworkNode[];
  ways: NetworkWay[];
}

export interface NetworkNode {
  is_here: boolean;
  meters: number | null;
  name: string;
  state: 'degraded' | 'down' | 'up' | null;
  tier: string;
}

export interface NetworkWay {
  from: string;
  rank: string;
  state: 'down' | 'in_use' | 'ready';
  to: string;
}

export interface PathsView {
  heartbeat_ms: number | null;
  home_after_ms: number;
  homecomings: number;
  in_use: string | null;
  node: string;
  silence_max_ms: number | null;
  silences: number;
  switches: number;
}

export interface FailoverView {
  at: string;
  from: string | null;
  node: string;
  to: string | null;
  why: string;
  without_ms: number | null;
}

export interface PairView {
  advice: string | null;
  alone: boolean;
  behind: number;
  copies: number;
  copy: null | number[];
  edges: PairEdge[];
  entries: number;
  epoch: number;
  lease_left_ms: number;
  peer: string;
  place: number;
  standing: string;
}

export interface PairEdge {
  connected: boolean;
  name: string;
}

export type Frame =
  | { type: 'snapshot'; snapshot: Snapshot }
  | { type: 'delta'; delta: Delta }
  | { type: 'house'; id: string; house: House | null };
