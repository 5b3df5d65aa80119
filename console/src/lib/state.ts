/* What a frame does to the state that the page knows. Pure: nothing here touches a socket. */
import type { ClosedBill, Delta, HouseRow, Snapshot } from './api.ts';

/** Replaces and appends by key; rows that did not change keep their identity. */
function merged<T>(rows: T[], changes: T[], key: (row: T) => string): T[] {
  if (!changes.length) return rows;
  const place = new Map(rows.map((row, index) => [key(row), index]));
  const result = rows.slice();
  for (const row of changes) {
    const index = place.get(key(row));
    if (index === undefined) place.set(key(row), result.push(row) - 1);
    else result[index] = row;
  }
  return result;
}

const houseKey = (house: HouseRow): string => house.id;
const billKey = (bill: ClosedBill): string => `${bill.month} ${bill.house}`;

export function applied(before: Snapshot, delta: Delta): Snapshot {
  const houses = merged(before.houses, delta.houses, houseKey);
  const bills = merged(before.bills, delta.bills, billKey);
  if (bills.length !== before.bills.length) {
    // Newest month first; the sort is stable, so houses keep their order within a month.
    bills.sort((a, b) => (a.month < b.month ? 1 : a.month > b.month ? -1 : 0));
  }
  return {
    ...before,
    now: delta.now,
    speed: delta.speed,
    total_w: delta.total_w,
    price_per_kwh: delta.price_per_kwh,
    price_interval_end: delta.price_interval_end,
    counters: delta.counters,
    demand_response: delta.demand_response,
    houses,
    bills,
    stations: delta.stations ?? before.stations,
    trend: delta.trend ?? before.trend,
    layers: delta.layers ?? before.layers,
  };
}

/** Seconds, watts, price per kWh. */
export type TrendColumns = [number[], (number | null)[], (number | null)[]];

/**
 * The trend as steps on its full interval grid: each interval is a pair of points, at its start and
 * a second before the next start. A missing interval is a pair of `null`s.
 */
export function trendSteps(snapshot: Pick<Snapshot, 'trend' | 'interval_s'>): TrendColumns {
  const { trend, interval_s } = snapshot;
  const columns: TrendColumns = [[], [], []];
  const first = trend[0];
  const last = trend.at(-1);
  if (!first || !last) return columns;
  const known = new Map(trend.map(point => [Date.parse(point.end) / 1_000, point]));
  for (let end = Date.parse(first.end) / 1_000; end <= Date.parse(last.end) / 1_000; end += interval_s) {
    const point = known.get(end);
    const watts = point?.total_w ?? null;
    const price = point?.price_per_kwh == null ? null : Number(point.price_per_kwh);
    columns[0].push(end - interval_s, end - 1);
    columns[1].push(watts, watts);
    columns[2].push(price, price);
  }
  return columns;
}

export type Agreement = 'agreed' | 'differ' | 'pending' | 'unknown';

/** Whether meter and utility bill the same. They can be compared only where nothing waits. */
export function agreement(house: Pick<HouseRow, 'bill_so_far' | 'meter_bill' | 'unpriced'>): Agreement {
  if (house.bill_so_far == null || house.meter_bill == null) return 'unknown';
  if (house.bill_so_far === house.meter_bill) return 'agreed';
  return house.unpriced > 0 ? 'pending' : 'differ';
}
