// What each state is called, and by which shape and tone it is told apart. A tone never stands without its shape or its word.
import { CommandState } from "../gen/pilothouse/v1/commands_pb";
import { AgentState, ControlAction, Severity, WorkState, WorkflowState } from "../gen/pilothouse/v1/enums_pb";
import { HealthState } from "../gen/pilothouse/v1/metrics_pb";

export type Tone = "good" | "notice" | "warning" | "critical" | "unknown";
export type Shape = "dot" | "ring" | "play" | "hold" | "check" | "cross" | "triangle" | "diamond" | "rhomb" | "arrow" | "skip" | "dash";

export interface Look {
  readonly word: string;
  readonly tone: Tone;
  readonly shape: Shape;
}

const UNKNOWN: Look = { word: "Unknown", tone: "unknown", shape: "dash" };

const WORKFLOW: Readonly<Record<WorkflowState, Look>> = {
  [WorkflowState.UNSPECIFIED]: UNKNOWN,
  [WorkflowState.QUEUED]: { word: "Queued", tone: "unknown", shape: "ring" },
  [WorkflowState.RUNNING]: { word: "Running", tone: "notice", shape: "play" },
  [WorkflowState.WAITING]: { word: "Waiting", tone: "notice", shape: "rhomb" },
  [WorkflowState.PAUSED]: { word: "Paused", tone: "warning", shape: "hold" },
  [WorkflowState.COMPLETED]: { word: "Completed", tone: "good", shape: "check" },
  [WorkflowState.FAILED]: { word: "Failed", tone: "critical", shape: "triangle" },
  [WorkflowState.CANCELLED]: { word: "Cancelled", tone: "unknown", shape: "cross" },
};

const WORK: Readonly<Record<WorkState, Look>> = {
  [WorkState.UNSPECIFIED]: UNKNOWN,
  [WorkState.QUEUED]: { word: "Queued", tone: "unknown", shape: "ring" },
  [WorkState.ASSIGNED]: { word: "Assigned", tone: "unknown", shape: "rhomb" },
  [WorkState.RUNNING]: { word: "Running", tone: "notice", shape: "play" },
  [WorkState.RETRYING]: { word: "Retrying", tone: "warning", shape: "diamond" },
  [WorkState.COMPLETED]: { word: "Completed", tone: "good", shape: "check" },
  [WorkState.FAILED]: { word: "Failed", tone: "critical", shape: "triangle" },
  [WorkState.SKIPPED]: { word: "Skipped", tone: "unknown", shape: "skip" },
  [WorkState.CANCELLED]: { word: "Cancelled", tone: "unknown", shape: "cross" },
};

const AGENT: Readonly<Record<AgentState, Look>> = {
  [AgentState.UNSPECIFIED]: UNKNOWN,
  [AgentState.ONLINE]: { word: "Online", tone: "good", shape: "ring" },
  [AgentState.BUSY]: { word: "Busy", tone: "good", shape: "dot" },
  [AgentState.DRAINING]: { word: "Draining", tone: "notice", shape: "arrow" },
  [AgentState.OFFLINE]: { word: "Offline", tone: "critical", shape: "cross" },
};

const HEALTH: Readonly<Record<HealthState, Look>> = {
  [HealthState.UNSPECIFIED]: UNKNOWN,
  [HealthState.UNKNOWN]: UNKNOWN,
  [HealthState.HEALTHY]: { word: "Healthy", tone: "good", shape: "dot" },
  [HealthState.DEGRADED]: { word: "Degraded", tone: "warning", shape: "diamond" },
  [HealthState.UNHEALTHY]: { word: "Unhealthy", tone: "critical", shape: "triangle" },
};

const COMMAND: Readonly<Record<CommandState, Look>> = {
  [CommandState.UNSPECIFIED]: UNKNOWN,
  [CommandState.REQUESTED]: { word: "Requested", tone: "notice", shape: "ring" },
  [CommandState.ACCEPTED]: { word: "Accepted", tone: "notice", shape: "dot" },
  [CommandState.EFFECTIVE]: { word: "Effective", tone: "good", shape: "check" },
  [CommandState.FAILED]: { word: "Failed", tone: "critical", shape: "triangle" },
  [CommandState.EXPIRED]: { word: "Expired", tone: "warning", shape: "diamond" },
};

// Enums on the wire are open: a newer server may send a value that this page does not know.
export const workflowLook = (state: WorkflowState): Look => WORKFLOW[state] ?? UNKNOWN;
export const workLook = (state: WorkState): Look => WORK[state] ?? UNKNOWN;
export const agentLook = (state: AgentState): Look => AGENT[state] ?? UNKNOWN;
export const healthLook = (state: HealthState | undefined): Look => (state === undefined ? UNKNOWN : (HEALTH[state] ?? UNKNOWN));
export const commandLook = (state: CommandState): Look => COMMAND[state] ?? UNKNOWN;

export function severityLook(severity: Severity): Look {
  if (severity >= Severity.CRITICAL) {
    return { word: "Critical", tone: "critical", shape: "triangle" };
  }
  if (severity === Severity.ERROR) {
    return { word: "Error", tone: "critical", shape: "triangle" };
  }
  return severity === Severity.WARNING
    ? { word: "Warning", tone: "warning", shape: "diamond" }
    : { word: "Info", tone: "unknown", shape: "ring" };
}

export interface ActionWords {
  readonly verb: "pause" | "resume" | "cancel" | "retry";
  readonly label: string;
  // What the act does, as the contract defines it.
  readonly effect: string;
  readonly done: string;
}

const ACTIONS: Readonly<Partial<Record<ControlAction, ActionWords>>> = {
  [ControlAction.PAUSE]: {
    verb: "pause",
    label: "Pause",
    effect: "Nothing new of this workflow starts until it is resumed. Its engine decides whether work in hand is finished first.",
    done: "paused",
  },
  [ControlAction.RESUME]: {
    verb: "resume",
    label: "Resume",
    effect: "The engine goes on from where it held the workflow.",
    done: "resumed",
  },
  [ControlAction.CANCEL]: {
    verb: "cancel",
    label: "Cancel",
    effect: "The engine ends this workflow. This cannot be undone: a cancelled workflow can be neither resumed nor retried.",
    done: "cancelled",
  },
  [ControlAction.RETRY]: {
    verb: "retry",
    label: "Retry",
    effect: "The engine opens the next attempt, from the stage that failed.",
    done: "retried",
  },
};

export const OFFERED: readonly ControlAction[] = [ControlAction.PAUSE, ControlAction.RESUME, ControlAction.RETRY, ControlAction.CANCEL];

export function actionWords(action: ControlAction): ActionWords | undefined {
  return ACTIONS[action];
}

// 'pilothouse workflows pause ID --reason "…"', safe to paste into a shell whatever the words are.
export function cliLine(verb: string, id: string, reason: string): string {
  const why = reason === "" ? "" : ` --reason=${shellWord(reason)}`;
  const command = `pilothouse workflows ${verb}`;
  // What begins with a dash would be taken for an option, unless options have ended before it.
  return id.startsWith("-") ? `${command}${why} -- ${shellWord(id)}` : `${command} ${shellWord(id)}${why}`;
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
