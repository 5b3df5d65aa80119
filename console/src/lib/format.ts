/* Numbers, money, power and time as the design system writes them. */

const NARROW_SPACE = '\u202f';
const NO_BREAK = '\u00a0';
const MINUS = '\u2212';
export const MISSING = '—';

const formats = new Map<number, Intl.NumberFormat>();
function fixed(decimals: number): Intl.NumberFormat {
  let format = formats.get(decimals);
  if (!format) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    format = new Intl.NumberFormat('en', { ...digits, useGrouping: true });
    formats.set(decimals, format);
  }
  return format;
}

/** Fixed decimals so that digits do not jump, true minus sign, groups from 10 000. */
export function num(value: number | null | undefined, decimals = 0): string {
  if (value == null || Number.isNaN(value)) return MISSING;
  const size = Math.abs(value);
  const digits = fixed(decimals).format(size);
  const text = digits.replaceAll(',', size >= 10_000 ? NARROW_SPACE : '');
  return value < 0 && Number(text.replaceAll(NARROW_SPACE, '')) !== 0 ? MINUS + text : text;
}

/** A value and its unit, joined by a no-break space. */
export function qty(value: number | null | undefined, unit: string, decimals = 0): string {
  return value == null ? MISSING : num(value, decimals) + NO_BREAK + unit;
}

export interface PowerUnit {
  unit: string;
  watts: number;
  decimals: number;
}

/** The unit in which every value up to `max` watts is written, so that a display never changes it. */
export function powerUnit(max: number): PowerUnit {
  if (max < 10_000) return { unit: 'W', watts: 1, decimals: 0 };
  if (max < 10_000_000) return { unit: 'kW', watts: 1_000, decimals: max < 100_000 ? 2 : 1 };
  return { unit: 'MW', watts: 1_000_000, decimals: 2 };
}

export const power = (watts: number | null | undefined, unit: PowerUnit): string =>
  watts == null ? MISSING : qty(watts / unit.watts, unit.unit, unit.decimals);

/** Watt-hours as kilowatt-hours with one decimal. */
export const energy = (wattHours: number | null | undefined): string =>
  wattHours == null ? MISSING : qty(wattHours / 1_000, 'kWh', 1);

/** An exact decimal string as money; never passes through a float. */
export function money(amount: string | null | undefined, currency: string, digits: number): string {
  if (amount == null) return MISSING;
  const format = new Intl.NumberFormat('en', {
    style: 'currency',
    currency,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return format.format(amount as Intl.StringNumericLiteral).replace('-', MINUS);
}

/** A price per kilowatt-hour: at least four decimals, and no zeros beyond them. */
export function price(amount: string | null | undefined): string {
  if (amount == null) return MISSING;
  const [whole = '', fraction = ''] = amount.split('.');
  return `${whole}.${fraction.replace(/0+$/, '').padEnd(4, '0')}`.replace('-', MINUS);
}

/** An age with its two largest units. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return `${seconds}${NO_BREAK}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}${NO_BREAK}min`;
  if (seconds < 86_400) {
    const minutes = Math.floor((seconds % 3_600) / 60);
    return `${Math.floor(seconds / 3_600)}${NO_BREAK}h${minutes ? ` ${minutes}${NO_BREAK}min` : ''}`;
  }
  return `${Math.floor(seconds / 86_400)}${NO_BREAK}d`;
}

/** `HH:MM` or `HH:MM:SS` of an ISO time, which is UTC. */
export const clock = (iso: string, digits: 5 | 8 = 8): string => iso.slice(11, 11 + digits);

const dates = new Intl.DateTimeFormat('en-GB', {
  timeZone: 'UTC',
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  year: 'numeric',
});
export const date = (iso: string): string => dates.format(new Date(iso));

const months = new Intl.DateTimeFormat('en', {
  timeZone: 'UTC',
  month: 'short',
  year: 'numeric',
});
/** `2026-10` as `Oct 2026`. */
export const month = (text: string): string => months.format(new Date(`${text}-01T00:00:00Z`));

/** The relative change in percent, signed. */
export function change(from: number, to: number): string {
  if (from === 0) return MISSING;
  const percent = ((to - from) / from) * 100;
  return (percent > 0 ? '+' : '') + qty(percent, '%', 1);
}
