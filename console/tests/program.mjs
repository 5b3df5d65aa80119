// Starts the program and a browser for the tests, and stops them again.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const START_MS_MAX = 30_000;

export const temporary = name => mkdtempSync(join(tmpdir(), `gridloom-${name}-`));

/** Runs `gridloom demo` (or what GRIDLOOM_BIN names) until `stop`. */
export async function startProgram({ port = 0, data, extra = [] }) {
  const binary = process.env.GRIDLOOM_BIN ?? 'gridloom';
  const fixed = ['demo', '--data', data, '--console', `127.0.0.1:${port}`];
  const speed = ['--speed', process.env.GRIDLOOM_SPEED ?? '600'];
  const child = spawn(binary, [...fixed, ...speed, ...extra], { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaints = '';
  child.stderr.on('data', text => (complaints = (complaints + text).slice(-4_000)));
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no console line in time\n${complaints}`)), START_MS_MAX);
    child.once('error', reject);
    child.once('exit', code => reject(new Error(`the program ended with ${code}\n${complaints}`)));
    createInterface({ input: child.stdout }).on('line', line => {
      const found = /^\s*console\s+(http:\S+)/.exec(line);
      if (!found) return;
      clearTimeout(late);
      resolve(found[1].replace(/\/?$/, '/'));
    });
  });
  return {
    url,
    port: Number(new URL(url).port),
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
