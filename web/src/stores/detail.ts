// The workflow in the side sheet: read once, then again when the live channel says that it changed.
import { signal } from "@preact/signals";
import { type Call, CallError, problemWords } from "../live/call";
import type { WorkflowStore } from "./workflows";
import type { GetWorkflowResponse } from "../core/wire";

export interface DetailView {
  readonly id: string;
  readonly phase: "loading" | "ready" | "missing" | "error";
  readonly answer: GetWorkflowResponse | undefined;
  readonly problem: string;
}

const AGAIN_MS = 500;
const RETRY_MS = 3_000;

export class DetailStore {
  readonly view = signal<DetailView>({ id: "", phase: "loading", answer: undefined, problem: "" });
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly call: Call,
    private readonly workflows: WorkflowStore,
  ) {}

  open(id: string): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.view.value = { id, phase: "loading", answer: undefined, problem: "" };
    if (id !== "") {
      void this.#load(id);
    }
  }

  touch(id: string): void {
    if (id !== "" && id === this.view.peek().id) {
      this.#again(AGAIN_MS);
    }
  }

  #again(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#load(this.view.peek().id);
    }, ms);
  }

  async #load(id: string): Promise<void> {
    this.#abort.abort();
    const abort = (this.#abort = new AbortController());
    try {
      const { message } = await this.call("WorkflowService/GetWorkflow", { workflowId: id }, abort.signal);
      if (message.workflow !== undefined) {
        this.workflows.learn([message.workflow]);
      }
      this.view.value = { id, phase: "ready", answer: message, problem: "" };
    } catch (error) {
      if (abort.signal.aborted) {
        return;
      }
      const missing = error instanceof CallError && error.code === "NOT_FOUND";
      this.view.value = { ...this.view.peek(), phase: missing ? "missing" : "error", problem: problemWords(error) };
      if (!missing) {
        this.#again(RETRY_MS);
      }
    }
  }
}
