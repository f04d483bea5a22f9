// What is said of traces. Pure.
import { durationText, plural, signed } from "../core/format";
import { durationMs } from "../core/time";
import { nameOf, workLook } from "../core/words";
import { kindWord } from "./draw";
import type { Comparison, Span, SpanWait, TraceAnalysis } from "./wire";

type Basis = TraceAnalysis["basis"];
type Outcome = TraceAnalysis["recoveries"][number]["outcome"];

export const basisWords = (basis: Basis): string =>
  basis === "CAUSE_BASIS_KNOWN"
    ? "Causes as reported"
    : basis === "CAUSE_BASIS_MIXED"
      ? "Partly estimated from span nesting"
      : "Estimated from span nesting";

const OUTCOMES: Readonly<Record<Outcome, string>> = {
  RECOVERY_OUTCOME_UNSPECIFIED: "not known",
  RECOVERY_OUTCOME_RECOVERED: "recovered",
  RECOVERY_OUTCOME_GAVE_UP: "gave up",
  RECOVERY_OUTCOME_UNDER_WAY: "being tried again",
  RECOVERY_OUTCOME_ABANDONED: "abandoned",
};

export const outcomeWords = (outcome: Outcome): string => OUTCOMES[outcome] ?? "not known";

// "task, attempt 2"
export function kindOf(span: Span): string {
  const kind = nameOf(span.kind, "SPAN_KIND").toLowerCase();
  return span.attempt > 1 && kind !== "attempt" ? `${kind}, attempt ${span.attempt}` : kind;
}

export function waitWords({ kind, reason, actor, ...wait }: SpanWait, now: number): string {
  const ms = (durationMs(wait.endOffset) ?? now) - (durationMs(wait.startOffset) ?? 0);
  const why = [reason, actor === "" ? "" : `by ${actor}`].filter((each) => each !== "").join(" ");
  return `${kindWord(kind)} ${durationText(ms)}${wait.endOffset === undefined ? " so far" : ""}${why === "" ? "" : `: ${why}`}`;
}

// All that a row shows by its looks.
export function spanWords(span: Span, now: number, critical: number): string {
  const waits = span.waits.map((wait) => waitWords(wait, now));
  return [
    kindOf(span),
    workLook(span.state).word.toLowerCase(),
    ...(critical > 0 ? [`${durationText(critical)} on the critical path`] : []),
    ...waits.slice(0, 5),
    ...(waits.length > 5 ? [`and ${plural(waits.length - 5, "more wait")}`] : []),
    ...(span.startEstimated ? ["beginning estimated"] : []),
    ...(span.error === undefined ? [] : [span.error.message || span.error.code]),
  ].join(" · ");
}

export const difference = (ms: number): string => signed(ms, durationText);

// What is compared stands in the URL with commas between; `:median` is that of the type of the first.
export const MEDIAN = ":median";
export const joined = (ids: readonly string[]): string => ids.map((id) => (id === MEDIAN ? id : encodeURIComponent(id))).join(",");
export const parted = (open: string): string[] =>
  open
    .split(",")
    .filter((each) => each !== "")
    .map((each) => (each === MEDIAN ? each : decoded(each)));

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const comparedName = ({ id, name, runCount }: Comparison["traces"][number]): string =>
  id === "" ? `Median of ${plural(runCount, "run")}` : name || id;
