// Emergency stops in words: how far, of what, and what has come of it. Pure.
import { count, durationText, plural } from "./format";
import { durationMs } from "./time";
import type { Look } from "./words";
import type { EmergencyScope, EmergencyStage, EmergencyStop, EmergencyTargetKind, EmergencyTargetState } from "./wire";

interface StageWords {
  readonly label: string;
  readonly effect: string;
}

// In order: each goes further than the one before.
export const STAGES: readonly (readonly [EmergencyStage, StageWords])[] = [
  ["EMERGENCY_STAGE_HOLD_NEW", { label: "Hold new", effect: "Engines start nothing new. What runs goes on." }],
  ["EMERGENCY_STAGE_DRAIN", { label: "Drain", effect: "Nothing new starts, and agents finish what they have and take nothing new." }],
  ["EMERGENCY_STAGE_PAUSE_ALL", { label: "Pause all", effect: "Nothing new starts, and every workflow is paused where it is." }],
  [
    "EMERGENCY_STAGE_CANCEL_ALL",
    {
      label: "Cancel all",
      effect: "Nothing new starts, and every workflow is ended. This cannot be undone: a release does not bring them back.",
    },
  ],
];

export const stageWords = (stage: EmergencyStage): StageWords =>
  STAGES.find(([each]) => each === stage)?.[1] ?? { label: "Stop", effect: "" };

export function furtherThan(stage: EmergencyStage): typeof STAGES {
  return STAGES.slice(STAGES.findIndex(([each]) => each === stage) + 1);
}

export function scopeWords(scope: EmergencyScope | undefined): string {
  const parts = [
    scope?.workflowType ? `workflows of type ${scope.workflowType}` : "",
    scope?.agentType ? `agents of type ${scope.agentType} and their workflows` : "",
  ].filter((each) => each !== "");
  return parts.length === 0 ? "everything" : parts.join(", ");
}

const KINDS: Readonly<Partial<Record<EmergencyTargetKind, string>>> = {
  EMERGENCY_TARGET_KIND_ENGINE: "engine",
  EMERGENCY_TARGET_KIND_AGENT: "agent",
  EMERGENCY_TARGET_KIND_WORKFLOW: "workflow",
};
export const kindWord = (kind: EmergencyTargetKind): string => KINDS[kind] ?? "thing";

// In the order in which they are shown.
const TARGETS: Readonly<Record<EmergencyTargetState, Look>> = {
  EMERGENCY_TARGET_STATE_OBEYED: { word: "Obeyed", tone: "good", shape: "check" },
  EMERGENCY_TARGET_STATE_WAS_SO: { word: "Was so before", tone: "unknown", shape: "dot" },
  EMERGENCY_TARGET_STATE_ENDED: { word: "Ended by itself", tone: "unknown", shape: "skip" },
  EMERGENCY_TARGET_STATE_ASKED: { word: "Asked", tone: "notice", shape: "ring" },
  EMERGENCY_TARGET_STATE_REFUSED: { word: "Did not obey", tone: "critical", shape: "triangle" },
  EMERGENCY_TARGET_STATE_RELEASED: { word: "Let go", tone: "good", shape: "arrow" },
  EMERGENCY_TARGET_STATE_NOT_RELEASED: { word: "Not let go", tone: "critical", shape: "cross" },
  EMERGENCY_TARGET_STATE_UNSPECIFIED: { word: "Unknown", tone: "unknown", shape: "dash" },
};
export const TARGET_STATES = Object.keys(TARGETS) as readonly EmergencyTargetState[];
export const targetLook = (state: EmergencyTargetState): Look => TARGETS[state] ?? TARGETS.EMERGENCY_TARGET_STATE_UNSPECIFIED;

export function countOf(stop: EmergencyStop, states: readonly EmergencyTargetState[], kind?: EmergencyTargetKind): number {
  return stop.counts.reduce(
    (sum, each) => sum + (states.includes(each.state) && (kind === undefined || each.kind === kind) ? Number(each.count) : 0),
    0,
  );
}

export const isActive = (stop: EmergencyStop): boolean => stop.state === "EMERGENCY_STOP_STATE_ACTIVE";

// "38 of 40 obeyed · quiet after 2.1 s"
export function progressWords(stop: EmergencyStop): string {
  const open = countOf(stop, ["EMERGENCY_TARGET_STATE_ASKED"]);
  const refused = countOf(stop, ["EMERGENCY_TARGET_STATE_REFUSED"]);
  const all = countOf(stop, TARGET_STATES);
  if (!isActive(stop)) {
    const kept = countOf(stop, ["EMERGENCY_TARGET_STATE_NOT_RELEASED"]);
    const freed = countOf(stop, ["EMERGENCY_TARGET_STATE_RELEASED"]);
    return `${plural(freed, "thing")} let go${kept > 0 ? `, ${count(kept)} could not be` : ""}`;
  }
  const quiet = durationMs(stop.timeToQuiet);
  return [
    `${count(all - open - refused)} of ${count(all)} obeyed`,
    refused > 0 ? `${count(refused)} did not` : "",
    quiet === undefined ? "not quiet yet" : `quiet after ${durationText(quiet)}`,
  ]
    .filter((each) => each !== "")
    .join(" · ");
}
