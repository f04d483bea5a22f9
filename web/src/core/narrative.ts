// One line for each event: what happened, in the words of the field, as plain text. Nothing here is ever markup.
import { sentence } from "./format";
import { type Shape, type Tone, isGrave, nameOf } from "./words";
import type { Event, EventType } from "./wire";

export interface Narrative {
  readonly title: string;
  readonly rest: string;
  // The id that tells it from its like.
  readonly id: string;
  readonly tone: Tone;
  readonly shape: Shape;
  // Whether it is about a whole workflow or something that went wrong, rather than a step on the way.
  readonly big: boolean;
  readonly level: Level;
}

// What an event is to someone who watches: a sign of life, work, or something to look at.
export type Level = "life" | "work" | "trouble";

type Subject = "workflow" | "stage" | "task" | "agent" | "command" | "alert" | "log";

const VERBS: Readonly<Partial<Record<string, readonly [Tone, Shape]>>> = {
  COMPLETED: ["good", "check"],
  EFFECTIVE: ["good", "check"],
  RESOLVED: ["good", "check"],
  FAILED: ["critical", "triangle"],
  FIRING: ["critical", "triangle"],
  OFFLINE: ["critical", "cross"],
  CANCELLED: ["unknown", "cross"],
  PAUSED: ["warning", "hold"],
  WAITING: ["notice", "rhomb"],
  RETRYING: ["warning", "diamond"],
  RETRIED: ["warning", "diamond"],
  EXPIRED: ["warning", "diamond"],
  DRAINING: ["notice", "arrow"],
  SKIPPED: ["unknown", "skip"],
  STARTED: ["notice", "play"],
  RESUMED: ["notice", "play"],
};

export function eventName(type: EventType): string {
  const name = nameOf(type, "EVENT_TYPE");
  return /^\d/.test(name) ? `TYPE_${name}` : name;
}

// The spans of its trace that an event is about: of its task, of its stage, and the one that `span_id` means; "" is none. One that tries again
// tells what the attempt before died of.
export function spansOf({ type, taskId, stage, spanId, workflowId, attempt }: Event): {
  readonly task: string;
  readonly stage: string;
  readonly span: string;
} {
  const name = eventName(type);
  const of = (kind: "task" | "stage", id: string): string => {
    const number = name.startsWith(kind.toUpperCase()) ? attempt - (name === "TASK_RETRYING" && attempt > 1 ? 1 : 0) : 0;
    return id === "" ? "" : `${kind}:${id}${number > 0 ? `:${number}` : ""}`;
  };
  const [task, within] = [of("task", taskId), of("stage", stage)];
  const span = name.startsWith("SPAN_") || workflowId === "" ? spanId : task || within || "workflow";
  return { task, stage: within, span };
}

export function narrate(event: Event): Narrative {
  const name = eventName(event.type);
  const [subject, verb] = split(name);
  const [tone, shape] = mark(event, subject, verb);
  const said = event.error?.message || event.message;
  const about = subjectWords(event, subject);
  const title = subject === "log" ? said || "Log" : sentence(name);
  const forced = event.forcedAfterTime === undefined ? "" : "forced by an operator";
  const rest = [about, forced, subject === "log" ? "" : said].filter((text) => text !== "").join(" · ");
  return {
    title,
    rest,
    id: event.workflowId || event.agentId,
    tone,
    shape,
    big: tone === "critical" || (subject === "workflow" && verb !== "CREATED"),
    level: levelOf(event, tone),
  };
}

function levelOf(event: Event, tone: Tone): Level {
  if (event.type === "EVENT_TYPE_AGENT_HEARTBEAT" || event.severity === "SEVERITY_DEBUG") {
    return "life";
  }
  return tone === "critical" || tone === "warning" ? "trouble" : "work";
}

function split(name: string): [Subject, string] {
  const at = name.indexOf("_");
  return at < 0 ? ["log", name] : [name.slice(0, at).toLowerCase() as Subject, name.slice(at + 1)];
}

function mark(event: Event, subject: Subject, verb: string): readonly [Tone, Shape] {
  if (isGrave(event.severity)) {
    return ["critical", "triangle"];
  }
  if (event.severity === "SEVERITY_WARNING") {
    return ["warning", "diamond"];
  }
  const known = VERBS[verb] ?? (["unknown", "ring"] as const);
  return subject === "task" && verb === "STARTED" ? ["unknown", "play"] : known;
}

function subjectWords(event: Event, subject: Subject): string {
  switch (subject) {
    case "workflow":
      return event.workflowName || event.workflowType;
    case "stage":
      return event.stage;
    case "task":
      return event.taskId;
    case "agent":
      return event.agentType;
    case "command":
      return event.attributes["action"]?.toLowerCase() ?? "";
    case "alert":
    case "log":
      return "";
  }
}
