// All workflows: state chips with counts, the API's filter, pages, live rows, what is chosen, and the acts on each.
import type { JSX } from "preact";
import { count, plural } from "../core/format";
import { timestampMs } from "../core/time";
import { workflowLook } from "../core/words";
import { WORKFLOWS } from "../live/positions";
import type { ListingView } from "../stores/listing";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { type Columns, Headed, NoMatch } from "../ui/rows";
import { memo } from "../ui/memo";
import { Note, Panel, When } from "../ui/panel";
import { whilePointed } from "../ui/pointed";
import { ActNote, Actions, Elapsed, Stages, WorkflowLink, WorkflowStateCell, stateName } from "../ui/workflow";
import { Pick, PickAll, Picked } from "./picking";
import { Why } from "./waiting";
import { money } from "./words";
import type { Workflow, WorkflowState } from "../core/wire";

const CHIPS: readonly WorkflowState[] = [
  "WORKFLOW_STATE_RUNNING",
  "WORKFLOW_STATE_WAITING",
  "WORKFLOW_STATE_QUEUED",
  "WORKFLOW_STATE_PAUSED",
  "WORKFLOW_STATE_FAILED",
  "WORKFLOW_STATE_COMPLETED",
  "WORKFLOW_STATE_CANCELLED",
];

export function All(): JSX.Element {
  const { listing } = useStores();
  const view = listing.view.value;
  const rows = listing.rows.value;
  return (
    <Panel title="All workflows" channel={WORKFLOWS} class="listing tall" testId="workflow-table" aside={<Held />}>
      <Chips view={view} />
      <Picked view={view} />
      {view.phase === "error" ? (
        <Note tone={view.badFilter ? "warning" : "critical"}>
          {view.badFilter
            ? `The filter is not understood: ${view.problem}. Example: state = RUNNING AND type = "feature"`
            : `The list could not be read: ${view.problem}. It is asked for again.`}
        </Note>
      ) : null}
      <div class="body" {...whilePointed((pointed) => listing.hold(pointed))}>
        {rows.length === 0 ? (
          view.phase === "error" ? null : (
            <Empty phase={view.phase} />
          )
        ) : (
          <Headed head={[["col-pick", <PickAll />], ...HEAD]}>
            {rows.map((workflow) => (
              <FullRow key={workflow.id} workflow={workflow} />
            ))}
          </Headed>
        )}
        {view.more ? (
          <p class="more">
            <button type="button" class="button" onClick={() => listing.loadMore()} data-testid="load-more">
              Load more
            </button>
          </p>
        ) : null}
      </div>
    </Panel>
  );
}

function Held(): JSX.Element | null {
  const { listing } = useStores();
  return listing.waiting.value ? (
    <button
      type="button"
      class="link"
      onClick={() => listing.refresh()}
      title="The order holds still while you point at it"
      data-testid="listing-refresh"
    >
      changes wait · show
    </button>
  ) : null;
}

function Chips({ view }: { readonly view: ListingView }): JSX.Element {
  const { route } = useStores();
  const chosen = route.state.value;
  const total = [...view.counts.values()].reduce((sum, each) => sum + each, 0);
  const plus = view.capped ? "+" : "";
  return (
    <div class="chips" role="group" aria-label="States">
      <button type="button" class="chip" aria-pressed={chosen === ""} onClick={() => route.go({ state: "" })} data-testid="chip-all">
        All <b>{view.counts.size === 0 ? "" : `${count(total)}${plus}`}</b>
      </button>
      {CHIPS.map((state) => {
        const look = workflowLook(state);
        const key = look.word.toLowerCase();
        return (
          <button
            key={key}
            type="button"
            class="chip"
            aria-pressed={chosen === key}
            onClick={() => route.go({ state: chosen === key ? "" : key })}
            data-testid={`chip-${key}`}
          >
            <Mark look={look} /> {look.word} <b>{view.counts.size === 0 ? "" : count(view.counts.get(state) ?? 0)}</b>
          </button>
        );
      })}
    </div>
  );
}

function Empty({ phase }: { readonly phase: ListingView["phase"] }): JSX.Element {
  const { route } = useStores();
  if (phase === "loading") {
    return <Note>Reading the workflows…</Note>;
  }
  const filtered = route.filter.value.trim() !== "" || route.state.value !== "";
  return filtered ? (
    <Note>
      <NoMatch what="workflow" />
    </Note>
  ) : (
    <Note>No workflow yet. One appears as soon as an engine reports it.</Note>
  );
}

const HEAD: Columns = [
  ["col-state", "State"],
  ["col-name", "Name"],
  ["col-type", "Type"],
  ["col-stages", "Stages"],
  ["col-agent", "Agent"],
  ["col-start number", "Started"],
  ["col-elapsed number", "Duration"],
  ["col-cost number", "Cost"],
  ["col-why", "Why waiting"],
  ["col-acts", "Actions"],
];

const FullRow = memo(({ workflow }: { readonly workflow: Workflow }): JSX.Element => {
  const { route } = useStores();
  const start = timestampMs(workflow.startTime) ?? timestampMs(workflow.createTime);
  const open = (): void => route.go({ open: workflow.id });
  return (
    <tr
      data-row=""
      tabIndex={-1}
      onClick={open}
      data-testid="workflow-row"
      data-workflow-id={workflow.id}
      data-state={stateName(workflow)}
      data-open={route.open.value === workflow.id}
    >
      <td class="col-pick">
        <Pick id={workflow.id} name={workflow.workflowName || workflow.id} />
      </td>
      <td class="col-state">
        <WorkflowStateCell workflow={workflow} />
      </td>
      <td class="col-name">
        <span class="cut" title={`${workflow.workflowName} · ${workflow.id}`}>
          <WorkflowLink workflow={workflow} />
          {workflow.attempt > 1 ? <span class="tone-warning small"> {plural(workflow.attempt - 1, "retry", "retries")}</span> : null}
        </span>
        <ActNote workflow={workflow} />
        {workflow.workflowName === "" ? null : <span class="id mono faint cut">{workflow.id}</span>}
      </td>
      <td class="col-type cut">{workflow.workflowType || "–"}</td>
      <td class="col-stages">
        <Stages workflow={workflow} />
        <span class="cut faint small">{workflow.state === "WORKFLOW_STATE_FAILED" ? workflow.error?.message : workflow.currentStage}</span>
      </td>
      <td class="col-agent mono cut">{workflow.agentId || "–"}</td>
      <td class="col-start number">
        <When at={start} />
      </td>
      <td class="col-elapsed number">
        <Elapsed workflow={workflow} />
      </td>
      <td class="col-cost number">
        <Cost usage={workflow.usage} />
      </td>
      <td class="col-why">{workflow.waiting === undefined ? <span class="faint">–</span> : <Why workflow={workflow} />}</td>
      <td class="col-acts">
        <Actions workflow={workflow} />
      </td>
    </tr>
  );
});

export function Cost({ usage }: { readonly usage: Workflow["usage"] }): JSX.Element {
  const tokens = Number(usage?.inputTokens ?? 0) + Number(usage?.outputTokens ?? 0);
  const micros = Number(usage?.costMicros ?? 0);
  return micros === 0 && tokens === 0 ? (
    <span class="faint">–</span>
  ) : (
    <span title={`${plural(tokens, "token")}; the cost is in the accounting currency`}>{micros === 0 ? "–" : money(micros)}</span>
  );
}
