// The filter box speaks the grammar of the API. The server judges it; this page only adds the term of the chip and searches plain words among the rows that it already has.
export function withState(filter: string, state: string): string {
  const text = filter.trim();
  if (state === "") {
    return text;
  }
  const term = `state = ${state.toUpperCase()}`;
  return text === "" ? term : `(${text}) AND ${term}`;
}

// Whether the text is only words, which can be searched in what is on the page; anything else needs the server.
export function isPlain(filter: string): boolean {
  return !/[=<>!:()"]|\b(AND|OR|NOT)\b/.test(filter);
}

export function matchesWords(filter: string, fields: readonly string[]): boolean {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  return words.every((word) => fields.some((field) => field.toLowerCase().includes(word)));
}

export interface Language {
  readonly fields: readonly string[];
  // The fields that have few values, and these.
  readonly values: Readonly<Record<string, readonly string[]>>;
}

const YES_NO = ["true", "false"];
const STATES = ["QUEUED", "RUNNING", "WAITING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"];
const MOST_KNOWN = 50;
const SCALED = /_time$|^(attempt|severity|duration)$/;

export const OF_WORKFLOWS: Language = {
  fields: ["id", "state", "type", "name", "source", "stage", "agent", "attempt", "create_time", "start_time", "end_time"],
  values: { state: STATES },
};

export const OF_ALERTS: Language = {
  fields: `state severity rule labels. assignee acknowledged silenced inhibited flapping kind active_time fire_time resolve_time id`.split(
    " ",
  ),
  values: {
    state: ["FIRING", "RECOVERING", "PENDING", "RESOLVED"],
    severity: ["WARNING", "CRITICAL"],
    kind: ["CONDITION", "NO_DATA"],
    acknowledged: YES_NO,
    silenced: YES_NO,
    inhibited: YES_NO,
    flapping: YES_NO,
  },
};

export const OF_AUDIT: Language = {
  fields: "actor verb target_kind target_id outcome record_time sequence command_id batch_id emergency_stop_id request_id".split(" "),
  values: {
    target_kind: "workflow agent queue engine batch emergency_stop config budget rule silence channel escalation heartbeat".split(" "),
    outcome: ["ACCEPTED", "REFUSED", "EFFECTIVE", "FAILED", "EXPIRED"],
  },
};

export const OF_EVENTS: Language = {
  fields: "type severity workflow_id workflow_type stage task_id agent_id agent_type trace_id source occur_time id".split(" "),
  values: { severity: ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] },
};

export const OF_TRACES: Language = {
  fields: "state workflow_type name source duration start_time attempt id".split(" "),
  values: { state: STATES },
};

// With the values that are known of fields that have few; what is not a plain word is quoted.
export function withKnown(language: Language, known: Readonly<Record<string, readonly string[]>>): Language {
  const values = Object.entries(known).map(([field, all]) => {
    const some = [...new Set(all)].filter((each) => each !== "").slice(0, MOST_KNOWN);
    return [field, some.map((each) => (/^[A-Za-z_][\w-]*$/.test(each) ? each : JSON.stringify(each)))] as const;
  });
  return { ...language, values: { ...language.values, ...Object.fromEntries(values) } };
}

// What may follow the text, as whole texts: a field where a term begins, then its operator, its values where they are few, and what joins terms.
export function completions(filter: string, { fields, values }: Language = OF_WORKFLOWS): string[] {
  const [, head = "", word = ""] = /^(.*?)([^\s()]*)$/s.exec(filter) ?? [];
  const before = head.trim().split(/[\s()]+/);
  const last = before.at(-1) ?? "";
  const begins = last === "" || head.trimEnd().endsWith("(") || /^(AND|OR|NOT)$/.test(last);
  const field = before.at(-2) ?? "";
  const next = begins
    ? fields
    : fields.includes(last) || last.startsWith("labels.")
      ? SCALED.test(last)
        ? ["=", "!=", "<", "<=", ">", ">="]
        : ["=", "!="]
      : /^[=!<>]+$/.test(last)
        ? (values[field] ?? [])
        : isPlain(head)
          ? []
          : ["AND", "OR"];
  return next.filter((each) => each !== word && each.toLowerCase().startsWith(word.toLowerCase())).map((each) => head + each);
}
