// The table of the Workflows page: pages of the server's list, refreshed when something changed, held still while someone points at it.
import { computed, signal } from "@preact/signals";
import { withState } from "../core/filter";
import { type Call, CallError, problemWords } from "../live/call";
import type { WorkflowStore } from "./workflows";
import type { Workflow, WorkflowState } from "../core/wire";

export interface ListingView {
  readonly phase: "loading" | "ready" | "error";
  readonly ids: readonly string[];
  readonly counts: ReadonlyMap<WorkflowState, number>;
  readonly capped: boolean;
  readonly more: boolean;
  readonly problem: string;
  // The filter itself is wrong, so that the box can say so.
  readonly badFilter: boolean;
}

const PAGE_SIZE = 50;
const MOST_ROWS = 500;
const REFRESH_MS = 2_000;
const TYPING_MS = 250;

const NOTHING: ListingView = { phase: "loading", ids: [], counts: new Map(), capped: false, more: false, problem: "", badFilter: false };

export class ListingStore {
  readonly view = signal<ListingView>(NOTHING);
  // Someone points at the table: what is there stays in its place.
  readonly held = signal(false);
  // Changes came that may alter which rows belong here.
  readonly #changed = signal(false);
  readonly waiting = computed(() => this.held.value && this.#changed.value);
  #filter = "";
  #state = "";
  #token = "";
  #wanted = PAGE_SIZE;
  #active = false;
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly rows = computed((): readonly Workflow[] => this.view.value.ids.flatMap((id) => this.workflows.get(id) ?? []));

  constructor(
    private readonly call: Call,
    private readonly workflows: WorkflowStore,
  ) {}

  show(filter: string, state: string): void {
    const typed = this.#active && filter !== this.#filter;
    this.#filter = filter;
    this.#state = state;
    this.#active = true;
    this.#wanted = PAGE_SIZE;
    this.view.value = { ...this.view.peek(), phase: "loading" };
    this.#schedule(typed ? TYPING_MS : 0);
  }

  hide(): void {
    this.#active = false;
    this.held.value = false;
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  // Something about workflows changed on the server.
  touch(): void {
    this.#changed.value = true;
    if (this.#active && !this.held.peek() && !this.view.peek().badFilter && this.#timer === undefined) {
      this.#schedule(REFRESH_MS);
    }
  }

  hold(held: boolean): void {
    this.held.value = held;
    if (!held && this.#changed.peek()) {
      this.touch();
    }
  }

  refresh(): void {
    this.#schedule(0);
  }

  loadMore(): void {
    this.#wanted = Math.min(this.#wanted + PAGE_SIZE, MOST_ROWS);
    this.#schedule(0);
  }

  // The server counts in the text that it got, which begins with a parenthesis when a chip was added to it.
  #filterWords(error: CallError): string {
    const { position, expected } = error.metadata;
    if (position === undefined || expected === undefined) {
      return problemWords(error);
    }
    const before = this.#state !== "" && this.#filter.trim() !== "" ? 1 : 0;
    return `at character ${Number(position) + 1 - before}, ${expected} is expected`;
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#load();
    }, ms);
  }

  async #load(): Promise<void> {
    this.#abort.abort();
    const abort = (this.#abort = new AbortController());
    this.#changed.value = false;
    const filter = withState(this.#filter, this.#state);
    try {
      const { message } = await this.call(
        "WorkflowService/ListWorkflows",
        { filter, pageSize: this.#wanted, orderBy: "create_time desc" },
        abort.signal,
      );
      this.workflows.learn(message.workflows);
      this.#token = message.nextPageToken;
      this.view.value = {
        phase: "ready",
        ids: message.workflows.map((workflow) => workflow.id),
        counts: new Map(message.stateCounts.map((each) => [each.state, Number(each.count)])),
        capped: message.totalCapped,
        more: this.#token !== "" && this.#wanted < MOST_ROWS,
        problem: "",
        badFilter: false,
      };
    } catch (error) {
      if (abort.signal.aborted) {
        return;
      }
      const badFilter = error instanceof CallError && error.code === "INVALID_ARGUMENT";
      this.view.value = {
        ...this.view.peek(),
        phase: "error",
        problem: badFilter ? this.#filterWords(error) : problemWords(error),
        badFilter,
      };
      if (!badFilter) {
        this.#schedule(2 * REFRESH_MS);
      }
    }
  }
}
