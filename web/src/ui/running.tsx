// The newest workflows in progress on the first page, with the acts on them. Filtered by the words in the search box.
import { type Signal, batch, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { count } from "../core/format";
import { isPlain, matchesWords } from "../core/filter";
import { timestampMs } from "../core/time";
import { WORKFLOWS } from "../live/positions";
import { hasEnded } from "../stores/workflows";
import { useStores } from "./context";
import { memo } from "./memo";
import { Note, Panel } from "./panel";
import { whilePointed } from "./pointed";
import { ActNote, Actions, Elapsed, Stages, WorkflowLink, WorkflowStateCell, shortlist, stateName } from "./workflow";
import type { Workflow } from "../core/wire";

type Tab = "newest" | "progress" | "paused" | "failed";

const MOST = 40;

const TABS: readonly { readonly tab: Tab; readonly word: string; readonly belongs: (workflow: Workflow) => boolean }[] = [
  { tab: "newest", word: "Newest", belongs: () => true },
  { tab: "progress", word: "In progress", belongs: (workflow) => !hasEnded(workflow) },
  { tab: "paused", word: "Paused", belongs: (workflow) => workflow.state === "WORKFLOW_STATE_PAUSED" },
  { tab: "failed", word: "Failed", belongs: (workflow) => workflow.state === "WORKFLOW_STATE_FAILED" },
];

// Work in hand, then work that waits, then what has ended; each the newest first.
function byInterest(workflows: readonly Workflow[]): readonly Workflow[] {
  return workflows
    .map((workflow) => ({
      workflow,
      rank: hasEnded(workflow) ? 2 : Number(workflow.state === "WORKFLOW_STATE_QUEUED"),
      time: timestampMs(workflow.endTime) ?? timestampMs(workflow.startTime) ?? timestampMs(workflow.createTime) ?? 0,
    }))
    .sort((a, b) => a.rank - b.rank || b.time - a.time || (a.workflow.id < b.workflow.id ? -1 : 1))
    .map((each) => each.workflow);
}

// While someone points at the rows they keep their places, so that a click hits what was aimed at.
export function WorkflowsInProgress(): JSX.Element {
  const { workflows, route } = useStores();
  const tab = useSignal<Tab>("newest");
  const filter = route.filter.value;
  const words = isPlain(filter) ? filter : "";
  const known = workflows.all.value;
  const all =
    words === ""
      ? known
      : known.filter((each) => matchesWords(words, [each.id, each.workflowName, each.workflowType, each.agentId, each.currentStage]));
  const chosen = TABS.find((each) => each.tab === tab.value);
  const fresh = byInterest(all.filter((workflow) => chosen?.belongs(workflow)));
  const held = useSignal(false);
  const order = useRef<readonly string[]>([]);
  const rows = held.value ? order.current.flatMap((id) => workflows.get(id) ?? []) : fresh.slice(0, MOST);
  order.current = rows.map((workflow) => workflow.id);
  return (
    <Panel
      title="Workflows"
      channel={WORKFLOWS}
      class="running"
      testId="workflows"
      aside={<a href={route.href({ page: "workflows", open: "" })}>all</a>}
    >
      <Tabs chosen={tab} all={workflows.arrived.value ? all : undefined} release={() => (held.value = false)} />
      <div class="body" {...whilePointed((pointed) => (held.value = pointed))}>
        {rows.length === 0 ? (
          <Empty arrived={workflows.arrived.value} tab={tab.value} filter={words} />
        ) : (
          <table class="table compact">
            <colgroup>
              <col class="state-width" />
              <col />
              <col class="stages-width" />
              <col class="elapsed-width" />
              <col class="acts-width" />
            </colgroup>
            <thead class="sr">
              <tr>
                <th scope="col">State</th>
                <th scope="col">Workflow</th>
                <th scope="col">Stages</th>
                <th scope="col">Duration</th>
                <th scope="col">Actions</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((workflow) => (
                <CompactRow key={workflow.id} workflow={workflow} />
              ))}
            </tbody>
          </table>
        )}
      </div>
      {isPlain(filter) ? null : <Note bar>This filter needs the whole table: press Enter in the search box.</Note>}
    </Panel>
  );
}

interface TabsProps {
  readonly chosen: Signal<Tab>;
  // Undefined while none have arrived.
  readonly all: readonly Workflow[] | undefined;
  // Another tab begins with the newest, whatever was held.
  readonly release: () => void;
}

function Tabs({ chosen, all, release }: TabsProps): JSX.Element {
  const choose = (tab: Tab): void =>
    batch(() => {
      chosen.value = tab;
      release();
    });
  return (
    <div class="chips" role="group" aria-label="Which workflows">
      {TABS.map(({ tab, word, belongs }) => (
        <button
          key={tab}
          type="button"
          class="chip"
          aria-pressed={tab === chosen.value}
          onClick={() => choose(tab)}
          data-testid={`tab-${tab}`}
        >
          {word} {tab === "newest" || all === undefined ? null : <b>{count(all.filter(belongs).length)}</b>}
        </button>
      ))}
    </div>
  );
}

function Empty({ arrived, tab, filter }: { readonly arrived: boolean; readonly tab: Tab; readonly filter: string }): JSX.Element {
  if (!arrived) {
    return <Note>Waiting for the workflows…</Note>;
  }
  if (filter.trim() !== "") {
    return <Note>None of these matches “{filter.trim()}”. Enter searches all workflows.</Note>;
  }
  const words = {
    newest: "No workflow yet. One appears as soon as an engine reports it.",
    progress: "No workflow is in progress. One appears as soon as an engine reports it.",
    paused: "No workflow is paused.",
    failed: "No workflow that is shown here has failed.",
  };
  return <Note>{words[tab]}</Note>;
}

const CompactRow = memo(({ workflow }: { readonly workflow: Workflow }): JSX.Element => {
  const { route } = useStores();
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
      <td class="col-state">
        <WorkflowStateCell workflow={workflow} />
      </td>
      <td class="col-name">
        <span class="cut" title={`${workflow.workflowName} · ${workflow.id}`}>
          <WorkflowLink workflow={workflow} /> <span class="type faint">{workflow.workflowType}</span>
        </span>
        <ActNote workflow={workflow} />
      </td>
      <td class="col-stages">
        <Stages workflow={workflow} />
      </td>
      <td class="col-elapsed number">
        <Elapsed workflow={workflow} />
      </td>
      <td class="col-acts">
        <Actions workflow={workflow} offered={shortlist(workflow)} />
      </td>
    </tr>
  );
});
