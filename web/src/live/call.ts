// Unary calls through the gateway, in binary. A failure is one error type that carries the server's reason and its words.
import {
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  create,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";

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

export type Call = <I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  input: MessageInitShape<I>,
  signal?: AbortSignal,
) => Promise<Answer<MessageShape<O>>>;

const TIMEOUT_MS = 10_000;
const PROTOBUF = "application/x-protobuf";

export function caller(base: string): Call {
  return async (method, input, signal) => {
    const url = new URL(`${method.parent.typeName}/${method.name}`, base);
    const body = toBinary(method.input, create(method.input, input)).slice();
    const sentAt = Date.now();
    const response = await post(url, PROTOBUF, body, signal);
    const receivedAt = Date.now();
    const bytes = await unlessCut(() => response.arrayBuffer(), signal);
    const date = Date.parse(response.headers.get("date") ?? "");
    return {
      message: fromBinary(method.output, new Uint8Array(bytes)),
      sentAt,
      receivedAt,
      serverMs: Number.isNaN(date) ? undefined : date,
    };
  };
}

// An answer that is good; a refusal, or none in time, is a CallError.
export async function post(
  url: URL,
  type: string,
  body: BodyInit,
  signal: AbortSignal | undefined,
  timeoutMs = TIMEOUT_MS,
): Promise<Response> {
  const limit = AbortSignal.timeout(timeoutMs);
  const response = await unlessCut(
    () =>
      fetch(url, {
        method: "POST",
        headers: { "content-type": type, accept: type },
        body,
        cache: "no-store",
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      }),
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
