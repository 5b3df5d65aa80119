// The page of meters in a real browser, against a small head-end in this process that keeps to the
// routes of `crates/web`. Build first: npm run build && npm run browser:meters
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startBrowser, temporary } from './program.mjs';

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const dist = fileURLToPath(new URL('../dist', import.meta.url));
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const TOKEN = '7f3c9a1e55d04b62a8e0c4d9b1f26e37';
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'";
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const pictures = process.env.GRIDLOOM_SHOTS ?? temporary('shots');

const meter = id => ({
  id, title: `47524C00${String(id).padStart(8, '0')}`, serial: `S${id}`, name: `${id} Mill Lane`,
  address: `192.0.2.7:${4000 + id}`, transport: 'tcp-wrapper', template: 'gridloom', groups: id % 2 ? [] : ['even'],
  state: 'active', collected_through: '2026-11-21T12:00:00Z',
  last_error: id === 3 ? { layer: 'key', text: 'the tag does not fit; check the keys', at: '2026-11-21T12:00:00Z' } : null,
});

/** What the head-end holds; each look at a running order settles one more meter, meter 3 fails. */
let world;
const counted = order => {
  const count = state => order.parts.filter(part => part.state === state).length;
  const [queued, running, done, failed] = ['queued', 'running', 'done', 'failed'].map(count);
  const state = order.state === 'running' && !queued && !running ? 'over' : order.state;
  return Object.assign(order, { queued, running, done, failed, state });
};

function headEnd(method, path, query, request, body) {
  if (!world.present) return [404, { code: 'no_headend', error: 'this console has no head-end' }];
  if (method === 'POST') {
    world.posts.push(path);
    if (request.headers.authorization !== `Bearer ${TOKEN}`) {
      return [401, { code: 'wrong_token', error: 'this is not the operator token' }];
    }
  }
  if (path === 'status') {
    const queued_by_lane = { on_demand: 0, command: 1, backfill: 2, periodic: 3 };
    const read_rate = { due: '2026-11-21T12:00:00Z', succeeded: 1199, missed: 1 };
    return [200, { meters: 1200, sessions: 4, queued_by_lane, read_rate, alarms: 1, orders_open: 0 }];
  }
  if (path === 'meters') {
    const text = query.get('text') ?? '';
    const found = world.meters.filter(it => it.id > Number(query.get('after')) && it.name.includes(text));
    return [200, found.slice(0, Number(query.get('limit')))];
  }
  if (path === 'orders' && method === 'GET') return [200, world.orders.map(it => ({ ...it, parts: [] })).reverse()];
  if (path === 'orders') {
    const { kind, meters } = JSON.parse(body);
    const state = kind.endsWith('connect') ? 'selected' : 'running';
    const parts = meters.map(meter => ({ meter, state: 'queued', detail: '' }));
    const id = world.orders.length + 1;
    const order = counted({ id, kind, by: 'night shift', at: '2026-11-21T12:00:00Z', state, total: meters.length, parts });
    world.orders.push(order);
    return [201, order];
  }
  const [, id, verb] = /^orders\/(\d+)\/?(\w*)$/.exec(path);
  const order = world.orders[id - 1];
  if (verb) order.state = verb === 'confirm' ? 'running' : 'over';
  else if (order.state === 'running') {
    const part = order.parts.find(it => it.state === 'queued');
    if (part) Object.assign(part, part.meter === 3 ? { state: 'failed', detail: 'key: the tag does not fit' } : { state: 'done', detail: 'verified' });
  }
  return [200, counted(order)];
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  let body = '';
  for await (const chunk of request) body += chunk;
  response.setHeader('content-security-policy', POLICY);
  if (pathname.startsWith('/api/v1/headend/')) {
    const [status, answer] = headEnd(request.method, pathname.slice(16), searchParams, request, body);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    return;
  }
  const file = join(dist, extname(pathname) ? pathname : 'index.html');
  if (!existsSync(file)) return void response.writeHead(404).end();
  response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'text/plain' }).end(readFileSync(file));
});

let url, browser, page;
before(async () => {
  await new Promise(done => server.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${server.address().port}/meters`;
  browser = await startBrowser();
  page = await browser.context.newPage();
});
after(async () => {
  await browser?.stop();
  server.closeAllConnections();
  server.close();
});
beforeEach(async () => {
  world = { present: true, meters: Array.from({ length: 1200 }, (_, at) => meter(at + 1)), orders: [], posts: [] };
  await page.goto(url);
});

const choose = id => page.getByRole('checkbox', { name: `Choose meter ${id}`, exact: true }).check();
const panel = () => page.getByTestId('order');

test('all meters are there, a few in the document, and the failing one stands out', async () => {
  await page.locator('[data-meter="1"]').waitFor();
  assert.equal(await page.getByRole('table', { name: 'Meters' }).getAttribute('aria-rowcount'), '1201');
  assert.ok((await page.locator('[data-meter]').count()) < 80);
  assert.equal(await page.locator('[data-meter] .warn').count(), 1);
  assert.match(await page.locator('[data-meter="3"] .warn').textContent(), /^key: the tag/);
  assert.match(await page.getByTestId('reads').textContent(), /^1199 of 1200$/);
  const cells = await page.locator('[data-meter="1"] [role=cell]').allTextContents();
  assert.equal(cells[7], '2026-11-21 12:00');
  await page.keyboard.press('/');
  await page.keyboard.type('119 Mill');
  await page.locator('[data-meter="1119"]').waitFor();
  assert.equal(await page.locator('[data-meter]').count(), 2);
  await page.keyboard.press('Escape');
  await page.getByRole('rowgroup', { name: /Meter rows/ }).focus();
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press(' ');
  assert.ok(await page.getByRole('checkbox', { name: 'Choose meter 1119' }).isChecked());
});

test('a read runs at once and is followed meter by meter', async () => {
  for (const id of [2, 3, 4]) await choose(id);
  await panel().getByText('3 meters chosen').waitFor();
  await panel().getByLabel('Operator token').fill('wrong');
  await panel().getByRole('button', { name: 'Give the order' }).click();
  await panel().getByRole('alert').getByText('this is not the operator token').waitFor();
  await panel().getByLabel('Operator token').fill(TOKEN);
  await panel().getByRole('button', { name: 'Give the order' }).click();
  await panel().getByTestId('order-state').getByText('Over').waitFor();
  assert.match(await panel().getByTestId('order-state').textContent(), /3 of 3 settled\s*·\s*1 failed/);
  const states = await panel().locator('[data-part]').allTextContents();
  assert.match(states[0], /3\s*Failed\s*key: the tag does not fit/);
  assert.equal(states.length, 3);
  await panel().getByRole('button', { name: 'Close' }).click();
  await panel().getByRole('button', { name: 'Order 1: Read' }).click();
  await panel().locator('[data-part="4"]').waitFor();
});

test('supply is switched only by the second step', async () => {
  for (const id of [1, 2]) await choose(id);
  await panel().getByRole('combobox').selectOption('disconnect');
  await panel().getByLabel('Operator token').fill(TOKEN);
  await panel().getByRole('button', { name: 'Select' }).click();
  await panel().getByText('2 customers lose supply.').waitFor();
  // The focus is on the way out, so Enter alone cancels.
  await page.waitForFunction(() => document.activeElement?.textContent === 'Cancel');
  assert.deepEqual(world.posts, ['orders']);
  await page.keyboard.press('Enter');
  await panel().getByTestId('order-state').getByText('Over').waitFor();
  assert.deepEqual(world.posts, ['orders', 'orders/1/cancel']);

  await panel().getByRole('button', { name: 'Close' }).click();
  await panel().getByRole('button', { name: 'Select' }).click();
  await panel().getByRole('button', { name: 'Disconnect 2 meters' }).click();
  await panel().getByTestId('order-state').getByText('Over').waitFor();
  assert.deepEqual(world.posts.slice(2), ['orders', 'orders/2/confirm']);
  assert.equal(await panel().locator('.bad').count(), 0);
});

test('without a head-end the page says so', async () => {
  world.present = false;
  await page.reload();
  await page.getByRole('alert').getByText('This console has no head-end', { exact: true }).waitFor();
  world.present = true;
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('[data-meter="1"]').waitFor();
});

for (const theme of ['light', 'dark']) {
  test(`no accessibility violation, ${theme}`, async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.evaluate(name => localStorage.setItem('theme', name), theme);
    for (const width of [1600, 1280, 800]) {
      await page.setViewportSize({ width, height: 1000 });
      await page.reload();
      for (const id of [2, 3]) await choose(id);
      await panel().getByRole('combobox').selectOption('disconnect');
      await panel().getByLabel('Operator token').fill(TOKEN);
      for (const step of ['write', 'select', 'run']) {
        if (step === 'select') await panel().getByRole('button', { name: 'Select' }).click();
        if (step === 'run') {
          await panel().getByRole('button', { name: 'Disconnect 2 meters' }).click();
          await panel().getByTestId('order-state').getByText('Over').waitFor();
        } else if (step === 'select') await panel().getByText('2 customers lose supply.').waitFor();
        const session = await browser.context.newCDPSession(page);
        await session.send('Runtime.evaluate', { expression: axe });
        const found = await page.evaluate(rules => globalThis.axe.run(document, { runOnly: rules }), RULES);
        await session.detach();
        const told = found.violations.map(
          it => `${it.id}: ${it.nodes.map(node => `${node.target} ${node.any[0]?.message ?? ''}`).join('; ')}`,
        );
        assert.deepEqual(told, [], `${step} ${width}`);
        await page.screenshot({ path: join(pictures, `meters-${step}-${theme}-${width}.png`) });
      }
    }
    await page.setViewportSize({ width: 1600, height: 1000 });
  });
}
