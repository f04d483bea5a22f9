// Batches, budgets, waits and audit records in words, and which page has the remedy. Pure.
import { count, durationText } from "../core/format";
import type { Route } from "../core/route";
import { durationMs } from "../core/time";
import { type Look, type Tone, actionWords, cliOf } from "../core/words";
import type {
  AuditOutcome,
  Batch,
  BatchOutcome,
  BatchState,
  Budget,
  BudgetState,
  BudgetUse,
  ControlAction,
  WaitCause,
  Waiting,
} from "../core/wire";

const look = (word: string, tone: Tone, shape: Look["shape"]): Look => ({ word, tone, shape });
const UNKNOWN = look("Unknown", "unknown", "dash");

const BATCHES: Readonly<Record<BatchState, Look>> = {
  BATCH_STATE_UNSPECIFIED: UNKNOWN,
  BATCH_STATE_READY: look("Not started", "unknown", "ring"),
  BATCH_STATE_RUNNING: look("Running", "notice", "play"),
  BATCH_STATE_STOPPED: look("Stopped", "warning", "hold"),
  BATCH_STATE_DONE: look("Done", "good", "check"),
  BATCH_STATE_EXPIRED: look("Expired", "unknown", "cross"),
};

// In the order in which they are drawn: what is settled first.
const OUTCOMES: Readonly<Record<BatchOutcome, Look>> = {
  BATCH_OUTCOME_EFFECTIVE: look("Done", "good", "check"),
  BATCH_OUTCOME_FAILED: look("Failed", "critical", "triangle"),
  BATCH_OUTCOME_EXPIRED: look("Expired", "warning", "diamond"),
  BATCH_OUTCOME_REFUSED: look("Refused", "warning", "cross"),
  BATCH_OUTCOME_ABANDONED: look("Given up", "unknown", "skip"),
  BATCH_OUTCOME_PENDING: look("Asked for", "notice", "dot"),
  BATCH_OUTCOME_WAITING: look("To come", "unknown", "ring"),
  BATCH_OUTCOME_UNSPECIFIED: UNKNOWN,
};

const BUDGETS: Readonly<Record<BudgetState, Look>> = {
  BUDGET_STATE_UNSPECIFIED: UNKNOWN,
  BUDGET_STATE_WITHIN: look("Within", "good", "check"),
  BUDGET_STATE_WARNING: look("Near its ceiling", "warning", "diamond"),
  BUDGET_STATE_EXCEEDED: look("Used up", "critical", "triangle"),
};

const AUDITED: Readonly<Record<AuditOutcome, Look>> = {
  AUDIT_OUTCOME_UNSPECIFIED: UNKNOWN,
  AUDIT_OUTCOME_ACCEPTED: look("accepted", "notice", "dot"),
  AUDIT_OUTCOME_REFUSED: look("refused", "warning", "cross"),
  AUDIT_OUTCOME_EFFECTIVE: look("effective", "good", "check"),
  AUDIT_OUTCOME_FAILED: look("failed", "critical", "triangle"),
  AUDIT_OUTCOME_EXPIRED: look("expired", "warning", "diamond"),
};

export const batchLook = (state: BatchState): Look => BATCHES[state] ?? UNKNOWN;
export const outcomeLook = (outcome: BatchOutcome): Look => OUTCOMES[outcome] ?? UNKNOWN;
export const budgetLook = (state: BudgetState): Look => BUDGETS[state] ?? UNKNOWN;
export const auditLook = (outcome: AuditOutcome): Look => AUDITED[outcome] ?? UNKNOWN;

// Those whose workflows did not do what was asked.
export const FAILURES: readonly BatchOutcome[] = [
  "BATCH_OUTCOME_FAILED",
  "BATCH_OUTCOME_EXPIRED",
  "BATCH_OUTCOME_REFUSED",
  "BATCH_OUTCOME_ABANDONED",
];

export type Counted = readonly (readonly [BatchOutcome, number])[];

// What became of its workflows, in the order of drawing; none that is 0.
export function countsOf(batch: Batch): Counted {
  const found = new Map(batch.counts.map((each) => [each.outcome, Number(each.count)]));
  return (Object.keys(OUTCOMES) as BatchOutcome[]).flatMap((each) => {
    const many = found.get(each) ?? 0;
    return many === 0 ? [] : [[each, many] as const];
  });
}

export const isOver = (batch: Batch): boolean => batch.state === "BATCH_STATE_DONE" || batch.state === "BATCH_STATE_EXPIRED";

// Given up, with commands still on their way: nobody else gets a turn.
export const isGivenUp = (batch: Batch): boolean => batch.counts.some((each) => each.outcome === "BATCH_OUTCOME_ABANDONED");

// In the accounting currency; what is not nothing does not read as 0.
export function money(micros: number): string {
  const value = micros / 1_000_000;
  return value >= 100 || value === 0 ? count(value) : value >= 1 ? value.toFixed(2) : value < 0.001 ? "<0.001" : value.toFixed(3);
}

// "12,300 of 50,000 tokens", of each ceiling that the budget has.
export function useWords({ ceilings }: Budget, use: BudgetUse): string {
  const span = durationMs(ceilings?.duration);
  return [
    ceilings?.tokens === undefined ? "" : `${count(Number(use.tokens))} of ${count(Number(ceilings.tokens))} tokens`,
    ceilings?.costMicros === undefined ? "" : `${money(Number(use.costMicros))} of ${money(Number(ceilings.costMicros))} cost`,
    span === undefined ? "" : `${durationText(durationMs(use.duration) ?? 0)} of ${durationText(span)}`,
  ]
    .filter((each) => each !== "")
    .join(" · ");
}

export function burnWords({ ceilings }: Budget, use: BudgetUse): string {
  return [
    ceilings?.tokens === undefined || use.tokensPerMinute === undefined ? "" : `${count(Number(use.tokensPerMinute))} tokens/min`,
    ceilings?.costMicros === undefined || use.costMicrosPerMinute === undefined ? "" : `${money(Number(use.costMicrosPerMinute))} cost/min`,
  ]
    .filter((each) => each !== "")
    .join(" · ");
}

const CAUSES: Readonly<Partial<Record<WaitCause, readonly [string, Tone, Look["shape"]]>>> = {
  WAIT_CAUSE_COMMAND_PENDING: ["Command pending", "notice", "dot"],
  WAIT_CAUSE_PAUSED: ["Paused", "warning", "hold"],
  WAIT_CAUSE_EMERGENCY_STOP: ["Emergency stop", "critical", "triangle"],
  WAIT_CAUSE_BUDGET: ["Budget used up", "warning", "diamond"],
  WAIT_CAUSE_HELD: ["Held", "warning", "hold"],
  WAIT_CAUSE_INPUT: ["Waits for an answer", "notice", "rhomb"],
  WAIT_CAUSE_ENGINE_SILENT: ["Engine silent", "critical", "cross"],
  WAIT_CAUSE_NO_AGENT: ["No agent", "warning", "cross"],
  WAIT_CAUSE_AGENTS_DRAINING: ["Agents draining", "notice", "arrow"],
  WAIT_CAUSE_POOL_FULL: ["Pool full", "notice", "dot"],
  WAIT_CAUSE_NOT_STARTED: ["Not started", "unknown", "ring"],
};

export function causeLook(cause: WaitCause): Look {
  const [word, tone, shape] = CAUSES[cause] ?? ["Waits", "unknown", "dash"];
  return { word, tone, shape };
}

// What an act does, said of many.
export const effectOn = (action: ControlAction): string => (actionWords(action)?.effect ?? "").replace("this workflow", "each workflow");

export const batchLine = (verb: string, id: string, options: readonly (readonly [string, string])[]): string =>
  cliOf(`batches ${verb}`, id, options);

// Where the remedy is, when it is no act on the workflow itself.
export function remedyPlace({ cause, subject }: Waiting): Partial<Route> | undefined {
  switch (cause) {
    case "WAIT_CAUSE_EMERGENCY_STOP":
      return { page: "platform", tab: "emergency", open: subject };
    case "WAIT_CAUSE_BUDGET":
      return { page: "platform", tab: "budgets", open: subject };
    case "WAIT_CAUSE_ENGINE_SILENT":
      return { page: "platform", tab: "connectors", open: "" };
    case "WAIT_CAUSE_HELD":
      return { page: "agents", tab: "queues", open: "" };
    case "WAIT_CAUSE_NO_AGENT":
    case "WAIT_CAUSE_AGENTS_DRAINING":
    case "WAIT_CAUSE_POOL_FULL":
      return { page: "agents", tab: "", open: "" };
    default:
      return undefined;
  }
}
