// Starts the program and a browser for the tests, and stops them again.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const START_MS_MAX = 30_000;

export const temporary = name => mkdtempSync(join(tmpdir(), `gridloom-${name}-`));

const binary = process.env.GRIDLOOM_BIN ?? 'gridloom';

/** Runs the program to its end; what it wrote. */
export const run = async args => (await promisify(execFile)(binary, args)).stdout;

/** Runs `gridloom demo` (or what GRIDLOOM_BIN names) until `stop`. */
export async function startProgram({ port = 0, data, extra = [] }) {
  const fixed = ['demo', '--data', data, '--console', `127.0.0.1:${port}`];
  const speed = ['--speed', process.env.GRIDLOOM_SPEED ?? '600'];
  return start([...fixed, ...speed, ...extra]);
}

/** A meter's keys, for whoever attacks in its name. */
export const keysOf = meter => ({
  title: `474C4D000000000${meter}`,
  ek: `000102030405060708090A0B0C0D0E0${meter}`,
  ak: `D0D1D2D3D4D5D6D7D8D9DADBDCDDDE0${meter}`,
});

/** Runs `gridloom serve` for three registered meters of one minute behind one gateway, over TLS. */
export async function startUtility(folder) {
  const at = name => join(folder, name);
  mkdirSync(at('profiles'));
  const usual = readFileSync(new URL('../../profiles/gridloom.toml', import.meta.url), 'utf8');
  writeFileSync(at('profiles/minute.toml'), `capture_period_minutes = 1\n${usual}`);
  const rows = [1, 2, 3].map(meter => {
    const { title, ek, ak } = keysOf(meter);
    return `${title},S${meter},${meter} Mill Lane,gateway,gateway-1,${meter},1:hls5/0,minute,P${meter},${ek},${ak}\n`;
  });
  const head = 'title,serial,name,transport,address,server,roles,template,service_point,guek,gak\n';
  writeFileSync(at('meters.csv'), head + rows.join(''));
  const place = ['--data', at('data'), '--profiles', at('profiles'), '--master-key', at('master.key')];
  await run(['meters', 'import', at('meters.csv'), ...place]);
  await run(['pki', 'init', '--directory', at('pki')]);
  for (const node of ['gateway gateway-1', 'edge edge-1', 'utility utility', 'headend headend-1', 'archive archive-1']) {
    await run(['pki', 'enrol', ...node.split(' '), '--directory', at('pki')]);
  }
  writeFileSync(at('serve.toml'), `[pki]\ndirectory = ${JSON.stringify(at('pki'))}\n`);
  const ports = ['console', 'gateway', 'edge', 'utility', 'archive'].flatMap(tier => [`--${tier}`, '127.0.0.1:0']);
  const started = await start(['serve', '--config', at('serve.toml'), '--period-minutes', '1', ...place, ...ports]);
  return { ...started, token: readFileSync(at('data/operator.token'), 'utf8').trim(), data: at('data') };
}

/** Runs an edge that no utility answers; its console tells nothing of interest, its address does. */
export function startEdge(folder, name, port = 0) {
  const file = join(folder, `${name}.toml`);
  writeFileSync(file, `[edge]\nname = "${name}"\nutility = "127.0.0.1:9"\n`);
  const place = ['--config', file, '--data', join(folder, name), '--master-key', join(folder, 'master.key')];
  return start(['serve', '--role', 'edge', ...place, '--edge', `127.0.0.1:${port}`, '--console', '127.0.0.1:0']);
}

/** Runs a gateway with two edges, and a console of its own; it is back home after a second. */
export function startGateway(folder, edges) {
  const file = join(folder, 'gateway-1.toml');
  writeFileSync(file, `[gateway]\nname = "gateway-1"\nedges = ${JSON.stringify(edges)}\nhome_after_seconds = 1\n`);
  const place = ['--config', file, '--data', join(folder, 'gateway-1')];
  return start(['serve', '--role', 'gateway', ...place, '--gateway', '127.0.0.1:0', '--console', '127.0.0.1:0']);
}

/** Starts the program and reads what it says up to the console's address. */
async function start(args) {
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = {};
  let complaints = '';
  child.stderr.on('data', text => (complaints = (complaints + text).slice(-4_000)));
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no console line in time\n${complaints}`)), START_MS_MAX);
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`the program ended with ${code}\n${complaints}`)));
    createInterface({ input: child.stdout }).on('line', line => {
      const [, heading, rest] = /^(\w+)\s+(\S+)/.exec(line) ?? [];
      if (heading) said[heading] = rest;
      const found = /^\s*console\s+(http:\S+)/.exec(line);
      if (!found) return;
      clearTimeout(late);
      resolve(found[1].replace(/\/?$/, '/'));
    });
  });
  return {
    url,
    port: Number(new URL(url).port),
    said,
    async stop(signal = 'SIGKILL') {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    },
  };
}

export async function startBrowser() {
  const profile = temporary('browser');
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1600, height: 1000 },
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
  return {
    context,
    async stop() {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
