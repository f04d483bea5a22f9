// All agents, and how the matrix groups them.
import { computed, signal } from "@preact/signals";
import type { Agent } from "../gen/pilothouse/v1/agents_pb";
import { AgentState } from "../gen/pilothouse/v1/enums_pb";

export interface AgentGroup {
  readonly type: string;
  readonly agents: readonly Agent[];
  readonly online: number;
  // Tasks in hand and places for them, of agents that said; capacity 0 when none did.
  readonly active: number;
  readonly capacity: number;
}

export function isOnline(agent: Agent): boolean {
  return agent.state !== AgentState.OFFLINE && agent.state !== AgentState.UNSPECIFIED;
}

export function groupAgents(agents: readonly Agent[]): readonly AgentGroup[] {
  const byType = new Map<string, Agent[]>();
  for (const agent of agents) {
    const type = agent.agentType || "no type";
    byType.set(type, [...(byType.get(type) ?? []), agent]);
  }
  // What needs a look comes first, so that it is seen without scrolling.
  const troubled = (group: AgentGroup): number => Number(group.online === group.agents.length);
  return [...byType]
    .map(([type, members]) => {
      const online = members.filter(isOnline);
      const loads = online.flatMap((agent) => (agent.load !== undefined && agent.load.capacity > 0 ? [agent.load] : []));
      return {
        type,
        agents: members.sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true })),
        online: online.length,
        active: loads.reduce((sum, load) => sum + Math.min(load.active, load.capacity), 0),
        capacity: loads.reduce((sum, load) => sum + load.capacity, 0),
      };
    })
    .sort((a, b) => troubled(a) - troubled(b) || a.type.localeCompare(b.type));
}

export class AgentStore {
  readonly #byId = new Map<string, Agent>();
  readonly #version = signal(0);
  readonly arrived = signal(false);
  readonly truncated = signal(false);

  readonly groups = computed(() => {
    void this.#version.value;
    return groupAgents([...this.#byId.values()]);
  });

  get(id: string): Agent | undefined {
    void this.#version.value;
    return this.#byId.get(id);
  }

  replace(agents: readonly Agent[], truncated: boolean): void {
    this.#byId.clear();
    for (const agent of agents) {
      this.#byId.set(agent.id, agent);
    }
    this.truncated.value = truncated;
    this.arrived.value = true;
    this.#version.value++;
  }

  apply(agent: Agent): void {
    this.#byId.set(agent.id, agent);
    this.#version.value++;
  }
}
