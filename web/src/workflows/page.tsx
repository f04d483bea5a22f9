// The Workflows page: all workflows with what can be done to one or to many, the batches that were made, and one workflow as a page.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { useStores } from "../ui/context";
import { Tabbed, type Tabs } from "../ui/listed";
import { BatchSheet } from "./batch";
import { BatchForm } from "./batch-form";
import { Batches } from "./batches";
import { RunPage, WorkflowSheet } from "./detail";
import { Selection, SelectionContext } from "./selection";
import { All } from "./table";
import "./workflows.css";

export { WorkflowSheet };

const TABS: Tabs = [
  ["", "All workflows", All],
  ["batches", "Acts on many", Batches],
  ["run", "", Run],
];

function Run(): JSX.Element {
  const id = useStores().route.open.value;
  return <RunPage key={id} id={id} />;
}

export function Workflows(): JSX.Element {
  const { route } = useStores();
  const selection = useMemo(() => new Selection(), []);
  const tab = route.tab.value;
  const open = route.open.value;
  return (
    <SelectionContext.Provider value={selection}>
      <Tabbed page="workflows" title="Workflows" first="all" tabs={TABS}>
        {tab === "batches" && open !== "" ? <BatchSheet key={open} id={open} /> : null}
        {tab === "" && open === ":batch" ? <BatchForm /> : tab === "" ? <WorkflowSheet /> : null}
      </Tabbed>
    </SelectionContext.Provider>
  );
}
