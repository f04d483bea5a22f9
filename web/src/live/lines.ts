// The answers of a stream over plain HTTP: one JSON object on each line, under the names of the contract. A last line may say why it broke off.
import { good, refusal, unlessCut } from "./call";

// As long as the server lets one last; whoever follows asks again when it ends.
const LONGEST_MS = 3_600_000;

// A message of a stream as `Call` would give it: with the names of JSON.
export async function* followed<T>(url: URL, signal: AbortSignal): AsyncGenerator<T> {
  for await (const line of lines<unknown>(await good(url, {}, signal, LONGEST_MS), signal)) {
    yield renamed(line) as Awaited<T>;
  }
}

// Streams of windows that nobody sees are let go after a while: a browser has six connections to a host, which all its windows share.
const UNSEEN_MS = 10_000;

// The same for what goes on from a token: it begins when the window is seen, and ends when it is not.
export async function* followedWhileSeen<T>(url: URL, signal: AbortSignal): AsyncGenerator<T> {
  const unseen = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let seen: () => void = () => undefined;
  const look = (): void => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(() => unseen.abort(), UNSEEN_MS);
    } else {
      seen();
    }
  };
  document.addEventListener("visibilitychange", look);
  try {
    if (document.hidden) {
      await new Promise<void>((resolve) => {
        seen = resolve;
        signal.addEventListener("abort", () => resolve());
      });
    }
    yield* followed<T>(url, AbortSignal.any([signal, unseen.signal]));
  } catch (error) {
    if (signal.aborted || !unseen.signal.aborted) {
      throw error;
    }
  } finally {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  }
}

// A trace is a million values, so each is looked at once and no lists of them are made.
function renamed(value: unknown): unknown {
  if (typeof value !== "object" || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map(renamed);
  }
  const found: Record<string, unknown> = {};
  for (const key in value) {
    const each = (value as Readonly<Record<string, unknown>>)[key];
    found[camel(key)] = typeof each !== "object" || MAPS.has(key) ? each : renamed(each);
  }
  return found;
}

// Fields whose names are data.
const MAPS = new Set(["attributes", "labels"]);
// The same few names come thousands of times.
const NAMES = new Map<string, string>();
const MOST_NAMES = 1_000;

function camel(name: string): string {
  let known = NAMES.get(name);
  if (known === undefined) {
    known = name.replaceAll(/_(\w)/g, (_all, letter: string) => letter.toUpperCase());
    if (NAMES.size < MOST_NAMES) {
      NAMES.set(name, known);
    }
  }
  return known;
}

export async function* lines<T>(response: Response, signal: AbortSignal): AsyncGenerator<T> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done = true, value = "" } = (await unlessCut(async () => reader?.read(), signal)) ?? {};
    if (!done && !value.includes("\n")) {
      // A long line comes in many pieces, which are put together once.
      rest += value;
      continue;
    }
    const whole = (rest + value).split("\n");
    rest = whole.pop() ?? "";
    for (const line of whole.filter((each) => each.trim() !== "")) {
      const update = JSON.parse(line) as T & { readonly error?: unknown };
      if (update.error !== undefined) {
        throw refusal(500, JSON.stringify(update.error));
      }
      yield update as Awaited<T>;
    }
    if (done) {
      return;
    }
  }
}
