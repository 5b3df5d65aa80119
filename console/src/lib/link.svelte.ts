/* The live connection: one WebSocket per window, its age, and its return by itself. */
import type { Frame, House, Snapshot } from './api.ts';
import { applied } from './state.ts';

/** Ages of the newest frame at which data counts as late and as lost. */
const LATE_MS = 2_500;
const LOST_MS = 5_000;
/** A connection that stays open and says nothing for so long is given up. */
const DEAD_MS = 10_000;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 8_000;

export type LinkState = 'connecting' | 'ok' | 'late' | 'lost';

export const live = $state({
  link: 'connecting' as LinkState,
  ageMs: 0,
  /** Why the server refused the connection, in its own words. */
  refused: '',
});

/** The last state; replaced as a whole, rows that did not change keep their identity. */
let current = $state.raw<Snapshot | null>(null);
let watched = $state.raw<{ id: string; house: House | null } | null>(null);
export const snapshot = (): Snapshot | null => current;
export const watchedHouse = (): { id: string; house: House | null } | null => watched;

let socket: WebSocket | null = null;
let wish: string | null = null;
let lastFrame = 0;
let opened = 0;
let retryMs = RETRY_MS_MIN;

/** Asks for the detail of one house, from now on and after each reconnection. */
export function watch(id: string | null): void {
  if (id === wish) return;
  wish = id;
  watched = null;
  if (socket?.readyState === WebSocket.OPEN) tellWish();
}

function tellWish(): void {
  socket?.send(JSON.stringify({ watch: wish }));
}

function take(frame: Frame): void {
  if (frame.type === 'snapshot') current = frame.snapshot;
  else if (frame.type === 'house') {
    if (frame.id === wish) watched = { id: frame.id, house: frame.house };
  } else if (current) current = applied(current, frame.delta);
}

function connect(): void {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const opening = new WebSocket(`${scheme}://${location.host}/api/v1/live`);
  socket = opening;
  opened = Date.now();
  let heard = false;
  opening.onopen = () => {
    if (wish !== null) tellWish();
  };
  opening.onmessage = event => {
    if (opening !== socket) return;
    heard = true;
    lastFrame = Date.now();
    retryMs = RETRY_MS_MIN;
    live.refused = '';
    take(JSON.parse(event.data as string) as Frame);
    tick();
  };
  opening.onclose = () => {
    if (opening === socket) again(heard);
  };
}

function again(heard: boolean): void {
  socket = null;
  tick();
  if (!heard) void askWhy();
  setTimeout(connect, retryMs * (0.7 + Math.random() * 0.6));
  retryMs = Math.min(retryMs * 1.7, RETRY_MS_MAX);
}

/** A refused WebSocket hides the answer from the page; a plain request gets it in words. */
async function askWhy(): Promise<void> {
  try {
    const answer = await fetch('/api/v1/live');
    live.refused = answer.status === 503 ? ((await answer.json()) as { error: string }).error : '';
  } catch {
    live.refused = '';
  }
}

function tick(): void {
  const now = Date.now();
  live.ageMs = lastFrame ? now - lastFrame : 0;
  const silentMs = now - Math.max(lastFrame, opened);
  if (socket && silentMs > DEAD_MS) {
    const dead = socket;
    again(dead.readyState === WebSocket.OPEN);
    dead.close();
  }
  let link: LinkState = 'connecting';
  if (lastFrame) {
    if (live.ageMs >= LOST_MS) link = 'lost';
    else link = live.ageMs >= LATE_MS || !socket ? 'late' : 'ok';
  }
  if (link !== live.link) {
    live.link = link;
    document.documentElement.dataset.link = link;
  }
}

export function boot(): () => void {
  connect();
  const timer = setInterval(tick, 250);
  return () => {
    clearInterval(timer);
    const closing = socket;
    socket = null;
    closing?.close();
  };
}
