// The page of security in a real browser, against `gridloom serve` that real attackers attack.
//   GRIDLOOM_BIN=path/to/gridloom node --test tests/security.mjs
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { keysOf, run, startBrowser, startUtility, temporary } from './program.mjs';

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const folder = temporary('security');
const pictures = process.env.GRIDLOOM_SHOTS ?? temporary('shots');
const complaints = [];
let program, browser, page;

before(async () => {
  program = await startUtility(folder);
  browser = await startBrowser();
  page = await browser.context.newPage();
  page.on('console', message => {
    const isExpected = / (401|404) /.test(message.text());
    if (['error', 'warning'].includes(message.type()) && !isExpected) complaints.push(message.text());
  });
  page.on('pageerror', error => complaints.push(String(error)));
});
after(async () => {
  await browser?.stop();
  await program?.stop('SIGTERM');
  rmSync(folder, { recursive: true, force: true });
});

const api = async path => (await fetch(`${program.url}api/v1/security/${path}`)).json();
const attack = (kind, meter, ...more) => {
  const { title, ek, ak } = keysOf(meter);
  const keys = kind === 'flood-inside' ? ['--ek', ek, '--ak', ak, '--counter', '100', '--period', '1'] : [];
  const how = ['--target', program.said.gateway, '--rate', '20', '--duration', '2', '--title', title];
  return run(['emulate', 'attacker', kind, ...how, ...keys, ...more]);
};
const drawer = () => page.getByTestId('drawer');
const visit = path => page.goto(`${program.url}${path}`);

async function check(name, theme, width) {
  const session = await browser.context.newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axe });
  const found = await page.evaluate(rules => globalThis.axe.run(document, { runOnly: rules }), RULES);
  await session.detach();
  const told = found.violations.map(
    it => `${it.id}: ${it.nodes.map(node => `${node.target} ${node.any[0]?.message ?? ''}`).join('; ')}`,
  );
  assert.deepEqual(told, [], `${name} ${theme} ${width}`);
  await page.screenshot({ path: join(pictures, `security-${name}-${theme}-${width}.png`) });
}

test('while nothing is wrong the page says so, and why it is empty', async () => {
  await visit('security');
  await page.getByText('The edge has found nothing odd since it started.').waitFor();
  await page.getByText('Every packet was forwarded, or dropped and counted below its reason.').waitFor();
  await page.getByTestId('steps').getByText('No packet had a fault.').waitFor();
  assert.equal(await page.getByTestId('held').textContent(), '0 of 4096');
  assert.equal(await page.locator('main .warn, main .bad').count(), 0);
  const names = ['gateway-1', 'edge-1', 'utility', 'headend-1', 'archive-1'];
  for (const name of names) await page.getByTestId('certificates').locator('b').getByText(name, { exact: true }).waitFor();
  assert.equal(await page.getByTestId('certificates').getByText('valid', { exact: true }).count(), names.length);
  assert.equal(await page.locator('[data-trust]').count(), 5);
});

test('forgers make incidents, an insider fills the queue', async () => {
  await attack('spoof', 3);
  await attack('flood-inside', 1, '--frames', '30');
  const held = (await api('status')).queue.packets;
  assert.ok(held > 10, `${held} held`);
  await page.locator('[data-packet]').first().waitFor();
  await page.waitForFunction(count => document.querySelector('[data-testid=held]').textContent.startsWith(`${count} of`), held);
  const incidents = await api('incidents');
  for (const what of ['bad tag', 'unknown title', 'register runs backwards']) {
    const one = incidents.find(it => it.what === what);
    const cells = await page.locator(`[data-incident="${one.id}"] [role=cell]`).allTextContents();
    assert.equal(cells[2], what);
    assert.equal(cells[3], String(one.count));
    assert.equal(cells[4], one.held ? `! ${one.held} held` : '');
  }
  const steps = await page.getByTestId('steps').textContent();
  for (const words of ['Identity', 'Integrity', 'Behaviour', 'unknown title', 'bad tag']) assert.ok(steps.includes(words), words);
});

test('an incident shows its evidence and only its packets', async () => {
  const incidents = await api('incidents');
  const one = incidents.find(it => it.held > 1);
  await page.locator(`[data-incident="${one.id}"] a`).click();
  await drawer().getByRole('heading', { name: `Incident ${one.id}` }).waitFor();
  await drawer().getByText('Event 1').waitFor();
  await page.getByText(`Only incident ${one.id}`).waitFor();
  const rows = page.getByRole('table', { name: /Alert queue/ });
  await page.waitForFunction(([table, count]) => table.ariaRowCount === count, [await rows.elementHandle(), String(one.held + 1)]);
  await page.keyboard.press('Escape');
  await page.getByText('Trust, least first').waitFor();
  const empty = incidents.find(it => it.what === 'bad tag');
  await visit(`security/incidents/${empty.id}`);
  await page.getByText('No packet of this incident is held').waitFor();
  await visit('security/incidents/99999');
  await page.getByText('This incident is not kept any more').waitFor();
});

test('by keyboard: a packet is opened, and its scores and reasons are words', async () => {
  await visit('security');
  await page.locator('[data-packet]').first().waitFor();
  await page.getByRole('rowgroup', { name: /Held packets/ }).focus();
  for (const key of ['j', 'j', 'k', 'Enter']) await page.keyboard.press(key);
  const [first] = await api('quarantine?limit=1');
  await drawer().getByRole('heading', { name: `Held packet ${first.id}` }).waitFor();
  const scores = await drawer().locator('[data-score]').allTextContents();
  assert.equal(scores.length, 5);
  assert.match(scores[2], /Behaviour\s*0\.\d\d\s*below 0\.25/);
  assert.match(scores[4], /Trust P\s*0\.\d\d\s*(at least|below) 0\.70/);
  for (const { reason } of first.reasons) await drawer().getByText(reason, { exact: true }).waitFor();
  await drawer().getByText('authenticated and encrypted (0x30)').waitFor();
  await page.keyboard.press('Escape');
  assert.equal(new URL(page.url()).pathname, '/security');
});

test('a decision needs token, reason and a second step, and is carried out', async () => {
  const [first, second] = await api('quarantine?limit=2');
  await visit(`security/packets/${first.id}`);
  const button = name => drawer().getByRole('button', { name });
  await button('Release…').waitFor();
  assert.ok(await button('Release…').isDisabled());
  await drawer().getByLabel('Reason, for the audit log').fill('the fitter was there');
  await drawer().getByLabel('Operator token').fill('0'.repeat(64));
  await button('Release…').click();
  await drawer().getByText('is billed').waitFor();
  // The focus is on the way out, so Enter alone cancels.
  await page.waitForFunction(() => document.activeElement?.textContent === 'Cancel');
  await page.keyboard.press('Enter');
  await button('Release…').click();
  await button(`Release packet ${first.id}`).click();
  await drawer().getByRole('alert').getByText('this is not the operator token').waitFor();
  assert.equal((await api(`quarantine/${first.id}`)).packet.state, 'open');
  await drawer().getByLabel('Operator token').fill(program.token);
  await button('Release…').click();
  await button(`Release packet ${first.id}`).click();
  await page.getByTestId('decided').getByText('Released: the utility has the reading').waitFor();
  assert.equal((await api(`quarantine/${first.id}`)).code, 'unknown');
  await page.locator(`[data-packet="${first.id}"]`).waitFor({ state: 'detached' });

  await button('Next packet').click();
  await drawer().getByRole('heading', { name: `Held packet ${second.id}` }).waitFor();
  // The token stays for the next one, the reason does not.
  await drawer().getByLabel('Reason, for the audit log').fill('invented');
  await button('Reject…').click();
  await drawer().getByText('The reading is lost').waitFor();
  await button(`Reject packet ${second.id}`).click();
  await page.getByTestId('decided').getByText('Rejected: the reading is given up').waitFor();
  await visit(`security/packets/${first.id}`);
  await page.getByText('This packet is not held any more').waitFor();
  const proof = await run(['audit', 'verify', '--data', program.data]);
  assert.match(proof, /all intact/);
});

for (const theme of ['light', 'dark']) {
  test(`no accessibility violation, ${theme}`, async () => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.evaluate(name => localStorage.setItem('theme', name), theme);
    const [held] = await api('quarantine?limit=1');
    const incident = (await api('incidents')).find(it => it.held);
    for (const width of [1600, 1280, 800]) {
      await page.setViewportSize({ width, height: 1000 });
      await visit('security');
      await page.getByTestId('certificates').getByText('edge-1', { exact: true }).waitFor();
      await page.locator('[data-packet]').first().waitFor();
      await check('page', theme, width);
      await visit(`security/incidents/${incident.id}`);
      await drawer().getByText('Event 1').waitFor();
      await check('incident', theme, width);
      await visit(`security/packets/${held.id}`);
      await drawer().getByLabel('Reason, for the audit log').fill('x');
      await drawer().getByLabel('Operator token').fill(program.token);
      await check('packet', theme, width);
      await drawer().getByRole('button', { name: 'Reject…' }).click();
      await check('sure', theme, width);
    }
    await page.setViewportSize({ width: 1600, height: 1000 });
  });
}

test('when the server is gone the page says that it is old', async () => {
  await visit('security');
  await page.locator('[data-packet]').first().waitFor();
  await program.stop('SIGKILL');
  await page.getByRole('alert').getByText('Old: the last answer failed.').waitFor();
});

test('nothing was complained about', () => {
  assert.deepEqual(complaints.filter(text => !/ERR_CONNECTION|WebSocket/.test(text)), []);
});
