import { describe, expect, it } from "vitest";
import { Rolling, type Target } from "../src/agents/rolling";
import { formatRoute, moved, parseRoute } from "../src/core/route";
import { furtherThan, progressWords, scopeWords } from "../src/core/stops";
import { cliOf } from "../src/core/words";
import { CommandSchema } from "../src/gen/pilothouse/v1/commands_pb";
import { EmergencyStopSchema } from "../src/gen/pilothouse/v1/emergency_stops_pb";
import { CallError } from "../src/live/call";
import { created, updated } from "../src/platform/budgets";
import { StopStore } from "../src/stores/stops";
import { type Contract, changesOf, flatten, optionsOf, specsOf, unflatten } from "../src/ui/schema";
import type { Command, CommandState } from "../src/core/wire";
import { sent } from "./fakes";

const command = (id: string, state: CommandState): Command => sent(CommandSchema, { id, state, action: "CONTROL_ACTION_RESTART" });
const asks = (id: string, log: string[]): Target => ({
  id,
  ask: () => {
    log.push(`ask ${id}`);
    return Promise.resolve(command(id, "COMMAND_STATE_REQUESTED"));
  },
});
const soon = (): Promise<void> => Promise.resolve();

describe("acts one after the other", () => {
  it("ask the next when the one before has ended, whichever way", async () => {
    const log: string[] = [];
    const ends: Record<string, CommandState[]> = {
      a: ["COMMAND_STATE_ACCEPTED", "COMMAND_STATE_EFFECTIVE"],
      b: ["COMMAND_STATE_EXPIRED"],
    };
    const rolling = new Rolling((id) => {
      const state = ends[id]?.shift() ?? "COMMAND_STATE_FAILED";
      log.push(`${id} ${state}`);
      return Promise.resolve(command(id, state));
    }, soon);
    await rolling.run([asks("a", log), asks("b", log)], "why");
    expect(log).toEqual(["ask a", "a COMMAND_STATE_ACCEPTED", "a COMMAND_STATE_EFFECTIVE", "ask b", "b COMMAND_STATE_EXPIRED"]);
    expect(rolling.steps.value.map((each) => each.phase)).toEqual(["effective", "expired"]);
    expect(rolling.state.value).toBe("over");
  });

  it("go on after a refusal, with its words", async () => {
    const refuse: Target = { id: "a", ask: () => Promise.reject(new CallError("FAILED_PRECONDITION", "it is offline", "", {}, [])) };
    const rolling = new Rolling((id) => Promise.resolve(command(id, "COMMAND_STATE_EFFECTIVE")), soon);
    await rolling.run([refuse, asks("b", [])], "");
    expect(rolling.steps.value.map(({ phase, words }) => [phase, words])).toEqual([
      ["refused", "it is offline"],
      ["effective", ""],
    ]);
  });

  it("ask no further once they are stopped", async () => {
    const log: string[] = [];
    const rolling = new Rolling((id) => {
      rolling.stop();
      return Promise.resolve(command(id, "COMMAND_STATE_REQUESTED"));
    }, soon);
    await rolling.run([asks("a", log), asks("b", log)], "");
    expect(log).toEqual(["ask a"]);
    expect(rolling.steps.value[1]?.phase).toBe("");
  });

  it("read a command again that could not be read", async () => {
    let failures = 2;
    const rolling = new Rolling(
      (id) => (failures-- > 0 ? Promise.reject(new Error("away")) : Promise.resolve(command(id, "COMMAND_STATE_EFFECTIVE"))),
      soon,
    );
    await rolling.run([asks("a", [])], "");
    expect(rolling.steps.value[0]?.phase).toBe("effective");
  });
});

describe("an emergency stop in words", () => {
  const stop = sent(EmergencyStopSchema, {
    id: "s1",
    state: "EMERGENCY_STOP_STATE_ACTIVE",
    counts: [
      { kind: "EMERGENCY_TARGET_KIND_WORKFLOW", state: "EMERGENCY_TARGET_STATE_OBEYED", count: "36" },
      { kind: "EMERGENCY_TARGET_KIND_WORKFLOW", state: "EMERGENCY_TARGET_STATE_ASKED", count: "3" },
      { kind: "EMERGENCY_TARGET_KIND_ENGINE", state: "EMERGENCY_TARGET_STATE_REFUSED", count: "1" },
    ],
  });

  it("counts what obeyed, what did not, and says whether it is quiet", () => {
    expect(progressWords(stop)).toBe("36 of 40 obeyed · 1 did not · not quiet yet");
    expect(progressWords({ ...stop, timeToQuiet: "2.1s" })).toBe("36 of 40 obeyed · 1 did not · quiet after 2.1 s");
  });

  it("names its scope", () => {
    expect(scopeWords(stop.scope)).toBe("everything");
    expect(scopeWords(sent(EmergencyStopSchema, { scope: { workflowType: "nightly" } }).scope)).toBe("workflows of type nightly");
  });

  it("goes only further", () => {
    expect(furtherThan("EMERGENCY_STAGE_PAUSE_ALL").map(([each]) => each)).toEqual(["EMERGENCY_STAGE_CANCEL_ALL"]);
    expect(furtherThan("EMERGENCY_STAGE_CANCEL_ALL")).toEqual([]);
  });

  it("is shown until it is released", () => {
    const stops = new StopStore();
    stops.replace([stop]);
    stops.apply({ ...stop, state: "EMERGENCY_STOP_STATE_RELEASING" });
    expect(stops.active.value).toHaveLength(1);
    stops.apply({ ...stop, state: "EMERGENCY_STOP_STATE_RELEASED" });
    expect(stops.active.value).toHaveLength(0);
  });

  it("is not put back by an answer that came after what it asked for was news", () => {
    const stops = new StopStore();
    const quiet = {
      ...stop,
      counts: [{ kind: "EMERGENCY_TARGET_KIND_ENGINE", state: "EMERGENCY_TARGET_STATE_OBEYED", count: "1" }],
    } as const;
    stops.apply(quiet);
    stops.learn({ ...stop, counts: [] });
    expect(stops.active.value).toEqual([quiet]);
    const further = { ...stop, stage: "EMERGENCY_STAGE_CANCEL_ALL", stageTime: "2100-01-01T00:00:00Z" } as const;
    stops.learn(further);
    expect(stops.active.value).toEqual([further]);
    stops.apply({ ...stop, state: "EMERGENCY_STOP_STATE_RELEASED" });
    stops.learn({ ...stop, state: "EMERGENCY_STOP_STATE_RELEASING" });
    expect(stops.active.value).toEqual([]);
  });
});

describe("a form of the contract", () => {
  const contract: Contract = {
    components: {
      schemas: {
        Budget: {
          properties: {
            name: { type: "string", description: "What people call it." },
            scope: { $ref: "#/components/schemas/Scope" },
            ceilings: { $ref: "#/components/schemas/Ceilings" },
            pause: { type: "boolean" },
          },
        },
        Ceilings: { properties: { cost_micros: { type: "string", format: "uint64" }, duration: { type: "string", pattern: "s$" } } },
        Scope: { type: "string", enum: ["SCOPE_UNSPECIFIED", "SCOPE_RUN"] },
      },
    },
  };

  it("has a field for each leaf, by its path and kind", () => {
    expect(specsOf(contract, "Budget").map(({ path, name, kind }) => [path, name, kind])).toEqual([
      ["name", "Name", "text"],
      ["scope", "Scope", ["SCOPE_UNSPECIFIED", "SCOPE_RUN"]],
      ["ceilings.cost_micros", "Cost micros", "number"],
      ["ceilings.duration", "Duration", "span"],
      ["pause", "Pause", "flag"],
    ]);
  });

  it("takes a document apart and puts it together", () => {
    const document = { name: "a", ceilings: { costMicros: "5" }, uses: [{ tokens: "1" }] };
    const flat = flatten(document);
    expect(flat).toEqual({ name: "a", "ceilings.cost_micros": "5" });
    expect(unflatten({ ...flat, pause: undefined })).toEqual({ name: "a", ceilings: { costMicros: "5" } });
  });

  it("says what differs, and not what only looks different", () => {
    expect(changesOf({ a: "1", b: "x" }, { a: 1, c: true })).toEqual([
      { path: "b", before: "x", after: undefined },
      { path: "c", before: undefined, after: true },
    ]);
  });

  it("is one command line", () =>
    expect(optionsOf({ "ceilings.cost_micros": "5", name: "a b", pause: false, window: undefined })).toBe(
      " --ceilings-cost-micros=5 --name='a b' --no-pause",
    ));
});

describe("where things are", () => {
  it("restores tabs, states and what is open", () => {
    const url = "#/platform?tab=emergency&open=s1";
    expect(formatRoute(parseRoute(url))).toBe(url);
    expect(parseRoute("#/agents?state=draining&open=a1")).toMatchObject({ page: "agents", state: "draining", open: "a1" });
  });

  it("keeps a filter only where it means the same", () => {
    const route = parseRoute("#/agents?filter=planner");
    expect(moved(route, { page: "workflows" }).filter).toBe("");
    expect(moved(parseRoute("#/monitoring?filter=a"), { page: "workflows" }).filter).toBe("a");
  });

  it("writes an id that begins with a dash behind the options", () => {
    expect(cliOf("agents drain", "-x", [["reason", "a b"]])).toBe("pilothouse agents drain --reason='a b' -- -x");
    expect(cliOf("agents drain", "x", [["reason", ""]])).toBe("pilothouse agents drain x");
  });
});

describe("a budget on the command line", () => {
  const sent = { name: "All of it", scope: "BUDGET_SCOPE_TYPE", window: "3600s", "ceilings.tokens": 10, pause: true };

  it("is made with the words the command line knows", () => {
    expect(created(sent, "why not")).toBe(
      "pilothouse budgets create --reason='why not' --name='All of it' --scope=type --window=3600s --ceilings-tokens=10 --pause",
    );
  });

  it("is changed in what differs, on what was seen, and loses what its new scope has not", () => {
    const was = { ...sent, id: "b1", state: "BUDGET_STATE_WITHIN", "ceilings.tokens": "10", workflow_id: "", workflow_type: "" };
    const { window: _, ...rest } = sent;
    const after = { ...rest, scope: "BUDGET_SCOPE_RUN", pause: false };
    expect(updated({ id: "b1", etag: "3" }, was, after, "")).toBe(
      `pilothouse budgets update --budget='{"id":"b1"}' --update-mask=scope,window,pause --etag=3 --scope=run --no-pause`,
    );
  });
});
