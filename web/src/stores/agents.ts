// All agents, and how the matrix groups them.
import { computed, signal } from "@preact/signals";
import type { Agent } from "../core/wire";

export interface AgentGroup {
  readonly type: string;
  readonly agents: readonly Agent[];
  readonly online: number;
  // Tasks in hand and places for them, of agents that said; capacity 0 when none did.
  readonly active: number;
  readonly capacity: number;
}

export function isOnline(agent: Agent): boolean {
  return agent.state !== "AGENT_STATE_OFFLINE" && agent.state !== "AGENT_STATE_UNSPECIFIED";
}

// e2e-2 before e2e-10. One collator, because making one for each comparison is most of the work of a thousand agents.
const byNumber = new Intl.Collator("en", { numeric: true });

export function inOrder(agents: Iterable<Agent>): readonly Agent[] {
  return [...agents].sort((a, b) => byNumber.compare(a.id, b.id));
}

// `agents` are in the order in which they are shown.
export function groupAgents(agents: readonly Agent[]): readonly AgentGroup[] {
  const byType = Map.groupBy(agents, (agent) => agent.agentType || "no type");
  // What needs a look comes first, so that it is seen without scrolling.
  const troubled = (group: AgentGroup): number => Number(group.online === group.agents.length);
  return [...byType]
    .map(([type, members]) => {
      const online = members.filter(isOnline);
      const loads = online.flatMap((agent) => (agent.load !== undefined && agent.load.capacity > 0 ? [agent.load] : []));
      return {
        type,
        agents: members,
        online: online.length,
        active: loads.reduce((sum, load) => sum + Math.min(load.active, load.capacity), 0),
        capacity: loads.reduce((sum, load) => sum + load.capacity, 0),
      };
    })
    .sort((a, b) => troubled(a) - troubled(b) || byNumber.compare(a.type, b.type));
}

export class AgentStore {
  #byId = new Map<string, Agent>();
  readonly #version = signal(0);
  readonly arrived = signal(false);
  readonly truncated = signal(false);

  readonly groups = computed(() => {
    void this.#version.value;
    return groupAgents([...this.#byId.values()]);
  });

  replace(agents: readonly Agent[], truncated: boolean): void {
    this.#byId = new Map(inOrder(agents).map((agent) => [agent.id, agent]));
    this.truncated.value = truncated;
    this.arrived.value = true;
    this.#version.value++;
  }

  // A change keeps the agent's place; only a new one needs sorting.
  apply(agent: Agent): void {
    const known = this.#byId.has(agent.id);
    this.#byId.set(agent.id, agent);
    if (!known) {
      this.#byId = new Map(inOrder(this.#byId.values()).map((each) => [each.id, each]));
    }
    this.#version.value++;
  }
}
