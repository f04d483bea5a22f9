// What a tab lists: read when it is shown and again while it is; an error keeps what was there and says since when. And one act at a time: what is
// asked for is shown as asked for, then done or refused; nothing on the page changes before the server says so.
import { signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { CallError, type Violation, problemWords } from "../live/call";

export interface ListView<T> {
  readonly phase: "loading" | "ready" | "error";
  readonly items: readonly T[];
  readonly more: boolean;
  readonly problem: string;
  readonly at: number | undefined;
  // Of the refusal; empty when there is none.
  readonly code: string;
}

export interface Page<T> {
  readonly items: readonly T[] | undefined;
  readonly next?: string | undefined;
}

type Read<T> = (token: string, signal: AbortSignal) => Promise<Page<T>>;

const RETRY_MS = 4_000;

export class List<T> {
  readonly view = signal<ListView<T>>({ phase: "loading", items: [], more: false, problem: "", at: undefined, code: "" });
  #read: Read<T>;
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #next = "";
  #pages = 1;
  #shown = false;

  constructor(
    read: Read<T>,
    private readonly everyMs: number,
  ) {
    this.#read = read;
  }

  show(): () => void {
    this.#shown = true;
    this.refresh();
    return () => {
      this.#shown = false;
      this.#abort.abort();
      clearTimeout(this.#timer);
    };
  }

  // Another question: what was listed is no answer to it.
  ask(read: Read<T>): void {
    this.#read = read;
    this.#pages = 1;
    this.view.value = { ...this.view.peek(), phase: "loading", items: [], problem: "", code: "" };
    this.refresh();
  }

  refresh(): void {
    void this.#load();
  }

  older(): void {
    this.#pages++;
    void this.#load();
  }

  #again(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#shown) {
      this.#timer = setTimeout(() => void this.#load(), ms);
    }
  }

  async #load(): Promise<void> {
    if (!this.#shown) {
      return;
    }
    this.#abort.abort();
    clearTimeout(this.#timer);
    const { signal } = (this.#abort = new AbortController());
    try {
      const items: T[] = [];
      this.#next = "";
      for (let page = 0; page < this.#pages; page++) {
        const answer = await this.#read(this.#next, signal);
        items.push(...(answer.items ?? []));
        this.#next = answer.next ?? "";
        if (this.#next === "") {
          break;
        }
      }
      if (!signal.aborted) {
        this.view.value = { phase: "ready", items, more: this.#next !== "", problem: "", at: Date.now(), code: "" };
        this.#again(this.everyMs);
      }
    } catch (error) {
      if (!signal.aborted) {
        const code = error instanceof CallError ? error.code : "";
        this.view.value = { ...this.view.peek(), phase: "error", problem: problemWords(error), code };
        // Where the question itself is wrong, asking again helps nobody.
        if (code !== "INVALID_ARGUMENT" && code !== "NOT_FOUND" && code !== "UNIMPLEMENTED") {
          this.#again(RETRY_MS);
        }
      }
    }
  }
}

export function useShown(...lists: readonly { readonly show: () => () => void }[]): void {
  useEffect(() => {
    const hide = lists.map((list) => list.show());
    return () => hide.forEach((each) => each());
  }, []);
}

export interface TaskView {
  readonly busy: boolean;
  // Why it was refused; empty otherwise.
  readonly problem: string;
  readonly violations: readonly Violation[];
}

const IDLE: TaskView = { busy: false, problem: "", violations: [] };

export class Task {
  readonly view = signal<TaskView>(IDLE);
  #run = 0;

  // Whether it was done.
  async run(work: () => Promise<unknown>): Promise<boolean> {
    const run = ++this.#run;
    this.view.value = { ...this.view.peek(), busy: true };
    let after = IDLE;
    try {
      await work();
    } catch (error) {
      after = refusedBy(error);
    }
    if (run === this.#run) {
      this.view.value = after;
    }
    return after === IDLE;
  }
}

function refusedBy(error: unknown): TaskView {
  const violations = error instanceof CallError ? error.violations : [];
  const problem =
    error instanceof CallError && violations.length > 0
      ? error.message
      : error instanceof CallError && error.reason === "ETAG_MISMATCH"
        ? "It changed since this page read it. Look at it as it is now, and ask again if you still mean it."
        : error instanceof CallError && error.code === "UNIMPLEMENTED"
          ? "This server cannot do that"
          : problemWords(error);
  return { busy: false, problem, violations };
}

export function useTask(): Task {
  return useMemo(() => new Task(), []);
}
