// The filter box speaks the grammar of the API. The server judges it; this page only adds the term of the chip and searches plain words among the rows that it already has.

import { WorkflowState } from "../gen/pilothouse/v1/enums_pb";

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

const FIELDS = ["id", "state", "type", "name", "source", "stage", "agent", "attempt", "create_time", "start_time", "end_time"];
const STATES = Object.keys(WorkflowState).filter((name) => Number.isNaN(Number(name)) && name !== "UNSPECIFIED");
const SCALED = /_time$|^attempt$/;

// What may follow the text, as whole texts: a field where a term begins, then its operator, a state's names, and what joins terms.
export function completions(filter: string): string[] {
  const [, head = "", word = ""] = /^(.*?)([^\s()]*)$/s.exec(filter) ?? [];
  const before = head.trim().split(/[\s()]+/);
  const last = before.at(-1) ?? "";
  const begins = last === "" || head.trimEnd().endsWith("(") || /^(AND|OR|NOT)$/.test(last);
  const field = before.at(-2) ?? "";
  const next = begins
    ? FIELDS
    : FIELDS.includes(last)
      ? SCALED.test(last)
        ? ["=", "!=", "<", "<=", ">", ">="]
        : ["=", "!="]
      : /^[=!<>]+$/.test(last)
        ? field === "state"
          ? STATES
          : []
        : isPlain(head)
          ? []
          : ["AND", "OR"];
  return next.filter((each) => each !== word && each.toLowerCase().startsWith(word.toLowerCase())).map((each) => head + each);
}
