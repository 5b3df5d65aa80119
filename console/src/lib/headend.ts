/* Questions and orders to the head-end. Every refusal comes back in the server's own words. */
import type { HeadEndView, MeterView, OrderView } from './api.ts';

const PAGE = 500;
/** Meters that one table holds; past it the table says so, and the filter finds the others. */
export const METERS_MAX = 20_000;

export type OrderKind = OrderView['kind'];

/** What the server says when it does not do what it was asked. */
export class Refusal extends Error {
  readonly code: string;
  constructor(code: string, words: string) {
    super(words);
    this.code = code;
  }
}

interface Refused {
  code?: string;
  error?: string;
  faults?: { column: string; problem: string }[];
}

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await fetch(`/api/v1/headend/${path}`, init);
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()) as T;
}

/** What an answer that refuses says. */
export async function refusal(answer: Response): Promise<Refusal> {
  const body = (await answer.json().catch(() => ({}))) as Refused;
  const places = (body.faults ?? []).map(fault => `${fault.column}: ${fault.problem}`);
  const words = places.length ? places.join('; ') : (body.error ?? `${answer.status}`);
  return new Refusal(body.code ?? String(answer.status), words);
}

/** All meters that match, page by page, up to `METERS_MAX`. */
export async function meters(text: string, signal: AbortSignal): Promise<{ rows: MeterView[]; more: boolean }> {
  const rows: MeterView[] = [];
  for (;;) {
    const query = new URLSearchParams({ after: String(rows.at(-1)?.id ?? 0), limit: String(PAGE) });
    if (text) query.set('text', text);
    const page = await ask<MeterView[]>(`meters?${query}`, { signal });
    rows.push(...page);
    if (page.length < PAGE) return { rows, more: false };
    if (rows.length >= METERS_MAX) return { rows, more: true };
  }
}

export const status = (signal: AbortSignal): Promise<HeadEndView> => ask('status', { signal });
export const orders = (signal: AbortSignal): Promise<OrderView[]> => ask('orders', { signal });
export const order = (id: number, signal: AbortSignal): Promise<OrderView> => ask(`orders/${id}`, { signal });

const authorization = (token: string) => ({ authorization: `Bearer ${token}` });

export interface NewOrder {
  kind: OrderKind;
  meters: number[];
  within_s: number;
  obis?: string;
}

export const submit = (order: NewOrder, token: string): Promise<OrderView> =>
  ask('orders', {
    method: 'POST',
    headers: { ...authorization(token), 'content-type': 'application/json' },
    body: JSON.stringify(order),
  });

export const step = (id: number, verb: 'confirm' | 'cancel', token: string): Promise<OrderView> =>
  ask(`orders/${id}/${verb}`, { method: 'POST', headers: authorization(token) });
