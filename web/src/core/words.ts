// What each state is called, and by which shape and tone it is told apart. A tone never stands without its shape or its word.
import type { AgentState, CommandState, ControlAction, HealthState, Severity, WorkState, WorkflowState } from "./wire";

export type Tone = "good" | "notice" | "warning" | "critical" | "unknown";
export type Shape = "dot" | "ring" | "play" | "hold" | "check" | "cross" | "triangle" | "diamond" | "rhomb" | "arrow" | "skip" | "dash";

export interface Look {
  readonly word: string;
  readonly tone: Tone;
  readonly shape: Shape;
}

const UNKNOWN: Look = { word: "Unknown", tone: "unknown", shape: "dash" };

const WORKFLOW: Readonly<Record<WorkflowState, Look>> = {
  WORKFLOW_STATE_UNSPECIFIED: UNKNOWN,
  WORKFLOW_STATE_QUEUED: { word: "Queued", tone: "unknown", shape: "ring" },
  WORKFLOW_STATE_RUNNING: { word: "Running", tone: "notice", shape: "play" },
  WORKFLOW_STATE_WAITING: { word: "Waiting", tone: "notice", shape: "rhomb" },
  WORKFLOW_STATE_PAUSED: { word: "Paused", tone: "warning", shape: "hold" },
  WORKFLOW_STATE_COMPLETED: { word: "Completed", tone: "good", shape: "check" },
  WORKFLOW_STATE_FAILED: { word: "Failed", tone: "critical", shape: "triangle" },
  WORKFLOW_STATE_CANCELLED: { word: "Cancelled", tone: "unknown", shape: "cross" },
};

const WORK: Readonly<Record<WorkState, Look>> = {
  WORK_STATE_UNSPECIFIED: UNKNOWN,
  WORK_STATE_QUEUED: { word: "Queued", tone: "unknown", shape: "ring" },
  WORK_STATE_ASSIGNED: { word: "Assigned", tone: "unknown", shape: "rhomb" },
  WORK_STATE_RUNNING: { word: "Running", tone: "notice", shape: "play" },
  WORK_STATE_RETRYING: { word: "Retrying", tone: "warning", shape: "diamond" },
  WORK_STATE_COMPLETED: { word: "Completed", tone: "good", shape: "check" },
  WORK_STATE_FAILED: { word: "Failed", tone: "critical", shape: "triangle" },
  WORK_STATE_SKIPPED: { word: "Skipped", tone: "unknown", shape: "skip" },
  WORK_STATE_CANCELLED: { word: "Cancelled", tone: "unknown", shape: "cross" },
};

const AGENT: Readonly<Record<AgentState, Look>> = {
  AGENT_STATE_UNSPECIFIED: UNKNOWN,
  AGENT_STATE_ONLINE: { word: "Online", tone: "good", shape: "ring" },
  AGENT_STATE_BUSY: { word: "Busy", tone: "good", shape: "dot" },
  AGENT_STATE_DRAINING: { word: "Draining", tone: "notice", shape: "arrow" },
  AGENT_STATE_OFFLINE: { word: "Offline", tone: "critical", shape: "cross" },
};

const HEALTH: Readonly<Record<HealthState, Look>> = {
  HEALTH_STATE_UNSPECIFIED: UNKNOWN,
  HEALTH_STATE_UNKNOWN: UNKNOWN,
  HEALTH_STATE_HEALTHY: { word: "Healthy", tone: "good", shape: "dot" },
  HEALTH_STATE_DEGRADED: { word: "Degraded", tone: "warning", shape: "diamond" },
  HEALTH_STATE_UNHEALTHY: { word: "Unhealthy", tone: "critical", shape: "triangle" },
};

const COMMAND: Readonly<Record<CommandState, Look>> = {
  COMMAND_STATE_UNSPECIFIED: UNKNOWN,
  COMMAND_STATE_REQUESTED: { word: "Requested", tone: "notice", shape: "ring" },
  COMMAND_STATE_ACCEPTED: { word: "Accepted", tone: "notice", shape: "dot" },
  COMMAND_STATE_EFFECTIVE: { word: "Effective", tone: "good", shape: "check" },
  COMMAND_STATE_FAILED: { word: "Failed", tone: "critical", shape: "triangle" },
  COMMAND_STATE_EXPIRED: { word: "Expired", tone: "warning", shape: "diamond" },
};

// Enums on the wire are open: a newer server may send a value that this page does not know.
export const workflowLook = (state: WorkflowState): Look => WORKFLOW[state] ?? UNKNOWN;
export const workLook = (state: WorkState): Look => WORK[state] ?? UNKNOWN;
export const agentLook = (state: AgentState): Look => AGENT[state] ?? UNKNOWN;
export const healthLook = (state: HealthState | undefined): Look => (state === undefined ? UNKNOWN : (HEALTH[state] ?? UNKNOWN));
export const commandLook = (state: CommandState): Look => COMMAND[state] ?? UNKNOWN;

const SEVERITIES: readonly Severity[] = [
  "SEVERITY_UNSPECIFIED",
  "SEVERITY_DEBUG",
  "SEVERITY_INFO",
  "SEVERITY_WARNING",
  "SEVERITY_ERROR",
  "SEVERITY_CRITICAL",
];

// Greater is worse.
export const gravity = (severity: Severity): number => SEVERITIES.indexOf(severity);
export const isGrave = (severity: Severity): boolean => gravity(severity) >= gravity("SEVERITY_ERROR");

// The name of a value without that of its enum: RUNNING. What the server does not know itself comes as a number.
export const nameOf = (value: string, prefix: string): string => String(value).replace(`${prefix}_`, "");

export function severityLook(severity: Severity): Look {
  if (severity === "SEVERITY_CRITICAL") {
    return { word: "Critical", tone: "critical", shape: "triangle" };
  }
  if (severity === "SEVERITY_ERROR") {
    return { word: "Error", tone: "critical", shape: "triangle" };
  }
  return severity === "SEVERITY_WARNING"
    ? { word: "Warning", tone: "warning", shape: "diamond" }
    : { word: severity === "SEVERITY_DEBUG" ? "Debug" : "Info", tone: "unknown", shape: "ring" };
}

export interface ActionWords {
  readonly verb: "pause" | "resume" | "cancel" | "retry" | "drain" | "activate" | "restart" | "resize";
  readonly label: string;
  // What the act does, as the contract defines it.
  readonly effect: string;
  readonly done: string;
}

const ACTIONS: Readonly<Partial<Record<ControlAction, ActionWords>>> = {
  CONTROL_ACTION_PAUSE: {
    verb: "pause",
    label: "Pause",
    effect: "Nothing new of this workflow starts until it is resumed. Its engine decides whether work in hand is finished first.",
    done: "paused",
  },
  CONTROL_ACTION_RESUME: {
    verb: "resume",
    label: "Resume",
    effect: "The engine goes on from where it held the workflow.",
    done: "resumed",
  },
  CONTROL_ACTION_CANCEL: {
    verb: "cancel",
    label: "Cancel",
    effect: "The engine ends this workflow. This cannot be undone: a cancelled workflow can be neither resumed nor retried.",
    done: "cancelled",
  },
  CONTROL_ACTION_RETRY: {
    verb: "retry",
    label: "Retry",
    effect: "The engine opens the next attempt, from the stage that failed.",
    done: "retried",
  },
  CONTROL_ACTION_DRAIN: { verb: "drain", label: "Drain", effect: "It is given nothing new, and finishes what it has.", done: "draining" },
  CONTROL_ACTION_ACTIVATE: { verb: "activate", label: "Activate", effect: "It is given work again.", done: "active" },
  CONTROL_ACTION_RESTART: {
    verb: "restart",
    label: "Restart",
    effect: "Its engine ends it and begins it again. What it has in hand may be cut off.",
    done: "restarted",
  },
  CONTROL_ACTION_RESIZE: { verb: "resize", label: "Resize", effect: "It may have so many tasks at once.", done: "resized" },
};

export const OFFERED: readonly ControlAction[] = [
  "CONTROL_ACTION_PAUSE",
  "CONTROL_ACTION_RESUME",
  "CONTROL_ACTION_RETRY",
  "CONTROL_ACTION_CANCEL",
];

export function actionWords(action: ControlAction): ActionWords | undefined {
  return ACTIONS[action];
}

// 'pilothouse workflows pause ID --reason "…"', safe to paste into a shell whatever the words are.
export const cliLine = (verb: string, id: string, reason: string): string => cliOf(`workflows ${verb}`, id, [["reason", reason]]);

// Options that are empty are left out.
export function cliOf(command: string, id: string, options: readonly (readonly [string, string])[] = []): string {
  const said = options
    .filter(([, value]) => value !== "")
    .map(([name, value]) => ` --${name}=${shellWord(value)}`)
    .join("");
  // What begins with a dash would be taken for an option, unless options have ended before it.
  const at = id === "" ? "" : ` ${shellWord(id)}`;
  return `pilothouse ${command}${id.startsWith("-") ? `${said} --${at}` : `${at}${said}`}`;
}

export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
