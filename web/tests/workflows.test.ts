import { afterEach, describe, expect, it, vi } from "vitest";
import { OF_WORKFLOWS, completions, withKnown } from "../src/core/filter";
import { HOME, formatRoute, moved, parseRoute } from "../src/core/route";
import { BatchSchema } from "../src/gen/pilothouse/v1/batches_pb";
import { BudgetSchema } from "../src/gen/pilothouse/v1/budgets_pb";
import { followed } from "../src/live/lines";
import type { ListingView } from "../src/stores/listing";
import { RouteStore } from "../src/stores/route";
import { matching } from "../src/workflows/picking";
import { Following } from "../src/workflows/following";
import { Selection } from "../src/workflows/selection";
import { batchLine, burnWords, causeLook, countsOf, effectOn, isGivenUp, money, remedyPlace, useWords } from "../src/workflows/words";
import type { Waiting } from "../src/core/wire";
import { sent } from "./fakes";

const IDS = ["a", "b", "c", "d", "e"];
const chosen = (selection: Selection): string => [...selection.ids.value].sort().join("");

describe("choosing rows", () => {
  it("takes one and lets it go", () => {
    const selection = new Selection();
    selection.toggle("b", false, IDS);
    selection.toggle("d", false, IDS);
    selection.toggle("b", false, IDS);
    expect(chosen(selection)).toBe("d");
  });

  it("takes all from the one before, in either direction, and lets a range go the same way", () => {
    const selection = new Selection();
    selection.toggle("d", false, IDS);
    selection.toggle("b", true, IDS);
    expect(chosen(selection)).toBe("bcd");
    selection.toggle("d", true, IDS);
    expect(chosen(selection)).toBe("");
  });

  it("takes one alone where the one before is not listed any more", () => {
    const selection = new Selection();
    selection.toggle("gone", false, IDS);
    selection.toggle("c", true, IDS);
    expect(chosen(selection)).toBe("cgone");
  });

  it("begins anew after a choice as a whole", () => {
    const selection = new Selection();
    selection.toggle("a", false, IDS);
    selection.set(["b"]);
    selection.toggle("d", true, IDS);
    expect(chosen(selection)).toBe("bd");
  });
});

describe("how many match", () => {
  const view = {
    counts: new Map([["WORKFLOW_STATE_RUNNING", 12] as const, ["WORKFLOW_STATE_FAILED", 3] as const]),
    capped: false,
  } as unknown as ListingView;

  it.each([
    ["", "", "15 "],
    ['type = "feature"', "failed", "3 "],
    // The server counts without regard to what the filter says of states.
    ["state = FAILED", "", ""],
  ])("%s with the chip %s is %s", (filter, state, text) => expect(matching(view, filter, state)).toBe(text));

  it("says that it stopped counting", () => expect(matching({ ...view, capped: true }, "", "")).toBe("15 or more "));
});

describe("a batch in words", () => {
  const batch = sent(BatchSchema, {
    id: "b1",
    counts: [
      { outcome: "BATCH_OUTCOME_WAITING", count: "7" },
      { outcome: "BATCH_OUTCOME_EFFECTIVE", count: "2" },
      { outcome: "BATCH_OUTCOME_FAILED", count: "1" },
    ],
  });

  it("draws what is settled first", () =>
    expect(countsOf(batch)).toEqual([
      ["BATCH_OUTCOME_EFFECTIVE", 2],
      ["BATCH_OUTCOME_FAILED", 1],
      ["BATCH_OUTCOME_WAITING", 7],
    ]));
  it("is given up once something was", () => {
    expect(isGivenUp(batch)).toBe(false);
    expect(isGivenUp({ ...batch, counts: [{ outcome: "BATCH_OUTCOME_ABANDONED", count: "1" }] })).toBe(true);
  });
  it("is one line of the command line, safe to paste", () =>
    expect(batchLine("create", "", [["action", "pause"] as const, ["filter", `name = "it's"`], ["reason", ""]])).toBe(
      `pilothouse batches create --action=pause --filter='name = "it'\\''s"'`,
    ));
  it("speaks of each workflow", () => expect(effectOn("CONTROL_ACTION_CANCEL")).toContain("ends each workflow."));
});

describe("budgets in words", () => {
  it.each([
    [0, "0"],
    [400, "<0.001"],
    [12_340, "0.012"],
    [1_234_000, "1.23"],
    [1_234_000_000, "1,234"],
  ])("%d millionths are %s", (micros, text) => expect(money(micros)).toBe(text));

  const budget = sent(BudgetSchema, {
    ceilings: { tokens: "50000", duration: "600s" },
    uses: [{ workflowId: "wf-1", tokens: "12300", duration: "90s", tokensPerMinute: 812.4, costMicrosPerMinute: 5 }],
  });
  const use = budget.uses[0];

  it("names each ceiling that there is, and no other", () => {
    expect(use && useWords(budget, use)).toBe("12,300 of 50,000 tokens · 1 min 30 s of 10 min");
    expect(use && burnWords(budget, use)).toBe("812 tokens/min");
  });
});

describe("why a workflow waits", () => {
  const waiting = (cause: Waiting["cause"]): Waiting => ({
    cause,
    reason: "",
    remedy: "",
    action: "CONTROL_ACTION_UNSPECIFIED",
    subject: "s1",
  });

  it("has a word for a cause that a newer server knows", () => expect(causeLook("WAIT_CAUSE_NEW" as Waiting["cause"]).word).toBe("Waits"));
  it("has no page where the remedy is on the workflow itself", () => expect(remedyPlace(waiting("WAIT_CAUSE_PAUSED"))).toBeUndefined());
  it("leads to the budget that paused it, by its id", () =>
    expect(remedyPlace(waiting("WAIT_CAUSE_BUDGET"))).toEqual({ page: "platform", tab: "budgets", open: "s1" }));
});

describe("the URL of the Workflows page", () => {
  it("keeps a batch and a workflow's own page", () => {
    for (const url of ["#/workflows?tab=batches&open=b1", "#/workflows?tab=run&open=wf-1", "#/workflows?filter=type+%3D+x&open=%3Abatch"]) {
      expect(formatRoute(parseRoute(url))).toBe(url);
    }
  });
  it("knows no tab of another page", () => expect(parseRoute("#/alerts?tab=batches").tab).toBe(""));
  it("has no page of nothing", () => expect(moved(parseRoute("#/workflows?tab=run&open=wf-1"), { open: "" }).tab).toBe(""));
  it("tells a workflow from what else is open", () => {
    const route = new RouteStore();
    const opened = (change: Parameters<RouteStore["refine"]>[0]): string => {
      route.route.value = { ...HOME, ...change };
      return route.workflow.value;
    };
    expect(opened({ page: "monitoring", open: "wf-1" })).toBe("wf-1");
    expect(opened({ page: "workflows", tab: "run", open: "wf-1" })).toBe("wf-1");
    expect(opened({ page: "workflows", tab: "batches", open: "b1" })).toBe("");
    expect(opened({ page: "workflows", open: ":batch" })).toBe("");
    expect(opened({ page: "alerts", open: "a1" })).toBe("");
  });
});

describe("the filter's known values", () => {
  const language = withKnown(OF_WORKFLOWS, { type: ["feature", "feature", "", "night run"] });

  it("completes them once each, quoted where they need it", () =>
    expect(completions("type = ", language)).toEqual(["type = feature", 'type = "night run"']));
  it("keeps the values of the contract", () => expect(completions("state = PA", language)).toEqual(["state = PAUSED"]));
});

describe("a stream over plain HTTP", () => {
  const answer = (...lines: string[]): void => void vi.stubGlobal("fetch", async () => new Response(lines.join("\n")));
  // Others want the processor too while tests run.
  const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000 });
  afterEach(() => vi.unstubAllGlobals());

  it("has the names of JSON", async () => {
    answer('{"batch":{"create_time":"t","counts":[{"batch_outcome":"X"}]}}', "");
    const found: unknown[] = [];
    for await (const each of followed(new URL("http://here/"), new AbortController().signal)) {
      found.push(each);
    }
    expect(found).toEqual([{ batch: { createTime: "t", counts: [{ batchOutcome: "X" }] } }]);
  });

  it("is followed until the batch is over", async () => {
    const asked = vi.fn(
      async () =>
        new Response(
          '{"batch":{"id":"b1","state":"BATCH_STATE_RUNNING"}}\n{"heartbeat":{}}\n{"batch":{"id":"b1","state":"BATCH_STATE_DONE"}}\n',
        ),
    );
    vi.stubGlobal("fetch", asked);
    const following = new Following("http://here/", "b1");
    const leave = following.show();
    await until(() => expect(following.view.value.batch?.state).toBe("BATCH_STATE_DONE"));
    leave();
    expect(asked).toHaveBeenCalledOnce();
  });

  it("keeps what was known when it breaks off, and says why", async () => {
    answer('{"batch":{"id":"b1","state":"BATCH_STATE_RUNNING"}}', '{"error":{"code":"UNAVAILABLE","message":"going away"}}', "");
    const following = new Following("http://here/", "b1");
    const leave = following.show();
    await until(() => expect(following.view.value.phase).toBe("broken"));
    leave();
    expect(following.view.value).toMatchObject({ batch: { id: "b1" }, problem: "going away" });
  });

  it("says that there is no such batch, and does not ask again", async () => {
    vi.stubGlobal("fetch", async () => new Response('{"code":"NOT_FOUND","message":"no batch b1"}', { status: 404 }));
    const following = new Following("http://here/", "b1");
    const leave = following.show();
    await until(() => expect(following.view.value.phase).toBe("missing"));
    leave();
  });
});
