// The newest state of each workflow that this page has seen. Lists hold ids and look here, so a change shows in every list at once.
import { computed, signal } from "@preact/signals";
import { timestampMs } from "../core/time";
import type { Workflow } from "../core/wire";

const MOST = 2_000;

export function hasEnded(workflow: Workflow): boolean {
  return (
    workflow.state === "WORKFLOW_STATE_COMPLETED" ||
    workflow.state === "WORKFLOW_STATE_FAILED" ||
    workflow.state === "WORKFLOW_STATE_CANCELLED"
  );
}

const changedAt = (workflow: Workflow): number => timestampMs(workflow.updateTime) ?? 0;

// An answer to a question may be older than a change that came while it was on its way.
export function newer(known: Workflow | undefined, incoming: Workflow): Workflow {
  return known !== undefined && changedAt(known) > changedAt(incoming) ? known : incoming;
}

export class WorkflowStore {
  readonly #byId = new Map<string, Workflow>();
  readonly version = signal(0);
  readonly arrived = signal(false);
  readonly truncated = signal(false);

  // Newest first; reactive.
  readonly all = computed((): readonly Workflow[] => {
    void this.version.value;
    return [...this.#byId.values()]
      .map((workflow) => ({ workflow, at: timestampMs(workflow.createTime) ?? 0 }))
      .sort((a, b) => b.at - a.at || (a.workflow.id < b.workflow.id ? -1 : 1))
      .map((each) => each.workflow);
  });

  get(id: string): Workflow | undefined {
    void this.version.value;
    return this.#byId.get(id);
  }

  replace(workflows: readonly Workflow[], truncated: boolean): void {
    this.#byId.clear();
    for (const workflow of workflows) {
      this.#byId.set(workflow.id, workflow);
    }
    this.truncated.value = truncated;
    this.arrived.value = true;
    this.version.value++;
  }

  // From the live channel, which is in order.
  apply(workflow: Workflow): void {
    this.#byId.set(workflow.id, workflow);
    this.#trim();
    this.version.value++;
  }

  // From an answer, which may be late.
  learn(workflows: readonly Workflow[]): void {
    for (const workflow of workflows) {
      this.#byId.set(workflow.id, newer(this.#byId.get(workflow.id), workflow));
    }
    this.#trim();
    this.arrived.value = true;
    this.version.value++;
  }

  #trim(): void {
    if (this.#byId.size <= MOST) {
      return;
    }
    const ended = [...this.#byId.values()].filter(hasEnded).sort((a, b) => changedAt(a) - changedAt(b));
    for (const workflow of ended.slice(0, this.#byId.size - MOST)) {
      this.#byId.delete(workflow.id);
    }
  }
}
