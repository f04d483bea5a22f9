// What the page asks for: the filter of the search box, the chips and the time range as one filter of the API.
import type { TimeRange } from "../core/route";
import { isPlain } from "../core/filter";

export const SEVERITIES = ["critical", "error", "warning", "info", "debug"];
// The chip that leaves out the signs of life, which are most of what comes.
export const QUIET = "quiet";

// Text that is a filter, or words.
export function question(filter: string, chips: readonly string[], range: TimeRange, now: number): string {
  const times =
    range.kind === "fixed"
      ? [`occur_time >= "${new Date(range.from).toISOString()}"`, `occur_time < "${new Date(range.to).toISOString()}"`]
      : [`occur_time >= "${new Date(now - range.ms).toISOString()}"`];
  const some = (field: string, names: readonly string[]): string[] =>
    names.length === 0 ? [] : [`(${names.map((name) => `${field} = ${name.toUpperCase()}`).join(" OR ")})`];
  const isSeverity = (name: string): boolean => SEVERITIES.includes(name);
  const text = filter.trim();
  return [
    ...(text === "" ? [] : [`(${text})`]),
    ...some("severity", chips.filter(isSeverity)),
    ...some(
      "type",
      chips.filter((name) => !isSeverity(name) && name !== QUIET),
    ),
    ...(chips.includes(QUIET) ? ["type != AGENT_HEARTBEAT"] : []),
    ...times,
  ].join(" AND ");
}

// The words that are searched in messages, for what is to be marked in them.
export function wordsOf(filter: string): string[] {
  const loose = isPlain(filter) ? filter : filter.replaceAll(/[\w.]+\s*(?:[<>!]=?|=|:)\s*(?:"[^"]*"|\S+)|\b(?:AND|OR|NOT)\b|[()"]/g, " ");
  return loose
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== "");
}

// A text in pieces, every second of which is the beginning of a word that was searched.
export function marked(text: string, words: readonly string[]): string[] {
  if (words.length === 0) {
    return [text];
  }
  const longest = words.toSorted((one, other) => other.length - one.length).join("|");
  return text.split(new RegExp(`(?<![\\p{L}\\p{N}])(${longest})`, "giu"));
}
