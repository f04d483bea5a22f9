// One trace as it grows: read as a stream, span by span, and gone on with from where it broke off. Of one that has ended little more comes, so it is
// looked at again now and then.
import { signal } from "@preact/signals";
import { CallError, problemWords } from "../live/call";
import { followedWhileSeen } from "../live/lines";
import { type Tree, arrange } from "./tree";
import type { Span, Trace, TraceUpdate } from "./wire";

export interface TraceView {
  readonly phase: "loading" | "live" | "missing" | "broken";
  readonly trace: Trace | undefined;
  readonly tree: Tree;
  readonly problem: string;
}

const AGAIN_MS = 2_000;
const ENDED_MS = 15_000;
// What arrives at once is put in order at once, and that takes no more than a fifth of the time.
const TOGETHER_MS = 150;
const REST = 4;

export class FollowedTrace {
  readonly view = signal<TraceView>({ phase: "loading", trace: undefined, tree: arrange([]), problem: "" });
  #spans = new Map<string, Span>();
  #trace: Trace | undefined;
  // Whether spans came that are not in order yet.
  #news = false;
  #token = "";
  #tookMs = 0;
  #abort = new AbortController();
  #again: ReturnType<typeof setTimeout> | undefined;
  #arranging: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly base: string,
    private readonly id: string,
  ) {}

  show(): () => void {
    void this.#follow();
    return () => {
      this.#abort.abort();
      clearTimeout(this.#again);
      clearTimeout(this.#arranging);
    };
  }

  async #follow(): Promise<void> {
    const { signal: stop } = (this.#abort = new AbortController());
    try {
      const url = new URL(`api/v1/traces/${encodeURIComponent(this.id)}:watch`, this.base);
      url.searchParams.set("resume_token", this.#token);
      for await (const update of followedWhileSeen<TraceUpdate>(url, stop)) {
        this.#take(update);
        if (update.caughtUp !== undefined && this.#ended()) {
          break;
        }
      }
      // An answer that is not read to its end would keep its connection.
      this.#abort.abort();
      this.#in(this.#ended() ? ENDED_MS : AGAIN_MS);
    } catch (error) {
      if (!stop.aborted) {
        const missing = error instanceof CallError && (error.code === "NOT_FOUND" || error.code === "INVALID_ARGUMENT");
        this.view.value = { ...this.view.peek(), phase: missing ? "missing" : "broken", problem: problemWords(error) };
        if (!missing) {
          this.#in(AGAIN_MS);
        }
      }
    }
  }

  #ended(): boolean {
    return this.#trace?.endTime !== undefined;
  }

  #in(ms: number): void {
    this.#again = setTimeout(() => void this.#follow(), ms);
  }

  #take({ resumeToken, change, caughtUp, reset }: TraceUpdate): void {
    this.#token = resumeToken || this.#token;
    if (reset !== undefined) {
      this.#spans.clear();
      this.#news = true;
    }
    if (change !== undefined) {
      change.spans.forEach((span) => this.#spans.set(span.spanId, span));
      this.#trace = change.trace;
      this.#news = true;
      if (this.view.peek().trace === undefined) {
        this.#show({});
      }
      this.#arranging ??= setTimeout(() => this.#arrange(), Math.max(TOGETHER_MS, REST * this.#tookMs));
    }
    // One that is looked at again, and of which nothing came, stays in the order that it has.
    if (caughtUp !== undefined) {
      this.#news ? this.#arrange() : this.#show({});
    }
  }

  #show(change: Partial<TraceView>): void {
    this.view.value = { ...this.view.peek(), phase: "live", trace: this.#trace, problem: "", ...change };
  }

  #arrange(): void {
    clearTimeout(this.#arranging);
    this.#arranging = undefined;
    const began = performance.now();
    this.#news = false;
    this.#show({ tree: arrange(this.#spans.values()) });
    this.#tookMs = performance.now() - began;
  }
}
