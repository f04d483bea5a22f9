// What fired before, page by page, found by the API's filter.
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { count, durationText } from "../core/format";
import { timestampMs } from "../core/time";
import { severityLook } from "../core/words";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { Panel, When } from "../ui/panel";
import { Instance } from "./line";
import { type Columns, NoMatch, Rows } from "../ui/rows";
import { List } from "../ui/lists";
import { alertLook } from "./looks";
import type { Alert } from "../core/wire";

const PAGE = 50;
const AGAIN_MS = 15_000;
const TYPING_MS = 250;
// After the live channel tells of a beginning or an end, which may be one of many.
const SOON_MS = 500;

const QUICK: readonly (readonly [string, string])[] = [
  ["Everything", ""],
  ["Critical", "severity = CRITICAL"],
  ["Last 24 h", "fire_time > -24h"],
  ["Nobody acknowledged", "acknowledged = false"],
  ["Kept quiet", "silenced = true OR inhibited = true"],
];

export function History(): JSX.Element {
  const { route, call, alerts } = useStores();
  const list = useMemo(() => new List<Alert>(async () => ({ items: [] }), AGAIN_MS), []);
  const filter = route.filter.value.trim();
  useEffect(() => list.show(), []);
  useEffect(() => {
    const timer = setTimeout(
      () =>
        list.ask(async (pageToken, signal) => {
          // What never fired is no history, unless it is asked for.
          const asked = filter === "" ? "NOT state = PENDING" : filter;
          const { message } = await call("AlertService/ListAlerts", { filter: asked, pageSize: PAGE, pageToken }, signal);
          return { items: message.alerts, next: message.nextPageToken };
        }),
      list.view.peek().at === undefined ? 0 : TYPING_MS,
    );
    return () => clearTimeout(timer);
  }, [filter]);
  const firing = alerts.firing.value.length;
  useEffect(() => {
    const timer = setTimeout(() => list.refresh(), SOON_MS);
    return () => clearTimeout(timer);
  }, [firing]);
  const view = list.view.value;
  const shown = `${count(view.items.length)}${view.more ? "+" : ""} shown`;
  return (
    <Panel
      title="History"
      class="tall"
      testId="alerts-history"
      aside={<span>{view.at === undefined ? "" : `newest first · ${shown}`}</span>}
    >
      <div class="chips" role="group" aria-label="Often asked">
        {QUICK.map(([word, each]) => (
          <button key={word} type="button" class="chip" aria-pressed={filter === each} onClick={() => route.go({ filter: each })}>
            {word}
          </button>
        ))}
      </div>
      <Rows
        list={list}
        what="the history"
        head={HEAD}
        class="listed"
        row={(alert) => <Row key={alert.id} alert={alert} />}
        none={filter === "" ? "No alert has fired yet. What fires is kept here, with what was done about it." : <NoMatch what="alert" />}
        example={EXAMPLE}
      />
    </Panel>
  );
}

const EXAMPLE = 'severity = CRITICAL AND labels.agent_id = "a7" AND fire_time > -1d';
const HEAD: Columns = [
  ["w-state", "State"],
  ["w-name", "Rule"],
  ["", "Why"],
  ["w-who", "Who"],
  ["w-time number", "Fired"],
  ["w-time number", "For"],
];

function Row({ alert }: { readonly alert: Alert }): JSX.Element {
  const { route, clock } = useStores();
  const look = alertLook(alert);
  const severity = severityLook(alert.severity);
  const fired = timestampMs(alert.fireTime) ?? timestampMs(alert.activeTime);
  const over = timestampMs(alert.resolveTime);
  const who =
    alert.resolvedBy !== ""
      ? `resolved by ${alert.resolvedBy}`
      : alert.acknowledgedBy !== ""
        ? `acknowledged by ${alert.acknowledgedBy}`
        : alert.assignee;
  return (
    <tr
      data-row=""
      data-opens={alert.id}
      data-open={route.open.value === alert.id}
      tabIndex={-1}
      onClick={() => route.go({ open: alert.id })}
      data-testid="history-row"
      data-alert-id={alert.id}
    >
      <td class="w-state">
        <span class="state">
          <Mark look={look} /> {look.word}
        </span>
      </td>
      <td class="w-name">
        <a class="name cut" href={route.href({ open: alert.id })} onClick={(event) => event.stopPropagation()}>
          {alert.ruleName}
        </a>
        <span class={`small tone-${severity.tone}`}>{severity.word.toLowerCase()}</span>
      </td>
      <td class="w-why">
        <span class="cut" title={alert.summary}>
          {alert.summary}
        </span>
        <Instance alert={alert} />
      </td>
      <td class="w-who cut weak">{who || "–"}</td>
      <td class="w-time number">
        <When at={fired} />
      </td>
      <td class="w-time number weak">{fired === undefined ? "–" : durationText(Math.max(0, (over ?? clock.now.value) - fired))}</td>
    </tr>
  );
}
