// The piece of time that is in view, in milliseconds since the trace began. Pure.
import type { Span } from "../core/history";

// A microsecond is the least that the contract tells apart.
const LEAST_MS = 0.02;

export function zoomed(view: Span, full: Span, factor: number, at: number): Span {
  const long = Math.min(full.to - full.from, Math.max(LEAST_MS, (view.to - view.from) * factor));
  const share = (at - view.from) / (view.to - view.from || 1);
  return within({ from: at - share * long, to: at + (1 - share) * long }, full);
}

export function panned(view: Span, full: Span, by: number): Span {
  return within({ from: view.from + by, to: view.to + by }, full);
}

export function within({ from, to }: Span, full: Span): Span {
  const long = Math.min(Math.max(to - from, LEAST_MS), full.to - full.from);
  const begin = Math.max(full.from, Math.min(from, full.to - long));
  return { from: begin, to: begin + long };
}

// A piece with a margin, so that its ends are seen.
export function around(from: number, to: number, full: Span): Span {
  const margin = Math.max((to - from) * 0.1, LEAST_MS);
  return within({ from: from - margin, to: to + margin }, full);
}

// An offset as exact as what is between two labels.
export function offsetText(ms: number, step: number, words: (ms: number) => string): string {
  if (step >= 1000 || ms === 0) {
    return words(ms);
  }
  return step < 1 ? `${trimmed(ms, 3)} ms` : ms >= 1000 ? `${trimmed(ms / 1000, 3)} s` : `${trimmed(ms, 0)} ms`;
}

const trimmed = (value: number, digits: number): string =>
  value
    .toFixed(digits)
    .replace(/(\.\d*?)0+$/, "$1")
    .replace(/\.$/, "");
