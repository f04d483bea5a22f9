// Durations as people write them in a field, and as proto JSON has them. Pure.
import { jsonMs } from "./time";

// Shares and seconds have no exact factor of ten in binary: 0.57 is 57 %, not 56.99999999999999.
export const exact = (value: number): number => Number(value.toPrecision(12));

const UNITS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800 };

// `1h30m`, `5 min`, `90` (seconds) as proto JSON has it; undefined when it says no time.
export function durationJson(text: string): string | undefined {
  const plain = text.trim().toLowerCase();
  if (/^\d+(\.\d+)?$/.test(plain)) {
    return `${plain}s`;
  }
  const parts = [...plain.matchAll(/(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])/g)];
  const rest = plain.replaceAll(/(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])/g, "").trim();
  if (parts.length === 0 || rest !== "") {
    return undefined;
  }
  return `${exact(parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (UNITS[unit ?? ""] ?? 0), 0))}s`;
}

// As it is written in a field: `1h30m`; empty for none.
export function durationInput(json: string | undefined): string {
  let left = Math.round(jsonMs(json));
  const parts: string[] = [];
  for (const [unit, ms] of [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1000],
    ["ms", 1],
  ] as const) {
    if (left >= ms) {
      parts.push(`${Math.floor(left / ms)}${unit}`);
      left %= ms;
    }
  }
  return parts.join("");
}
