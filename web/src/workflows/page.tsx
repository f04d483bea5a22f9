// The Workflows page: all workflows with what can be done to one or to many, the batches that were made, and one workflow as a page.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Tab } from "../core/route";
import { useStores } from "../ui/context";
import { BatchSheet } from "./batch";
import { BatchForm } from "./batch-form";
import { Batches } from "./batches";
import { RunPage, WorkflowSheet } from "./detail";
import { Selection, SelectionContext } from "./selection";
import { All } from "./table";
import "./workflows.css";

export { WorkflowSheet };

const TABS: readonly (readonly [Tab, string])[] = [
  ["", "All workflows"],
  ["batches", "Acts on many"],
];

export function Workflows(): JSX.Element {
  const { route } = useStores();
  const selection = useMemo(() => new Selection(), []);
  const tab = route.tab.value;
  const open = route.open.value;
  return (
    <SelectionContext.Provider value={selection}>
      <div class="alerts-page" data-testid="page-workflows" data-tab={tab || "all"}>
        <h1 class="sr">Workflows</h1>
        <nav class="tabs" aria-label="Workflows">
          {TABS.map(([each, word]) => (
            <a
              key={each}
              href={route.href({ tab: each, open: "" })}
              aria-current={each === tab ? "page" : undefined}
              data-testid={`workflows-tab-${each || "all"}`}
            >
              {word}
            </a>
          ))}
        </nav>
        {tab === "run" ? <RunPage key={open} id={open} /> : tab === "batches" ? <Batches /> : <All />}
        {tab === "batches" && open !== "" ? <BatchSheet key={open} id={open} /> : null}
        {tab === "" && open === ":batch" ? <BatchForm /> : tab === "" ? <WorkflowSheet /> : null}
      </div>
    </SelectionContext.Provider>
  );
}
