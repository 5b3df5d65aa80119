// Tables for the parts that decide without a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lib } from './typescript.mjs';

const format = await lib('format');
const network = await lib('network');
const { agreement, applied, trendSteps } = await lib('state');

const spaced = text => text.replaceAll('\u00a0', ' ').replaceAll('\u202f', '_');

test('numbers', () => {
  for (const [value, decimals, text] of [
    [0, 0, '0'], [null, 0, '—'], [Number.NaN, 1, '—'], [9_999, 0, '9999'], [10_000, 0, '10_000'],
    [1_234_567.891, 1, '1_234_567.9'], [-5.25, 1, '−5.3'], [-0.04, 1, '0.0'], [-12_345, 0, '−12_345'],
  ]) assert.equal(spaced(format.num(value, decimals)), text, `${value} ${decimals}`);
});

test('power keeps the unit that its largest value needs', () => {
  for (const [max, watts, text] of [
    [9_999, 1_234, '1234 W'], [10_000, 1_234, '1.23 kW'], [200_000, 1_234, '1.2 kW'],
    [20_000_000, 1_500_000, '1.50 MW'], [10_000, null, '—'], [10_000, -500, '−0.50 kW'],
  ]) assert.equal(spaced(format.power(watts, format.powerUnit(max))), text, `${max} ${watts}`);
});

test('money and prices stay exact', () => {
  for (const [amount, currency, digits, text] of [
    ['12.05', 'EUR', 2, '€12.05'], ['-0.01', 'EUR', 2, '−€0.01'], ['1500', 'JPY', 0, '¥1,500'],
    ['90071992547409931.37', 'EUR', 2, '€90,071,992,547,409,931.37'], [null, 'EUR', 2, '—'],
  ]) assert.equal(format.money(amount, currency, digits), text, `${amount}`);
  for (const [amount, text] of [
    ['0.187500', '0.1875'], ['0.100000', '0.1000'], ['0.123456', '0.123456'], ['-0.050000', '−0.0500'],
    [null, '—'],
  ]) assert.equal(format.price(amount), text, `${amount}`);
});

test('ages and times', () => {
  for (const [ms, text] of [
    [0, '0 s'], [-5_000, '0 s'], [59_400, '59 s'], [60_000, '1 min'], [3_600_000, '1 h'],
    [5_400_000, '1 h 30 min'], [86_400_000 * 2.5, '2 d'],
  ]) assert.equal(spaced(format.age(ms)), text, `${ms}`);
  assert.equal(format.clock('2026-11-21T17:05:09Z'), '17:05:09');
  assert.equal(format.clock('2026-11-21T17:05:09Z', 5), '17:05');
  assert.equal(format.month('2026-09'), 'Sep 2026');
  assert.equal(format.change(200, 150), '−25.0\u00a0%');
  assert.equal(format.change(0, 150), '—');
});

test('what waits and how long it takes', () => {
  for (const [us, text] of [
    [null, '—'], [0, '0 µs'], [999, '999 µs'], [1_500, '1.5 ms'], [250_000, '250 ms'], [1_050_000, '1.05 s'], [90_000_000, '1 min'],
  ]) assert.equal(spaced(network.took(us)), text, `${us}`);
  for (const [count, text] of [[0, '0 B'], [2_048, '2.0 KiB'], [3 << 20, '3.0 MiB']]) assert.equal(spaced(network.bytes(count)), text);
});

test('a drawing has a column for each tier, and no more nodes than one can see', () => {
  const node = (tier, name, state = 'up') => ({ tier, name, state, is_here: true, meters: null });
  const way = (from, to) => ({ from, to, rank: 'only', state: 'in_use' });
  const gateways = Array.from({ length: 1_000 }, (_, at) => node('gateway', `g${at}`, at === 900 ? 'down' : 'up'));
  const topology = {
    nodes: [...gateways, node('edge', 'e'), node('utility', 'u'), node('odd', 'x')],
    ways: [...gateways.map(it => way(it.name, 'e')), way('e', 'u'), way('e', 'gone')],
    left_off: 0,
  };
  const map = network.drawn(topology);
  assert.equal(map.columns, 3);
  assert.deepEqual(map.more, [1_000 - network.COLUMN_MAX, 0, 0]);
  assert.equal(map.rows, network.COLUMN_MAX + 1);
  assert.equal(map.placed.find(it => it.node.name === 'g900')?.row, 0);
  assert.equal(map.ways.length, network.COLUMN_MAX + 1);
  assert.deepEqual(network.drawn({ nodes: [], ways: [], left_off: 0 }), { placed: [], ways: [], more: [], columns: 0, rows: 0 });
});

test('a bill can be compared only where nothing waits', () => {
  for (const [bill_so_far, meter_bill, unpriced, is] of [
    ['1.00', '1.00', 0, 'agreed'], ['1.00', '1.00', 3, 'agreed'], ['1.00', '1.01', 0, 'differ'],
    ['1.00', '1.01', 1, 'pending'], [null, '1.00', 0, 'unknown'], ['1.00', null, 0, 'unknown'],
  ]) assert.equal(agreement({ bill_so_far, meter_bill, unpriced }), is);
});

test('a missing interval becomes a pair of nulls', () => {
  const at = (end, total_w) => ({ end: `1970-01-01T00:${end}:00Z`, total_w, price_per_kwh: '0.5' });
  const trend = [at('15', 1), at('30', 2), at('00', 0)].slice(0, 2).concat(at('59', 9));
  trend[2].end = '1970-01-01T01:00:00Z';
  const [times, watts] = trendSteps({ trend, interval_s: 900 });
  assert.deepEqual(times, [0, 899, 900, 1_799, 1_800, 2_699, 2_700, 3_599]);
  assert.deepEqual(watts, [1, 1, 2, 2, null, null, 9, 9]);
  assert.deepEqual(trendSteps({ trend: [], interval_s: 900 }), [[], [], []]);
});

test('a delta replaces what changed and keeps the rest as it is', () => {
  const house = (id, power_w) => ({ id, power_w });
  const bill = (month, house) => ({ month, house });
  const before = {
    now: 'a', houses: [house('h1', 1), house('h2', 2)], bills: [bill('2026-10', 'h1')],
    stations: ['s'], trend: [], layers: [], interval_s: 900,
  };
  const delta = {
    now: 'b', houses: [house('h2', 3), house('h3', 4)], stations: null, trend: ['t'], layers: null,
    bills: [bill('2026-10', 'h2'), bill('2026-11', 'h1')],
  };
  const state = applied(before, delta);
  assert.equal(state.now, 'b');
  assert.equal(state.houses[0], before.houses[0]);
  assert.deepEqual(state.houses.map(it => it.power_w), [1, 3, 4]);
  assert.deepEqual(state.bills.map(it => `${it.month} ${it.house}`), ['2026-11 h1', '2026-10 h1', '2026-10 h2']);
  assert.equal(state.stations, before.stations);
  assert.deepEqual(state.trend, ['t']);
  assert.equal(before.houses[1].power_w, 2);
});
