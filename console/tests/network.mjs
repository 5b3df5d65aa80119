// The page of the network in a real browser: a demo with every tier, and a gateway whose edges are killed.
//   GRIDLOOM_BIN=path/to/gridloom node --test tests/network.mjs
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBrowser, startEdge, startGateway, startProgram, temporary } from './program.mjs';

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const folder = temporary('network');
const pictures = process.env.GRIDLOOM_SHOTS ?? temporary('shots');
const complaints = [];
const running = [];
let browser, page, demo;

before(async () => {
  demo = await startProgram({ data: join(folder, 'demo') });
  running.push(demo);
  browser = await startBrowser();
  page = await browser.context.newPage();
  page.on('console', message => {
    // A process that is no member of a pair says so once; the other one is the refused drill.
    const isExpected = / (404|409) /.test(message.text());
    if (['error', 'warning'].includes(message.type()) && !isExpected) complaints.push(message.text());
  });
  page.on('pageerror', error => complaints.push(String(error)));
});
after(async () => {
  await browser?.stop();
  for (const program of running) await program.stop('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const way = (from, to, state) => page.locator(`[data-way="${from}>${to}"][data-state=${state}]`).waitFor({ state: 'attached' });
const change = words => page.getByTestId('changes').locator('[data-change]').filter({ hasText: words }).first().waitFor();

async function check(name, theme, width) {
  const session = await browser.context.newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axe });
  const found = await page.evaluate(rules => globalThis.axe.run(document, { runOnly: rules }), RULES);
  await session.detach();
  const told = found.violations.map(
    it => `${it.id}: ${it.nodes.map(node => `${node.target} ${node.any[0]?.message ?? ''}`).join('; ')}`,
  );
  await page.screenshot({ path: join(pictures, `network-${name}-${theme}-${width}.png`) });
  assert.deepEqual(told, [], `${name} ${theme} ${width}`);
}

async function inBothThemes(name, ready) {
  await page.emulateMedia({ reducedMotion: 'reduce' });
  for (const theme of ['light', 'dark']) {
    await page.evaluate(it => localStorage.setItem('theme', it), theme);
    for (const width of [1600, 800]) {
      await page.setViewportSize({ width, height: 1000 });
      await page.reload();
      await ready();
      await check(name, theme, width);
    }
  }
  await page.setViewportSize({ width: 1600, height: 1000 });
}

test('a demo shows every tier, its ways, its buffers and the delay by part', async () => {
  await page.goto(demo.url);
  await page.getByRole('link', { name: 'Network' }).click();
  assert.equal(new URL(page.url()).pathname, '/network');
  for (const [from, to] of [
    ['meters of gateway-1', 'gateway-1'], ['gateway-1', 'edge-1'], ['edge-1', 'utility'],
    ['headend-1', 'utility'], ['utility', 'archive-1'],
  ]) await way(from, to, 'in_use');
  await page.locator('[data-node="meters of gateway-1"]').getByText('3 linked').waitFor();
  for (const part of ['T_m', 'T_g', 'T_e', 'T_u', 'tiers', 'T_e2e']) {
    await page.locator(`[data-part="${part}"]`).waitFor();
  }
  assert.equal(await page.getByTestId('delay').locator('svg[role=img]').count(), 6);
  for (const node of ['gateway-1', 'edge-1']) await page.locator(`[data-buffer="${node}"]`).waitFor();
  assert.equal(await page.getByTestId('given-up').textContent(), '0');
  assert.equal(await page.getByTestId('ways-down').textContent(), '0');
  assert.equal(await page.getByTestId('pair').count(), 0);
  await inBothThemes('demo', () => page.locator('[data-part=T_e2e]').waitFor());
});

test('a take-over is drilled with the token and a second step', async () => {
  const member = {
    place: 1, standing: 'active', epoch: 3, lease_left_ms: 1_500, alone: false, peer: 'in_step', copy: null,
    behind: 0, edges: [{ name: 'edge-1', connected: true }, { name: 'edge-2', connected: false }], entries: 7,
    copies: 1, advice: null,
  };
  const asked = [];
  await page.route('**/api/v1/pair/status', route => route.fulfill({ json: member }));
  await page.route('**/api/v1/pair/failover', route => {
    asked.push([route.request().method(), route.request().headers().authorization]);
    if (asked.length === 1) return route.fulfill({ status: 409, json: { code: 'refused', error: 'wait until it is in step' } });
    member.standing = 'standby';
    return route.fulfill({ json: member });
  });
  await page.reload();
  const pair = page.getByTestId('pair');
  await pair.getByText('! edge-2 away').waitFor();
  const drill = pair.getByRole('button', { name: 'Drill a take-over…' });
  assert.ok(await drill.isDisabled());
  await pair.getByLabel('Operator token').fill('secret');
  await drill.click();
  // The focus is on the way out, so Enter alone cancels.
  await page.waitForFunction(() => document.activeElement?.textContent === 'Cancel');
  await page.keyboard.press('Enter');
  await drill.click();
  await check('pair', 'dark', 1600);
  await pair.getByRole('button', { name: 'Hand over now' }).click();
  await pair.getByRole('alert').getByText('wait until it is in step').waitFor();
  await drill.click();
  await pair.getByRole('button', { name: 'Hand over now' }).click();
  await pair.getByText('Handed over.').waitFor();
  assert.deepEqual(asked, [['POST', 'Bearer secret'], ['POST', 'Bearer secret']]);
  assert.equal(await drill.count(), 0);
  await page.unrouteAll();
});

test('a killed edge is seen: the backup is in use, then the primary again', async () => {
  const edges = await Promise.all(['edge-a', 'edge-b'].map(name => startEdge(folder, name)));
  running.push(...edges);
  const [a, b] = edges.map(edge => edge.said.edge);
  const gateway = await startGateway(folder, [a, b]);
  running.push(gateway);
  await page.goto(`${gateway.url}network`);
  await way('gateway-1', a, 'in_use');
  await way('gateway-1', b, 'ready');
  await page.getByText('Delays are measured where the utility runs.').waitFor();
  await edges[0].stop('SIGKILL');
  await way('gateway-1', a, 'down');
  await way('gateway-1', b, 'in_use');
  await change(`${a} → ${b}`);
  await page.locator('[data-paths=gateway-1]').getByText('uses its backup').waitFor();
  assert.equal(await page.getByTestId('ways-down').textContent(), '! 1');
  await inBothThemes('backup', () => way('gateway-1', b, 'in_use'));

  running.push(await startEdge(folder, 'edge-a', a.split(':')[1]));
  await way('gateway-1', a, 'in_use');
  await change('the primary was well again');
  const told = await (await fetch(`${gateway.url}api/v1/network/failovers`)).json();
  assert.deepEqual([told[0].from, told[0].to, told[0].why], [b, a, 'homecoming']);

  await gateway.stop('SIGKILL');
  await page.getByRole('alert').getByText('Old: the last answer failed.').waitFor();
});

test('nothing was complained about', () => {
  assert.deepEqual(complaints.filter(text => !/ERR_CONNECTION|WebSocket/.test(text)), []);
});
