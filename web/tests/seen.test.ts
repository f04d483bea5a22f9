import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { followedWhileSeen } from "../src/live/lines";

class Page extends EventTarget {
  hidden = false;

  turn(hidden: boolean): void {
    this.hidden = hidden;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

const URL_ = new URL("http://here/api/v1/events:watch");
let page = new Page();
let open: AbortSignal[] = [];
// One line, and then nothing until somebody lets go.
const answers = (_url: URL, { signal }: { signal: AbortSignal }): Promise<Response> => {
  open.push(signal);
  if (signal.aborted) {
    return Promise.reject(signal.reason as Error);
  }
  const body = new ReadableStream({
    start: (stream) => {
      stream.enqueue(new TextEncoder().encode('{"resume_token":"t"}\n'));
      signal.addEventListener("abort", () => stream.error(signal.reason));
    },
  });
  return Promise.resolve(new Response(body));
};

beforeEach(() => {
  vi.useFakeTimers();
  page = new Page();
  open = [];
  vi.stubGlobal("document", page);
  vi.stubGlobal("fetch", answers);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("lets go of its stream when the window was not seen for a while", async () => {
  const stream = followedWhileSeen(URL_, new AbortController().signal);
  expect(await stream.next()).toEqual({ value: { resumeToken: "t" }, done: false });
  page.turn(true);
  await vi.advanceTimersByTimeAsync(9_000);
  page.turn(false);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(open.map((each) => each.aborted)).toEqual([false]);
  const next = stream.next();
  page.turn(true);
  await vi.advanceTimersByTimeAsync(11_000);
  // It ends as one that broke off without a problem, so that it is asked for again.
  expect((await next).done).toBe(true);
  expect(open.map((each) => each.aborted)).toEqual([true]);
});

it("asks when the window is seen", async () => {
  page.hidden = true;
  const stream = followedWhileSeen(URL_, new AbortController().signal);
  const next = stream.next();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(open).toEqual([]);
  page.turn(false);
  expect((await next).done).toBe(false);
  expect(open).toHaveLength(1);
  await stream.return(undefined);
});

it("ends where it is not wanted any more, seen or not", async () => {
  const stop = new AbortController();
  page.hidden = true;
  const hidden = followedWhileSeen(URL_, stop.signal).next();
  stop.abort();
  await expect(hidden).rejects.toThrow();
  page.hidden = false;
  const again = new AbortController();
  const stream = followedWhileSeen(URL_, again.signal);
  await stream.next();
  const next = stream.next();
  again.abort();
  await expect(next).rejects.toThrow();
});
