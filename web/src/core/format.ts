// Numbers for people: 1,234 not 1234; 1.2 s not 1203 ms; the unit apart from the value so that it can be drawn weaker.

export interface Quantity {
  readonly value: string;
  readonly unit: string;
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const upToTenth = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export function count(value: number): string {
  return whole.format(value);
}

export function shortCount(value: number): string {
  return value < 1_000_000 ? whole.format(value) : compact.format(value);
}

export function rate(value: number): string {
  return Math.abs(value) >= 100 ? whole.format(value) : upToTenth.format(value);
}

// A share from 0 to 1 as percent; what is not all must not read as 100.
export function percent(share: number): string {
  const value = share * 100;
  if (value > 99.9 && value < 100) {
    return "99.9";
  }
  if (value > 0 && value < 0.1) {
    return "0.1";
  }
  return Number.isInteger(value) ? whole.format(value) : tenth.format(value);
}

export function duration(ms: number): Quantity {
  const span = Math.max(0, ms);
  if (span < 1) {
    return { value: span === 0 ? "0" : "<1", unit: "ms" };
  }
  if (span < 999.5) {
    return { value: whole.format(span), unit: "ms" };
  }
  if (span < 59.95 * SECOND) {
    return { value: upToTenth.format(span / SECOND), unit: "s" };
  }
  if (span < HOUR - SECOND / 2) {
    return pair(span, MINUTE, "min", SECOND, "s");
  }
  return span < DAY - MINUTE / 2 ? pair(span, HOUR, "h", MINUTE, "min") : pair(span, DAY, "d", HOUR, "h");
}

function pair(ms: number, large: number, largeUnit: string, small: number, smallUnit: string): Quantity {
  const units = Math.round(ms / small);
  const per = large / small;
  const rest = units % per;
  const value = whole.format(Math.floor(units / per));
  return rest === 0 ? { value, unit: largeUnit } : { value: `${value} ${largeUnit} ${rest}`, unit: smallUnit };
}

export function durationText(ms: number): string {
  const { value, unit } = duration(ms);
  return `${value} ${unit}`;
}

// How old something is. Coarser than a duration: nobody needs the seconds of three hours.
export function age(ms: number): string {
  const span = Math.max(0, ms);
  if (span < 9.95 * SECOND) {
    return `${tenth.format(span / SECOND)} s`;
  }
  if (span < 99.5 * SECOND) {
    return `${whole.format(span / SECOND)} s`;
  }
  if (span < 99.5 * MINUTE) {
    return `${whole.format(span / MINUTE)} min`;
  }
  return span < 47.5 * HOUR ? `${whole.format(span / HOUR)} h` : `${whole.format(span / DAY)} d`;
}

export function signed(value: number, format: (magnitude: number) => string): string {
  const text = format(Math.abs(value));
  if (Number.parseFloat(text) === 0) {
    return `±${text}`;
  }
  return `${value < 0 ? "−" : "+"}${text}`;
}

const two = (value: number): string => String(value).padStart(2, "0");

export function timeOfDay(ms: number, precision: "minutes" | "seconds" | "millis" = "seconds"): string {
  const date = new Date(ms);
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (precision === "minutes") {
    return minutes;
  }
  const seconds = `${minutes}:${two(date.getSeconds())}`;
  return precision === "seconds" ? seconds : `${seconds}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export function day(ms: number): string {
  const date = new Date(ms);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

// The time alone says too little of another day.
export function when(ms: number, now: number): string {
  return day(ms) === day(now) ? timeOfDay(ms) : `${day(ms).slice(5)} ${timeOfDay(ms, "minutes")}`;
}

// The exact time for a tooltip, with the zone, so that a copied text still says what it means.
export function exactTime(ms: number): string {
  const offset = -new Date(ms).getTimezoneOffset();
  const zone = offset === 0 ? "UTC" : `UTC${offset < 0 ? "−" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  return `${day(ms)} ${timeOfDay(ms, "millis")} ${zone}`;
}

export function plural(amount: number, one: string, many = `${one}s`): string {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}

// e2e_testing → E2e testing
export function sentence(name: string): string {
  const text = name.replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
