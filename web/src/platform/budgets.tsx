// Budgets: how far each is used and when it will be, and one in its form.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { percent, when } from "../core/format";
import { timestampMs } from "../core/time";
import { type Look, cliOf, nameOf } from "../core/words";
import type { Budget } from "../core/wire";
import type { BudgetJson } from "../gen/pilothouse/v1/budgets_pb";
import { Editing } from "../alerts/editing";
import { requestId } from "../stores/control";
import { useStores } from "../ui/context";
import { CliLine } from "../ui/dialog";
import { ReasonField } from "../ui/form";
import { type Column, Listed, Standing, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { type Flat, SchemaFields, type Value, changesOf, flatten, optionsOf, specsOf, unflatten } from "../ui/schema";
import { budgetLook, burnWords, useWords } from "../workflows/words";
import { useContract } from "./config";

const AGAIN_MS = 5_000;
const NEW = ":new";
const OFF: Look = { word: "Off", tone: "unknown", shape: "ring" };
const FRESH: Flat = { scope: "BUDGET_SCOPE_RUN", enabled: true };
// What the server says of it, and what only one of the scopes has.
const GIVEN = "id state create_time update_time updated_by etag uses".split(" ");
const OF_SCOPE: Readonly<Record<string, string>> = {
  window: "BUDGET_SCOPE_TYPE",
  workflow_id: "BUDGET_SCOPE_RUN",
  "ceilings.duration": "BUDGET_SCOPE_RUN",
};

export function Budgets(): JSX.Element {
  const { call, route } = useStores();
  const list = useList<Budget>(
    async (_token, signal) => ({ items: (await call("BudgetService/ListBudgets", {}, signal)).message.budgets }),
    AGAIN_MS,
  );
  const open = route.open.value;
  const found = list.view.value.items.find(({ id }) => id === open);
  return (
    <>
      <Listed
        title="Budgets"
        what="the budgets"
        list={list}
        columns={COLUMNS}
        testId="budget-row"
        id={({ id }) => id}
        opens={({ id }) => id}
        state={({ state }) => budgetLook(state).word}
        empty="There are no budgets: nothing limits tokens, cost or time."
        aside={
          <a class="button primary" href={route.href({ open: NEW })} data-testid="budget-new">
            New budget
          </a>
        }
      />
      {open === "" ? null : <Form key={open} id={open === NEW ? "" : open} found={found} list={list} />}
    </>
  );
}

const COLUMNS: readonly Column<Budget>[] = [
  [
    "State",
    "w-name",
    ({ state, enabled }) => (
      <span class="state">
        <Mark look={enabled ? budgetLook(state) : OFF} /> {enabled ? budgetLook(state).word : OFF.word}
      </span>
    ),
  ],
  [
    "Budget",
    "w-why",
    (budget) => (
      <>
        <b class="cut">{budget.name}</b>
        <span class="small weak">
          {budget.scope === "BUDGET_SCOPE_TYPE" ? "all together" : "each run"} of {budget.workflowId || budget.workflowType || "any type"} ·{" "}
          {budget.pause ? "pauses when used up" : "only warns"}
        </span>
      </>
    ),
  ],
  ["Used", "w-when", (budget) => <Used budget={budget} />],
  ["Burn, and used up", "w-said", (budget) => <Burn budget={budget} />],
];

function Used({ budget }: { readonly budget: Budget }): JSX.Element {
  const use = budget.uses[0];
  const share = Number(use?.share ?? 0);
  return use === undefined ? (
    <span class="faint">nothing yet</span>
  ) : (
    <>
      <span class="load" title={use.workflowId === "" ? "" : `Nearest to it: ${use.workflowId}`}>
        <span class={`track tone-${budgetLook(use.state).tone}`}>
          <i style={{ left: 0, width: `${Math.min(1, share) * 100}%` }} />
        </span>
        {percent(share)} %
      </span>
      <span class="small weak cut">{useWords(budget, use)}</span>
    </>
  );
}

function Burn({ budget }: { readonly budget: Budget }): JSX.Element {
  const { clock } = useStores();
  const use = budget.uses[0];
  const full = timestampMs(use?.exceedTime);
  return (
    <>
      <span class="cut">{use === undefined ? "" : burnWords(budget, use) || "–"}</span>
      {full === undefined ? null : <span class="small tone-warning">used up at {when(full, clock.serverNow())}</span>}
    </>
  );
}

function Form({
  id,
  found: now,
  list,
}: {
  readonly id: string;
  readonly found: Budget | undefined;
  readonly list: ReturnType<typeof useList<Budget>>;
}): JSX.Element {
  const { ask } = useStores();
  const contract = useContract();
  const edits = useSignal<Flat>({});
  const reason = useSignal("");
  // As it was when it was opened: a change is decided on that, whoever else changes it meanwhile.
  const seen = useRef(now);
  seen.current ??= now;
  const found = now && seen.current;
  const was: Flat = found === undefined ? FRESH : flatten(found);
  const draft: Flat = { ...was, ...edits.value };
  const document = contract.view.value.items[0];
  const specs = (document === undefined ? [] : specsOf(document, "Budget")).filter(
    ({ path }) => !GIVEN.includes(path) && (OF_SCOPE[path] ?? draft["scope"]) === draft["scope"],
  );
  const sent = Object.fromEntries(specs.map(({ path }) => [path, draft[path]]));
  const budget = { ...unflatten(sent), ...(found === undefined ? {} : { id }) } as BudgetJson;
  const why = reason.value.trim();
  const ceiled = Object.keys(sent).some((path) => path.startsWith("ceilings.") && sent[path] !== undefined);
  return (
    <Editing
      kind="budget"
      at="budget"
      id={id}
      list={list}
      found={found}
      name={found?.name ?? ""}
      obstacle={draft["name"] ? (ceiled ? "" : "It needs a ceiling") : "It needs a name"}
      save={() =>
        found === undefined
          ? ask("BudgetService/CreateBudget", { budget, reason: why, requestId: requestId() })
          : ask("BudgetService/UpdateBudget", { budget, reason: why, requestId: requestId(), etag: found.etag })
      }
      remove={(said) => ask("BudgetService/DeleteBudget", { budgetId: id, reason: said, requestId: requestId() })}
      removeCli={(said) => cliOf("budgets delete", id, [["reason", said]])}
      effect="Nothing is held to it any more. What it paused stays paused."
    >
      <Standing list={contract} what="the contract" />
      <SchemaFields specs={specs} draft={draft} set={(path, value) => (edits.value = { ...edits.value, [path]: value })} />
      <ReasonField value={reason} testId="budget-reason" />
      <CliLine line={found === undefined ? created(sent, why) : updated(found, was, sent, why)} testId="budget-cli" />
    </Editing>
  );
}

const options = (flat: Flat): string =>
  optionsOf(Object.fromEntries(Object.entries(flat).map(([path, value]) => [path, path === "scope" ? scopeOption(value) : value])));
const scopeOption = (value: Value | undefined): string => nameOf(String(value), "BUDGET_SCOPE").toLowerCase();

export const created = (sent: Flat, reason: string): string => cliOf("budgets create", "", [["reason", reason]]) + options(sent);

// Only what differs: what the mask names without a value is taken away.
export function updated({ id, etag }: Pick<Budget, "id" | "etag">, was: Flat, sent: Flat, reason: string): string {
  const kept = Object.entries(was).filter(([path, value]) => !GIVEN.includes(path) && value !== "");
  const changes = changesOf(Object.fromEntries(kept), sent).filter(({ after }) => after !== "");
  const mask = changes.map(({ path }) => path).join(",");
  const said = [
    ["budget", JSON.stringify({ id })],
    ["update-mask", mask],
    ["etag", etag],
    ["reason", reason],
  ] as const;
  return cliOf("budgets update", "", said) + options(Object.fromEntries(changes.map(({ path, after }) => [path, after])));
}
