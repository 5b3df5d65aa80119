/* Questions about the network, the take-over of a pair, and where nodes stand in the drawing. */
import type { Network, NetworkNode, NetworkWay, PairView, Topology } from './api.ts';
import { age, num, qty } from './format.ts';
import { refusal } from './headend.ts';

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await fetch(`/api/v1/${path}`, init);
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

export const network = (signal: AbortSignal): Promise<Network> => ask('network', { signal });

/** The pair that the server is a member of; null where it is none. */
export async function pair(signal: AbortSignal): Promise<PairView | null> {
  const answer = await fetch('/api/v1/pair/status', { signal });
  if (answer.status === 404) return null;
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as PairView;
}

export const handOver = (token: string): Promise<PairView> =>
  ask('pair/failover', { method: 'POST', headers: { authorization: `Bearer ${token}` } });

/** Microseconds as people read them, in the unit that fits. */
export function took(us: number | null): string {
  if (us === null) return num(null);
  if (us < 1_000) return qty(us, 'µs');
  if (us < 1_000_000) return qty(us / 1_000, 'ms', us < 100_000 ? 1 : 0);
  if (us < 60_000_000) return qty(us / 1_000_000, 's', 2);
  return age(us / 1_000);
}

/** Bytes, in the unit that fits. */
export function bytes(count: number): string {
  if (count < 1_024) return qty(count, 'B');
  const kib = count / 1_024;
  return kib < 1_024 ? qty(kib, 'KiB', 1) : qty(kib / 1_024, 'MiB', 1);
}

/** Nodes that one column draws; further ones are one box. */
export const COLUMN_MAX = 40;
const COLUMN = { meters: 0, gateway: 1, edge: 2, utility: 3, headend: 4, archive: 4 } as const;
export type Tier = keyof typeof COLUMN;
export const tierOf = (tier: string): Tier | null => (tier in COLUMN ? (tier as Tier) : null);

export interface Placed {
  node: NetworkNode;
  column: number;
  row: number;
}
export interface Drawing {
  placed: Placed[];
  /** Ways between nodes that are drawn. */
  ways: { way: NetworkWay; from: Placed; to: Placed }[];
  /** Nodes of each column that are not drawn. */
  more: number[];
  columns: number;
  rows: number;
}

/** What is not well comes first, so that it is drawn where not all fit. */
const urgency = (node: NetworkNode): number => (node.state === 'down' ? 0 : node.state === 'degraded' ? 1 : 2);

/** Where each node stands: a column for a tier; the first column that has nodes is the left one. */
export function drawn(topology: Topology): Drawing {
  const columns: NetworkNode[][] = [[], [], [], [], []];
  for (const node of topology.nodes) {
    const tier = tierOf(node.tier);
    if (tier !== null) columns[COLUMN[tier]]?.push(node);
  }
  const filled = columns.filter(nodes => nodes.length > 0);
  const placed = new Map<string, Placed>();
  const more = filled.map((nodes, column) => {
    const first = nodes.length > COLUMN_MAX ? [...nodes].sort((a, b) => urgency(a) - urgency(b)).slice(0, COLUMN_MAX) : nodes;
    first.forEach((node, row) => placed.set(node.name, { node, column, row }));
    return nodes.length - first.length;
  });
  const ways = topology.ways.flatMap(way => {
    const [from, to] = [placed.get(way.from), placed.get(way.to)];
    return from && to ? [{ way, from, to }] : [];
  });
  const rows = Math.max(0, ...filled.map((nodes, column) => Math.min(nodes.length, COLUMN_MAX) + (more[column] ? 1 : 0)));
  return { placed: [...placed.values()], ways, more, columns: filled.length, rows };
}
