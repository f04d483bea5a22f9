// The top strip: how the fleet is and why, what fires, how data arrives and how old it is.
import type { JSX, TargetedEvent } from "preact";
import { useRef } from "preact/hooks";
import { age, count, durationText, timeOfDay } from "../core/format";
import { type Language, OF_ALERTS, OF_AUDIT, OF_EVENTS, OF_TRACES, OF_WORKFLOWS, completions, withKnown } from "../core/filter";
import { DEFAULT_RANGE, type Page, RANGES, type Route, type Tab } from "../core/route";
import { type Look, healthLook } from "../core/words";
import { timestampMs } from "../core/time";
import { ALERTS, METRICS } from "../live/positions";
import type { Mode } from "../stores/connection";
import { useStores } from "./context";
import { Mark, Picture } from "./mark";
import type { MetricsSnapshot, Workflow } from "../core/wire";

export function Strip(): JSX.Element {
  return (
    <div class="strip" data-testid="status-strip">
      <SystemStatusBanner />
      <FiringTally />
      <ConnectionState />
      <RangeSelect />
      <SearchBox />
      <ThemeSwitch />
    </div>
  );
}

function SystemStatusBanner(): JSX.Element {
  const { metrics, connection } = useStores();
  const snapshot = metrics.snapshot.value;
  const health = snapshot?.health;
  const mode = connection.mode.value;
  const old = connection.isStale(METRICS);
  const known = health !== undefined && mode !== "offline" && !old;
  const look = known
    ? healthLook(health.state)
    : { word: health === undefined ? "No data yet" : "Not known", tone: "unknown" as const, shape: "dash" as const };
  const reasons = known ? health.reasons.join(" · ") : whyUnknown(mode, old, snapshot);
  return (
    <div class="health" role="status" data-testid="health" data-health={look.word.toLowerCase()}>
      <Mark look={look} />
      <strong>{look.word}</strong>
      <span class="weak cut" title={reasons} data-testid="health-reasons">
        {reasons || (known ? "Nothing that is watched is wrong" : "")}
      </span>
    </div>
  );
}

// A server whose log is away still sends its snapshots, and they name what is wrong with it.
function whyUnknown(mode: Mode, old: boolean, snapshot: MetricsSnapshot | undefined): string {
  if (mode !== "offline" && !old) {
    return "Waiting for the first snapshot";
  }
  const why = mode === "offline" ? "The server cannot be reached" : snapshot?.health?.reasons[0] || "No new numbers arrive";
  const from = timestampMs(snapshot?.asOfTime);
  return `${why}; what is shown is from ${from === undefined ? "before" : timeOfDay(from)}`;
}

function FiringTally(): JSX.Element {
  const { alerts, route, connection } = useStores();
  const critical = alerts.criticalCount.value;
  const warning = alerts.warningCount.value;
  const pending = alerts.active.value.length - critical - warning;
  const words = alerts.arrived.value
    ? `${critical} critical and ${warning} warning alerts fire; of ${pending} the condition holds, but not yet for long enough`
    : "Alerts have not arrived yet";
  return (
    <a
      class={`pill ${critical > 0 ? "alarm" : ""}`}
      href={route.href({ page: "alerts", tab: "", open: "" })}
      title={words}
      data-testid="firing"
      data-critical={critical}
      data-warning={warning}
    >
      {critical + warning === 0 ? (
        !alerts.arrived.value || connection.isStale(ALERTS) ? (
          "Alerts not known"
        ) : pending === 0 ? (
          "No alerts"
        ) : (
          `${count(pending)} pending`
        )
      ) : (
        <>
          <Mark look={{ tone: critical > 0 ? "critical" : "unknown", shape: "triangle" }} />
          <span>
            <b>{count(critical)}</b> <span class="firing-word">critical</span>
          </span>
          <Mark look={{ tone: warning > 0 ? "warning" : "unknown", shape: "diamond" }} />
          <span>
            <b>{count(warning)}</b> <span class="firing-word">warning</span>
          </span>
        </>
      )}
    </a>
  );
}

const MODES: Readonly<Record<Mode, Look>> = {
  connecting: { word: "connecting", tone: "unknown", shape: "ring" },
  live: { word: "live", tone: "good", shape: "dot" },
  polling: { word: "polling", tone: "warning", shape: "diamond" },
  reconnecting: { word: "reconnecting", tone: "warning", shape: "ring" },
  offline: { word: "offline", tone: "critical", shape: "triangle" },
};

function ConnectionState(): JSX.Element {
  const { connection, clock, reconnect } = useStores();
  const mode = connection.mode.value;
  const look = MODES[mode];
  const old = connection.dataAge.value;
  const delay = mode === "live" || mode === "polling" ? clock.rtt.value : undefined;
  const { problem, retryAt, failures } = connection.link.value;
  const wait = retryAt === undefined ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
  const why =
    mode === "live"
      ? upstreamWords(connection.upstream.value)
      : `${problem || "not connected yet"}; ${failures} failed in a row${wait > 0 ? `, next attempt in ${wait} s` : ""}. Click to try now.`;
  const worry = mode === "offline" ? "alarm" : mode === "live" || mode === "connecting" ? "" : "worry";
  return (
    <button type="button" class={`pill ${worry}`} onClick={reconnect} title={why} data-testid="connection" data-mode={mode}>
      <Mark look={look} />
      <b>{look.word}</b>
      {delay === undefined ? null : <span data-testid="connection-delay">{durationText(delay)}</span>}
      <span class={connection.isStale(METRICS) ? "age old" : "age"} data-testid="data-age">
        {old === undefined ? "· no data" : `· data ${age(old)} old`}
      </span>
    </button>
  );
}

function upstreamWords(connected: boolean | undefined): string {
  return connected === false
    ? "The bridge is connected to this page, but not to its server"
    : "The measured time is a round trip to the server";
}

function RangeSelect(): JSX.Element {
  const { route } = useStores();
  const range = route.range.value;
  const key = range.kind === "fixed" ? "fixed" : (RANGES.find((each) => each.ms === range.ms)?.key ?? "");
  const choose = (event: TargetedEvent<HTMLSelectElement>): void => {
    const chosen = RANGES.find((each) => each.key === event.currentTarget.value);
    if (chosen !== undefined) {
      route.go({ range: { kind: "last", ms: chosen.ms } });
    }
  };
  return (
    <>
      {range.kind === "fixed" ? (
        <button type="button" class="pill" onClick={() => route.go({ range: DEFAULT_RANGE })} title="Back to now" data-testid="range-reset">
          <Picture icon="close" /> back to now
        </button>
      ) : null}
      <label class="pill range">
        <span class="sr">Time range of the charts</span>
        <select value={key} onChange={choose} data-testid="range">
          {range.kind === "fixed" ? (
            <option value="fixed">
              {timeOfDay(range.from)} – {timeOfDay(range.to)}
            </option>
          ) : null}
          {RANGES.map((each) => (
            <option key={each.key} value={each.key}>
              {each.words}
            </option>
          ))}
        </select>
      </label>
    </>
  );
}

interface Searched {
  readonly what: string;
  readonly example: string;
  readonly language: Language | undefined;
  // What Enter shows.
  readonly shows: Partial<Route>;
}

const PLAIN: Language = { fields: [], values: {} };

function searched(page: Page, tab: Tab): Searched {
  switch (page) {
    case "alerts":
      return {
        what: "alerts",
        example: "severity = CRITICAL AND fire_time > -1d",
        language: OF_ALERTS,
        shows: { tab: tab === "" ? "" : "history" },
      };
    case "events":
      return { what: "events", example: "timeout AND severity >= ERROR", language: OF_EVENTS, shows: { open: "" } };
    case "traces":
      return { what: "traces", example: "state = FAILED AND duration > 1m", language: OF_TRACES, shows: { tab: "", open: "" } };
    case "agents":
      return { what: "agents", example: "words of its id, type or engine", language: PLAIN, shows: { open: "" } };
    case "platform":
      return { what: "the audit log", example: 'actor = "ana" AND outcome = REFUSED', language: OF_AUDIT, shows: { tab: "audit" } };
    default:
      return {
        what: "workflows",
        example: 'state = RUNNING AND type = "feature"',
        language: undefined,
        shows: { page: "workflows", open: "" },
      };
  }
}

function SearchBox(): JSX.Element {
  const { route, listing, workflows } = useStores();
  const box = useRef<HTMLInputElement>(null);
  const { what, example, language: spoken, shows } = searched(route.page.value, route.tab.value);
  const bad = route.page.value === "workflows" && listing.view.value.badFilter;
  const submit = (event: Event): void => {
    event.preventDefault();
    route.go(shows);
    box.current?.blur();
  };
  return (
    <form class="search" role="search" onSubmit={submit}>
      <input
        ref={box}
        type="search"
        name="filter"
        placeholder={`Search ${what}`}
        aria-label={`Search ${what}, or filter: ${example}`}
        title={`Words are searched; a filter: ${example}. Enter shows the table.`}
        aria-invalid={bad}
        autocomplete="off"
        spellcheck={false}
        maxLength={2048}
        value={route.filter.value}
        list="filter-words"
        onInput={(event) => route.refine({ filter: event.currentTarget.value })}
        data-testid="search"
      />
      <datalist id="filter-words">
        {route.filter.value === ""
          ? null
          : completions(route.filter.value, spoken ?? language(workflows.all.value)).map((each) => <option key={each} value={each} />)}
      </datalist>
      <kbd aria-hidden="true">/</kbd>
    </form>
  );
}

function language(all: readonly Workflow[]): Language {
  const of = (key: "workflowType" | "source" | "agentId" | "currentStage"): string[] => all.map((each) => each[key]);
  return withKnown(OF_WORKFLOWS, { type: of("workflowType"), source: of("source"), agent: of("agentId"), stage: of("currentStage") });
}

function ThemeSwitch(): JSX.Element {
  const { theme } = useStores();
  const chosen = theme.theme.value;
  const words = { system: "Theme: as the system says", dark: "Theme: dark", light: "Theme: light" }[chosen];
  return (
    <button
      type="button"
      class="pill"
      onClick={() => theme.next()}
      title={`${words}. Click to change.`}
      aria-label={words}
      data-testid="theme"
      data-theme={chosen}
    >
      <Picture icon={chosen} />
    </button>
  );
}
