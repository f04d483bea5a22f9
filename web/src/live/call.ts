// Unary calls through the gateway, in proto JSON. A failure is one error type that carries the server's reason and its words.
import type { Asked, Document, Method, Shown } from "./methods";

export interface Violation {
  readonly field: string;
  readonly description: string;
}

export class CallError extends Error {
  override readonly name = "CallError";

  constructor(
    // A gRPC code, or UNREACHABLE when no answer came.
    readonly code: string,
    message: string,
    // A name of ErrorReason without its prefix; empty when the answer had none.
    readonly reason: string,
    readonly metadata: Readonly<Record<string, string>>,
    readonly violations: readonly Violation[],
  ) {
    super(message);
  }
}

export interface Answer<O> {
  readonly message: O;
  readonly sentAt: number;
  readonly receivedAt: number;
  // The answer's Date header, whole seconds; undefined when it had none.
  readonly serverMs: number | undefined;
}

// For what is shown: everything that has no presence of its own is there, so what is absent is not known.
export type Call = <M extends Method>(method: M, input: Asked<M>, signal?: AbortSignal) => Promise<Answer<Shown<M>>>;

// For documents that are edited and sent back: what holds its default is left out, as it is in what is sent.
export type Ask = <M extends Method>(method: M, input: Asked<M>, signal?: AbortSignal, timeoutMs?: number) => Promise<Document<M>>;

const TIMEOUT_MS = 10_000;

export function caller(base: string): Call {
  return async <M extends Method>(method: M, input: Asked<M>, signal?: AbortSignal) => {
    const sentAt = Date.now();
    const response = await post(new URL(`pilothouse.v1.${method}?defaults=true`, base), input, signal);
    const receivedAt = Date.now();
    const message = await unlessCut(() => response.json() as Promise<Shown<M>>, signal);
    const date = Date.parse(response.headers.get("date") ?? "");
    return { message, sentAt, receivedAt, serverMs: Number.isNaN(date) ? undefined : date };
  };
}

export function asker(base: string): Ask {
  return async <M extends Method>(method: M, input: Asked<M>, signal?: AbortSignal, timeoutMs?: number) => {
    const response = await post(new URL(`pilothouse.v1.${method}`, base), input, signal, timeoutMs);
    return unlessCut(() => response.json() as Promise<Document<M>>, signal);
  };
}

// An answer that is good; a refusal, or none in time, is a CallError.
export function post(url: URL, input: unknown, signal: AbortSignal | undefined, timeoutMs = TIMEOUT_MS): Promise<Response> {
  const headers = { "content-type": "application/json", accept: "application/json" };
  return good(url, { method: "POST", headers, body: JSON.stringify(input) }, signal, timeoutMs);
}

export async function good(url: URL, init: RequestInit, signal: AbortSignal | undefined, timeoutMs: number): Promise<Response> {
  const limit = AbortSignal.timeout(timeoutMs);
  const response = await unlessCut(
    () => fetch(url, { ...init, cache: "no-store", signal: signal === undefined ? limit : AbortSignal.any([signal, limit]) }),
    signal,
  );
  if (!response.ok) {
    throw refusal(response.status, await unlessCut(() => response.text(), signal));
  }
  return response;
}

// The caller's own abort stays what it is; everything else that the network does is one kind of failure.
export async function unlessCut<T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (signal?.aborted === true) {
      throw error;
    }
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new CallError("UNREACHABLE", late ? "the server did not answer within 10 s" : "the server cannot be reached", "", {}, []);
  }
}

export function refusal(status: number, text: string): CallError {
  const body = record(parse(text));
  const details = record(body["details"]);
  const from = (key: string): unknown => body[key] ?? details[key];
  const message = asText(body["message"]) || `the server answered ${status}`;
  const metadata = Object.fromEntries(Object.entries(record(from("metadata"))).map(([key, value]) => [key, asText(value)]));
  const listed = from("violations");
  const violations = (Array.isArray(listed) ? listed : []).map((each) => {
    const violation = record(each);
    return { field: asText(violation["field"]), description: asText(violation["description"]) };
  });
  return new CallError(asText(body["code"]) || `HTTP_${status}`, message, asText(from("reason")), metadata, violations);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

// What to tell a person.
export function problemWords(error: unknown): string {
  if (error instanceof CallError) {
    const first = error.violations[0];
    return first === undefined ? error.message : `${error.message} (${first.field}: ${first.description})`;
  }
  return error instanceof Error ? error.message : "something unknown went wrong";
}
