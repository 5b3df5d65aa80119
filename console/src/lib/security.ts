/* Questions to the edge and decisions about what it holds. Every refusal comes back in its own words. */
import type {
  CertificatesView, DecisionView, HeldDetail, HeldView, IncidentDetail, IncidentView, SecurityView, TrustView,
} from './api.ts';
import { Refusal, refusal } from './headend.ts';

/** Held packets that one table holds; past it the table says so. */
export const QUEUE_MAX = 500;
/** Least trusted devices and gateways that are shown. */
export const WORST = 8;

export type Decision = DecisionView['decision'];
export type TrustKind = 'device' | 'gateway' | 'edge';

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await fetch(`/api/v1/security/${path}`, init);
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

export const status = (signal: AbortSignal): Promise<SecurityView> => ask('status', { signal });
export const incidents = (signal: AbortSignal): Promise<IncidentView[]> => ask('incidents', { signal });
export const incident = (id: number, signal: AbortSignal): Promise<IncidentDetail> => ask(`incidents/${id}`, { signal });
export const packet = (id: number, signal: AbortSignal): Promise<HeldDetail> => ask(`quarantine/${id}`, { signal });
export const certificates = (signal: AbortSignal): Promise<CertificatesView> => ask('certificates', { signal });
export const trust = (kind: TrustKind, signal: AbortSignal): Promise<TrustView[]> =>
  ask(`trust?kind=${kind}&limit=${WORST}`, { signal });

export function queue(incident: number | null, signal: AbortSignal): Promise<HeldView[]> {
  const query = new URLSearchParams({ limit: String(QUEUE_MAX) });
  if (incident !== null) query.set('incident', String(incident));
  return ask(`quarantine?${query}`, { signal });
}

export const decide = (id: number, decision: Decision, reason: string, token: string): Promise<DecisionView> =>
  ask(`quarantine/${id}/${decision}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ reason }),
  });

/** About all packets of an incident that wait. */
export const decideAll = (incident: number, decision: Decision, reason: string, token: string): Promise<DecisionView> =>
  ask(`incidents/${incident}/${decision}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ reason }),
  });
export const decisions = (signal: AbortSignal): Promise<DecisionView[]> => ask('decisions', { signal });

export const asRefusal = (error: unknown, words: string): Refusal =>
  error instanceof Refusal ? error : new Refusal('unreachable', words);

/** A score as people read it, rounded down so that nothing looks better than it is: `0.69`. */
export const score = (tenThousandths: number): string => (Math.floor(tenThousandths / 100) / 100).toFixed(2);

/** Digits in groups of eight, so that lines can break. */
export const hex = (digits: string): string => digits.replace(/(.{8})(?=.)/g, '$1 ');
