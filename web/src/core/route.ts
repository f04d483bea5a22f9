// The URL is the view: page, tab, range, filter, state chip and what is open are in the fragment, so that a link opens the same thing
// and the page can be served from any path as plain files.
import type { Span } from "./history";

export type Page = "monitoring" | "workflows" | "agents" | "alerts" | "events" | "traces" | "platform";
export type Tab =
  | ""
  | ("run" | "batches")
  | "queues"
  | ("trace" | "compare" | "types")
  | ("history" | "rules" | "silences" | "channels")
  | ("emergency" | "budgets" | "connectors" | "audit" | "server");

export interface LastRange {
  readonly kind: "last";
  readonly ms: number;
}

export interface FixedRange {
  readonly kind: "fixed";
  readonly from: number;
  readonly to: number;
}

export type TimeRange = LastRange | FixedRange;

export interface Route {
  readonly page: Page;
  // The tab of a page that has tabs, or "" for its first one.
  readonly tab: Tab;
  readonly range: TimeRange;
  // The text of the filter box, in the grammar of the API.
  readonly filter: string;
  // The chip: a WorkflowState or AgentState without its prefix in small letters, or "" for all. On the Events page severities and types with
  // commas between them.
  readonly state: string;
  // What is open beside the page: the id of a workflow, of an agent, of an alert, or what its tab says; "" is nothing. In the tab `run` it is the whole page.
  readonly open: string;
  // The span of a trace that is shown.
  readonly span: string;
  // The piece of a trace's time that is in view, "12.5-80" in milliseconds since it began; "" is all of it.
  readonly zoom: string;
  // How a list is ordered, in the words of the API; "" is its own order.
  readonly order: string;
}

const MINUTE = 60_000;

export const RANGES: readonly { readonly key: string; readonly ms: number; readonly words: string }[] = [
  { key: "5m", ms: 5 * MINUTE, words: "Last 5 min" },
  { key: "15m", ms: 15 * MINUTE, words: "Last 15 min" },
  { key: "1h", ms: 60 * MINUTE, words: "Last 1 h" },
  { key: "6h", ms: 360 * MINUTE, words: "Last 6 h" },
  { key: "24h", ms: 1_440 * MINUTE, words: "Last 24 h" },
];

export const DEFAULT_RANGE: LastRange = { kind: "last", ms: 15 * MINUTE };

const TABS: Readonly<Record<Page, readonly Tab[]>> = {
  monitoring: [],
  workflows: ["run", "batches"],
  agents: ["queues"],
  alerts: ["history", "rules", "silences", "channels"],
  events: [],
  traces: ["trace", "compare", "types"],
  platform: ["emergency", "budgets", "connectors", "audit", "server"],
};
const PAGES = Object.keys(TABS) as readonly Page[];
const STATES = "queued running waiting paused completed failed cancelled online busy draining offline".split(" ");
const LONGEST_TEXT = 2_048;
// Tabs that show what is open and nothing else.
const OF_ONE: readonly Tab[] = ["run", "trace", "compare"];

export const HOME: Route = {
  page: "monitoring",
  tab: "",
  range: DEFAULT_RANGE,
  filter: "",
  state: "",
  open: "",
  span: "",
  zoom: "",
  order: "",
};

// The view after a change. Another page or tab has nothing open and no chip; only two pages share what a filter is about.
export function moved(route: Route, change: Partial<Route>): Route {
  const elsewhere = change.page !== undefined && change.page !== route.page;
  const ofWorkflows = [route.page, change.page].every((page) => page === "monitoring" || page === "workflows");
  const fresh: Partial<Route> = {
    ...(elsewhere ? { tab: "", open: "", state: "", span: "", zoom: "", order: "" } : {}),
    ...(elsewhere && !ofWorkflows ? { filter: "" } : {}),
    ...(change.tab !== undefined && change.tab !== route.tab ? { open: "", span: "", zoom: "" } : {}),
    ...(change.open !== undefined && change.open !== route.open ? { span: "", zoom: "" } : {}),
  };
  return settled({ ...route, ...fresh, ...change });
}

// A tab of one thing without it is the list; a trace that is opened is a page.
function settled(route: Route): Route {
  const { page, tab, open } = route;
  return OF_ONE.includes(tab) && open === ""
    ? { ...route, tab: "" }
    : page === "traces" && tab === "" && open !== ""
      ? { ...route, tab: "trace" }
      : route;
}

export function parseRoute(fragment: string): Route {
  const [path = "", query = ""] = fragment.replace(/^#\/?/, "").split(/\?(.*)/s);
  const page = PAGES.find((each) => each === path) ?? "monitoring";
  const values = new URLSearchParams(query);
  const state = values.get("state") ?? "";
  const tab = TABS[page].find((each) => each === values.get("tab")) ?? "";
  return settled({
    page,
    tab,
    range: parseRange(values),
    filter: (values.get("filter") ?? "").slice(0, LONGEST_TEXT),
    state: (page === "events" ? /^[a-z_,]{1,512}$/.test(state) : STATES.includes(state)) ? state : "",
    open: (values.get("open") ?? "").slice(0, LONGEST_TEXT),
    span: (values.get("span") ?? "").slice(0, LONGEST_TEXT),
    zoom: formatZoom(parseZoom(values.get("zoom") ?? "")),
    order: /^[a-z_]{1,32}( desc)?$/.exec(values.get("order") ?? "")?.[0] ?? "",
  });
}

export function parseZoom(text: string): Span | undefined {
  const [from = Number.NaN, to = Number.NaN] = /^[\d.]{1,20}-[\d.]{1,20}$/.test(text) ? text.split("-").map(Number) : [];
  return from < to && to < Number.MAX_SAFE_INTEGER ? { from, to } : undefined;
}

// To the microsecond, which is the least that the contract tells apart.
export function formatZoom(zoom: Span | undefined): string {
  return zoom === undefined ? "" : `${Number(zoom.from.toFixed(3))}-${Number(zoom.to.toFixed(3))}`;
}

function parseRange(values: URLSearchParams): TimeRange {
  const from = Number(values.get("from") ?? Number.NaN);
  const to = Number(values.get("to") ?? Number.NaN);
  if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && to - from >= 1_000 && to < 8.64e15) {
    return { kind: "fixed", from, to };
  }
  const known = RANGES.find((each) => each.key === values.get("range"));
  return known === undefined ? DEFAULT_RANGE : { kind: "last", ms: known.ms };
}

export function formatRoute(route: Route): string {
  const values = new URLSearchParams();
  if (route.range.kind === "fixed") {
    values.set("from", String(Math.round(route.range.from)));
    values.set("to", String(Math.round(route.range.to)));
  } else if (route.range.ms !== DEFAULT_RANGE.ms) {
    values.set("range", RANGES.find((each) => each.ms === (route.range as LastRange).ms)?.key ?? "");
  }
  for (const key of ["tab", "state", "filter", "open", "span", "zoom", "order"] as const) {
    if (route[key] !== "") {
      values.set(key, route[key]);
    }
  }
  const query = values.toString();
  return `#/${route.page}${query === "" ? "" : `?${query}`}`;
}
