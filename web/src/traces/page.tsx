// The Traces page: all traces, one of them, several side by side, and what the runs of one type have in common.
import type { JSX } from "preact";
import { Tabbed, type Tabs } from "../ui/listed";
import { Compare } from "./compare";
import { TraceList } from "./list";
import { TracePage } from "./trace";
import "./traces.css";
import { Types } from "./types";

const TABS: Tabs = [
  ["", "All traces", TraceList],
  ["types", "By type", Types],
  ["trace", "", TracePage],
  ["compare", "", Compare],
];

export function Traces(): JSX.Element {
  return <Tabbed page="traces" title="Traces" first="all" tabs={TABS} />;
}
