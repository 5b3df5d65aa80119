// The console against the real program, in a real browser.
//   GRIDLOOM_BIN=path/to/gridloom npm run browser
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startBrowser, startProgram, temporary } from './program.mjs';
import { lib } from './typescript.mjs';

const { energy, money, price } = await lib('format');

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const data = temporary('data');
const pictures = process.env.GRIDLOOM_SHOTS ?? temporary('shots');
let program, browser, page;
let complaints = [];

before(async () => {
  program = await startProgram({ data });
  browser = await startBrowser();
  page = await browser.context.newPage();
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', error => complaints.push(String(error)));
});

after(async () => {
  await browser?.stop();
  await program?.stop('SIGTERM');
  rmSync(data, { recursive: true, force: true });
});

const api = async path => (await fetch(`${program.url}api/v1/${path}`)).json();

/** The first answer of `probe` that is not null or false. */
async function until(what, probe, withinMs = 20_000) {
  const end = Date.now() + withinMs;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < end, `${what} did not happen within ${withinMs} ms`);
    await page.waitForTimeout(60);
  }
}

/** What the page says at one moment, by the API's names. */
const shown = () =>
  page.evaluate(() => {
    const text = (root, selector) => root.querySelector(selector)?.textContent?.trim() ?? null;
    const rows = [...document.querySelectorAll('[data-house]')].map(row => [
      row.dataset.house,
      {
        power: text(row, '[data-field=power]'),
        energy: text(row, '[data-field=energy]'),
        bill: text(row, '[data-field=bill]'),
        meterBill: text(row, '[data-field="meter-bill"]'),
      },
    ]);
    return {
      clock: document.querySelector('[data-testid=clock] time')?.getAttribute('datetime') ?? null,
      price: text(document, '[data-testid=price]'),
      stations: text(document, '[data-testid=stations]'),
      houses: Object.fromEntries(rows),
    };
  });

/** What the page should say for a snapshot. */
function expected(snapshot) {
  const amount = text => money(text, snapshot.currency, snapshot.minor_digits);
  const watts = value => (value == null ? '—' : `${value}`);
  return {
    clock: snapshot.now,
    price: price(snapshot.price_per_kwh),
    stations: String(snapshot.stations.filter(station => station.on).length),
    houses: Object.fromEntries(
      snapshot.houses.map(house => [
        house.id,
        {
          power: watts(house.power_w),
          energy: energy(house.energy_wh),
          bill: amount(house.bill_so_far),
          meterBill: amount(house.meter_bill),
        },
      ]),
    ),
  };
}

const plain = state => ({
  ...state,
  houses: Object.fromEntries(
    Object.entries(state.houses).map(([id, house]) => [
      id,
      { ...house, power: house.power.replace(/[^\d−—]/g, '').replace('−', '-') },
    ]),
  ),
});

test('the page shows the numbers of the API', async () => {
  await page.goto(program.url);
  await page.locator('[data-house]').first().waitFor();
  assert.equal(await page.title(), 'gridloom console');
  // The page lags by up to one frame: compare it with every snapshot that the API gave meanwhile.
  const seen = new Map();
  const pair = await until('a moment that page and API both told', async () => {
    const snapshot = await api('snapshot');
    seen.set(snapshot.now, snapshot);
    const state = await shown();
    return seen.has(state.clock) && { state, snapshot: seen.get(state.clock) };
  });
  assert.ok(Object.keys(pair.state.houses).length >= 3);
  assert.deepEqual(plain(pair.state), expected(pair.snapshot));
});

test('it updates by itself', async () => {
  const first = (await shown()).clock;
  await until('the clock moved', async () => (await shown()).clock !== first);
  const power = JSON.stringify((await shown()).houses);
  await until('a house changed', async () => JSON.stringify((await shown()).houses) !== power, 60_000);
});

test('a selected house shows its meter, whose display turns, stops and goes on', async () => {
  const house = (await api('snapshot')).houses[0];
  await page.locator(`[data-house="${house.id}"]`).click();
  const panel = page.getByTestId('house');
  await panel.getByTestId('lcd').waitFor();
  assert.ok(page.url().endsWith(`/houses/${house.id}`));
  const detail = await api(`houses/${house.id}`);
  assert.ok(detail.display.length > 1 && detail.appliances.length > 0);
  assert.equal(await panel.locator('.appliances li').count(), detail.appliances.length);

  const lcd = panel.getByTestId('lcd');
  assert.equal(await lcd.getAttribute('aria-live'), 'off');
  const label = () => lcd.locator('.label').textContent();
  const first = await label();
  await until('the display turned', async () => (await label()) !== first);
  await page.keyboard.press('p');
  await panel.getByRole('button', { name: 'Resume' }).waitFor();
  const held = await label();
  await page.waitForTimeout(5_000);
  assert.equal(await label(), held);
  await panel.getByRole('button', { name: 'Next page' }).click();
  assert.notEqual(await label(), held);
  await page.keyboard.press('p');
  await panel.getByRole('button', { name: 'Pause' }).waitFor();
});

test('the keyboard reaches everything', async () => {
  await page.goto(program.url);
  await page.locator('[data-house]').first().waitFor();
  const ids = (await api('snapshot')).houses.map(house => house.id);
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'find');
  await page.keyboard.type(ids[1]);
  await until('one house is left', async () => (await page.locator('[data-house]').count()) === 1);
  await page.keyboard.press('Control+A');
  await page.keyboard.press('Delete');
  await page.keyboard.press('Escape');

  await page.getByRole('rowgroup', { name: 'House rows, arrow keys select' }).focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  assert.ok(page.url().endsWith(`/houses/${ids[1]}`), page.url());
  await page.keyboard.press('k');
  assert.ok(page.url().endsWith(`/houses/${ids[0]}`), page.url());
  await page.keyboard.press('Escape');
  assert.equal(page.url(), program.url);
  await page.getByTestId('utility').waitFor();

  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await page.getByRole('dialog').count(), 0);
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  const was = await theme();
  await page.keyboard.press('t');
  assert.notEqual(await theme(), was);
});

for (const theme of ['light', 'dark']) {
  test(`no accessibility violation, ${theme}`, async () => {
    const id = (await api('snapshot')).houses[0].id;
    await page.emulateMedia({ reducedMotion: 'reduce' });
    for (const [name, path] of [['overview', ''], ['house', `houses/${id}`]]) {
      for (const width of [1600, 1280, 800]) {
        await page.setViewportSize({ width, height: 1000 });
        await page.goto(program.url + path);
        await page.evaluate(name => localStorage.setItem('theme', name), theme);
        await page.reload();
        await page.locator('[data-house]').first().waitFor();
        if (name === 'house') await page.getByTestId('lcd').waitFor();
        // The policy forbids eval, so the checker comes in through the debugging protocol.
        const session = await browser.context.newCDPSession(page);
        await session.send('Runtime.evaluate', { expression: axe });
        const found = await page.evaluate(
          rules => globalThis.axe.run(document, { runOnly: rules }),
          RULES,
        );
        await session.detach();
        const told = found.violations.map(
          it => `${it.id}: ${it.nodes.map(node => `${node.target} ${node.any[0]?.message ?? ''}`).join('; ')}`,
        );
        assert.deepEqual(told, [], `${name} ${width}`);
        await page.screenshot({ path: join(pictures, `${name}-${theme}-${width}.png`) });
      }
    }
    await page.setViewportSize({ width: 1600, height: 1000 });
    await page.emulateMedia({ reducedMotion: 'no-preference' });
  });
}

test('until here the browser had nothing to complain about', () => {
  assert.deepEqual(complaints, []);
});

test('without the server everything is stale, and it comes back by itself', async () => {
  await page.goto(program.url);
  await page.locator('[data-house]').first().waitFor();
  await program.stop();
  await page.getByTestId('lost').waitFor({ timeout: 8_000 });
  assert.equal(await page.evaluate(() => document.documentElement.dataset.link), 'lost');
  const style = await page.locator('[data-field=power]').first().evaluate(it => getComputedStyle(it).fontStyle);
  assert.equal(style, 'italic');
  const age = () => page.getByTestId('link-age').textContent().then(Number.parseFloat);
  const older = await age();
  await until('the age grew', async () => (await age()) > older);
  await page.screenshot({ path: join(pictures, 'lost.png') });

  program = await startProgram({ data, port: program.port });
  await page.getByTestId('lost').waitFor({ state: 'detached', timeout: 30_000 });
  const back = (await shown()).clock;
  await until('the clock moves again', async () => (await shown()).clock !== back);
  complaints = complaints.filter(it => !/WebSocket|ERR_CONNECTION|Failed to (load|fetch)/.test(it));
  assert.deepEqual(complaints, []);
});
