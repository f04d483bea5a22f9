import type { MessageJsonType } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { toTimestamp } from "../src/core/time";
import { AgentSchema } from "../src/gen/pilothouse/v1/agents_pb";
import { AlertSchema } from "../src/gen/pilothouse/v1/alerts_pb";
import { CommandSchema } from "../src/gen/pilothouse/v1/commands_pb";
import { EventSchema } from "../src/gen/pilothouse/v1/events_pb";
import { WorkflowSchema } from "../src/gen/pilothouse/v1/workflows_pb";
import type { LinkState } from "../src/live/link";
import { AgentStore, groupAgents, inOrder } from "../src/stores/agents";
import { AlertStore } from "../src/stores/alerts";
import { ClockStore } from "../src/stores/clock";
import { type Act, CommandStore } from "../src/stores/commands";
import { ConnectionStore, NOT_POLLING, STALE_MS, modeOf } from "../src/stores/connection";
import { requestId } from "../src/stores/control";
import { EventStore, MOST_ROWS } from "../src/stores/events";
import { WorkflowStore } from "../src/stores/workflows";
import { FakeTime, sent } from "./fakes";
import type { AgentState, AlertState, Command, CommandState, Severity } from "../src/core/wire";

const link = (phase: LinkState["phase"], failures = 0): LinkState => ({ phase, failures, retryAt: undefined, problem: "" });
const polled = (ok: boolean | undefined) => ({ active: true, ok, problem: "" });

describe("the connection", () => {
  it.each([
    [link("connecting"), NOT_POLLING, false, "connecting"],
    [link("open"), NOT_POLLING, true, "live"],
    [link("waiting", 1), NOT_POLLING, true, "reconnecting"],
    [link("waiting", 3), polled(undefined), true, "reconnecting"],
    [link("waiting", 3), polled(true), true, "polling"],
    [link("connecting", 4), polled(true), true, "polling"],
    [link("waiting", 4), polled(false), true, "offline"],
  ] as const)("%j with %j is %s → %s", (state, poll, everOpen, mode) => expect(modeOf(state, poll, everOpen)).toBe(mode));

  function connected() {
    const clock = new ClockStore();
    const connection = new ConnectionStore(clock);
    connection.linkChanged(link("open"));
    return { connection, now: clock.now.peek() };
  }

  it("unlocks controls once states have arrived", () => {
    const { connection, now } = connected();
    expect(connection.lock.value).toContain("no workflow states");
    connection.confirm("workflows:changes", now);
    expect(connection.lock.value).toBe("");
  });

  it("locks controls while states are old", () => {
    const { connection, now } = connected();
    connection.confirm("workflows:changes", now - STALE_MS - 1_000);
    expect(connection.lock.value).toBe("Locked: what is shown is 16 s old");
    expect(connection.isStale("workflows:changes")).toBe(true);
  });

  it("locks controls at once when the connection is gone", () => {
    const { connection, now } = connected();
    connection.confirm("workflows:changes", now);
    connection.linkChanged(link("waiting", 1));
    expect(connection.lock.value).toContain("no connection");
  });

  it("believes the bridge when it says that its knowledge is older", () => {
    const { connection, now } = connected();
    connection.confirm("alerts:active", now);
    connection.confirm("alerts:active", now - 5_000);
    expect(connection.ageOf("alerts:active")).toBe(0);
    connection.correct("alerts:active", now - 20_000);
    expect(connection.ageOf("alerts:active")).toBe(20_000);
  });
});

describe("events", () => {
  const event = (id: number) => sent(EventSchema, { id: `e${id}`, type: "EVENT_TYPE_LOG", message: `m${id}` });
  const many = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => event(from + index));

  it("are bounded, and numbered from the first that came", () => {
    const store = new EventStore();
    for (let start = 0; start < 10_000; start += 100) {
      store.append(many(start, start + 100));
    }
    const { base, rows } = store.view.value;
    expect(rows.length).toBeLessThanOrEqual(MOST_ROWS + 200);
    expect(base + rows.length).toBe(10_000);
    expect(rows.at(-1)).toMatchObject({ key: "e9999" });
  });

  it("that need a look are not pushed out by heartbeats", () => {
    const store = new EventStore();
    store.append([sent(EventSchema, { id: "bad", type: "EVENT_TYPE_WORKFLOW_FAILED" })]);
    store.append(Array.from({ length: 5_000 }, (_, index) => sent(EventSchema, { id: `h${index}`, type: "EVENT_TYPE_AGENT_HEARTBEAT" })));
    expect(store.view.value.rows.map((row) => row.key)).toEqual(["bad"]);
    store.filter.value = "trouble";
    expect(store.view.value.rows.map((row) => row.key)).toEqual(["bad"]);
  });

  it("come once, however often they are sent", () => {
    const store = new EventStore();
    store.append(many(0, 3));
    store.append(many(1, 4));
    expect(store.view.value.rows).toHaveLength(4);
  });

  it("join a snapshot that they overlap", () => {
    const store = new EventStore();
    store.append(many(0, 3));
    store.replace(many(2, 6));
    expect(store.view.value.rows.map((row) => row.kind)).toEqual(Array.from({ length: 6 }, () => "event"));
  });

  it("show a gap before a snapshot that does not join", () => {
    const store = new EventStore();
    store.append(many(0, 2));
    store.replace(many(8, 9));
    expect(store.view.value.rows.map((row) => row.kind)).toEqual(["event", "event", "gap", "event"]);
  });
});

describe("workflows", () => {
  const workflow = (init: MessageJsonType<typeof WorkflowSchema>) => sent(WorkflowSchema, init);

  it("are not set back by an answer that was slow", () => {
    const store = new WorkflowStore();
    store.apply(workflow({ id: "a", state: "WORKFLOW_STATE_PAUSED", updateTime: toTimestamp(2_000) }));
    store.learn([workflow({ id: "a", state: "WORKFLOW_STATE_RUNNING", updateTime: toTimestamp(1_000) })]);
    expect(store.get("a")?.state).toBe("WORKFLOW_STATE_PAUSED");
  });

  it("are those of a snapshot and no others", () => {
    const store = new WorkflowStore();
    store.apply(workflow({ id: "a" }));
    store.replace([workflow({ id: "b" })], false);
    expect(store.all.value.map((each) => each.id)).toEqual(["b"]);
  });

  it("are bounded, and those that have not ended stay", () => {
    const store = new WorkflowStore();
    store.apply(workflow({ id: "open", state: "WORKFLOW_STATE_RUNNING" }));
    for (let index = 0; index < 2_500; index++) {
      store.apply(workflow({ id: `w${index}`, state: "WORKFLOW_STATE_COMPLETED", updateTime: toTimestamp(index) }));
    }
    expect(store.all.value).toHaveLength(2_000);
    expect(store.get("open")).toBeDefined();
    expect(store.get("w0")).toBeUndefined();
  });
});

describe("commands", () => {
  const command = (state: CommandState, init: MessageJsonType<typeof CommandSchema> = {}): Command =>
    sent(CommandSchema, { id: "c1", workflowId: "w", action: "CONTROL_ACTION_PAUSE", state, ...init });
  const carrying = (pending?: Command) => sent(WorkflowSchema, { id: "w", ...(pending === undefined ? {} : { pendingCommand: pending }) });

  function made(read: () => Promise<Command | undefined> = async () => undefined) {
    const ended: Act[] = [];
    const time = new FakeTime();
    const store = new CommandStore(
      read,
      (act) => ended.push(act),
      (ms, run) => void time.after(ms, run),
    );
    return { store, ended, time };
  }

  it("go from requested to accepted as the workflow carries them", () => {
    const { store } = made();
    store.track(command("COMMAND_STATE_REQUESTED"));
    store.observe(carrying(command("COMMAND_STATE_ACCEPTED")));
    expect(store.get("w")?.phase).toBe("accepted");
  });

  it("never go back, in whatever order the news comes", () => {
    const { store } = made();
    store.observe(carrying(command("COMMAND_STATE_ACCEPTED")));
    store.track(command("COMMAND_STATE_REQUESTED"));
    expect(store.get("w")?.phase).toBe("accepted");
  });

  it("are asked how they ended when the workflow carries them no more", async () => {
    const { store, ended } = made(async () => command("COMMAND_STATE_FAILED", { error: { code: "X", message: "no worker" } }));
    store.track(command("COMMAND_STATE_REQUESTED"));
    store.observe(carrying());
    await Promise.resolve();
    await Promise.resolve();
    expect(store.get("w")).toMatchObject({ phase: "failed", words: "no worker" });
    expect(ended).toHaveLength(1);
  });

  it("are asked again while nothing is heard of them", async () => {
    const { store, time } = made(async () => command("COMMAND_STATE_EFFECTIVE"));
    store.track(command("COMMAND_STATE_REQUESTED"));
    time.advance(3_000);
    await Promise.resolve();
    await Promise.resolve();
    expect(store.get("w")?.phase).toBe("effective");
  });

  it("of others end without a message", () => {
    const { store, ended } = made();
    store.apply(command("COMMAND_STATE_EFFECTIVE"));
    expect(ended).toEqual([]);
  });

  it("carry an id that a UUID field accepts", () =>
    expect(requestId()).toMatch(/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/));
});

describe("agents", () => {
  const agent = (id: string, type: string, state: AgentState, active = 0, capacity = 0) =>
    sent(AgentSchema, { id, agentType: type, state, load: { active, capacity } });

  it("are grouped by type, in the order of their numbers, groups with trouble first", () => {
    const groups = groupAgents(
      inOrder([
        agent("b-10", "b", "AGENT_STATE_BUSY", 2, 2),
        agent("b-2", "b", "AGENT_STATE_ONLINE", 0, 2),
        agent("c-1", "c", "AGENT_STATE_OFFLINE", 1, 1),
        agent("a-1", "a", "AGENT_STATE_ONLINE"),
      ]),
    );
    expect(groups.map((group) => group.type)).toEqual(["c", "a", "b"]);
    expect(groups[2]).toMatchObject({ online: 2, active: 2, capacity: 4 });
    expect(groups[2]?.agents.map((each) => each.id)).toEqual(["b-2", "b-10"]);
    expect(groups[0]).toMatchObject({ online: 0, active: 0, capacity: 0 });
  });

  it("change in place", () => {
    const store = new AgentStore();
    store.replace([agent("a", "t", "AGENT_STATE_ONLINE")], false);
    store.apply(agent("a", "t", "AGENT_STATE_OFFLINE"));
    expect(store.groups.value[0]).toMatchObject({ online: 0 });
  });
});

describe("alerts", () => {
  const alert = (id: string, state: AlertState, severity: Severity, fired = 0) =>
    sent(AlertSchema, { id, state, severity, ruleName: id, fireTime: toTimestamp(fired) });

  it("stand in the order of urgency", () => {
    const store = new AlertStore();
    store.replace([
      alert("pending", "ALERT_STATE_PENDING", "SEVERITY_CRITICAL"),
      alert("old", "ALERT_STATE_FIRING", "SEVERITY_WARNING", 1),
      alert("new", "ALERT_STATE_FIRING", "SEVERITY_WARNING", 9),
      alert("grave", "ALERT_STATE_FIRING", "SEVERITY_CRITICAL"),
    ]);
    expect(store.active.value.map((each) => each.id)).toEqual(["grave", "new", "old", "pending"]);
    expect([store.criticalCount.value, store.warningCount.value]).toEqual([1, 2]);
  });

  it("are not put back by an answer that came after what followed was news", () => {
    const store = new AlertStore();
    const at = (state: AlertState, changed: number) => ({
      ...alert("a", state, "SEVERITY_CRITICAL", 5_000),
      updateTime: new Date(changed).toISOString(),
    });
    store.learn(at("ALERT_STATE_FIRING", 6_000));
    expect(store.active.value).toHaveLength(1);
    store.apply(at("ALERT_STATE_RESOLVED", 7_000));
    store.learn(at("ALERT_STATE_FIRING", 6_500));
    expect(store.active.value).toEqual([]);
  });

  it("go into history when they are resolved, and leave their mark", () => {
    const store = new AlertStore();
    store.apply(alert("a", "ALERT_STATE_FIRING", "SEVERITY_CRITICAL", 5_000));
    store.apply(alert("a", "ALERT_STATE_RESOLVED", "SEVERITY_CRITICAL", 5_000));
    expect(store.active.value).toEqual([]);
    expect(store.marks.value).toEqual([{ id: "a", at: 5_000, words: "a", critical: true }]);
  });
});
