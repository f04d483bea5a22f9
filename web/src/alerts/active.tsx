// What fires now, by rule, the gravest first; and what may fire soon, last.
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { isPlain, matchesWords } from "../core/filter";
import { plural } from "../core/format";
import { severityLook } from "../core/words";
import { ALERTS } from "../live/positions";
import { isFiring } from "../stores/alerts";
import { NoAlerts } from "../ui/alerts";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { Note, Panel } from "../ui/panel";
import { AlertLine } from "./line";
import { useDesk } from "./desk";
import { List } from "../ui/lists";
import type { Alert } from "../core/wire";

const AGAIN_MS = 4_000;
const MOST_MATCHES = 500;

export function Active(): JSX.Element {
  const { alerts, route } = useStores();
  const filter = route.filter.value;
  const matching = useMatching(filter);
  const all = alerts.active.value;
  const found =
    matching.ids === undefined
      ? all.filter((alert) => matchesWords(filter, [alert.ruleName, alert.summary, alert.assignee, ...Object.values(alert.labels)]))
      : all.filter((alert) => matching.ids?.has(alert.id));
  const firing = alerts.firing.value;
  const taken = firing.filter((alert) => alert.acknowledgeTime !== undefined).length;
  const quiet = firing.filter(
    (alert) => alert.suppression !== undefined && (alert.suppression.silencedBy.length > 0 || alert.suppression.inhibitedBy.length > 0),
  ).length;
  const aside = [
    `${firing.length} firing`,
    taken > 0 ? `${taken} acknowledged` : "",
    quiet > 0 ? `${quiet} kept quiet` : "",
    all.length > firing.length ? `${all.length - firing.length} pending` : "",
  ];
  return (
    <Panel
      title="Active"
      channel={ALERTS}
      class="alerts tall"
      testId="alerts"
      aside={alerts.arrived.value ? <span data-testid="alerts-count">{aside.filter((each) => each !== "").join(" · ")}</span> : null}
    >
      {matching.problem === "" ? null : <Note tone="warning">The filter is not understood: {matching.problem}</Note>}
      <div class="body">
        {all.length === 0 ? (
          <ul>
            <NoAlerts />
          </ul>
        ) : found.length === 0 ? (
          <Note>
            None of the {plural(all.length, "active alert")} matches.{" "}
            <button type="button" class="link" onClick={() => route.go({ filter: "" })}>
              Show all
            </button>
          </Note>
        ) : (
          groupsOf(found).map(([ruleId, group]) => <Group key={ruleId} ruleId={ruleId} alerts={group} />)
        )}
      </div>
    </Panel>
  );
}

// Words are searched here; anything else is the server's to judge, among what is not over.
function useMatching(filter: string): { ids: ReadonlySet<string> | undefined; problem: string } {
  const { call } = useStores();
  const list = useMemo(() => new List<Alert>(async () => ({ items: [] }), AGAIN_MS), []);
  const plain = isPlain(filter);
  useEffect(() => {
    if (plain) {
      return undefined;
    }
    list.ask(async (_token, signal) => {
      const input = { filter: `(${filter}) AND NOT state = RESOLVED`, pageSize: MOST_MATCHES };
      return { items: (await call("AlertService/ListAlerts", input, signal)).message.alerts };
    });
    return list.show();
  }, [filter, plain]);
  const view = list.view.value;
  return plain
    ? { ids: undefined, problem: "" }
    : { ids: new Set(view.items.map((each) => each.id)), problem: view.phase === "error" ? view.problem : "" };
}

// They are in the order of urgency, so a group stands where its most urgent alert does.
function groupsOf(alerts: readonly Alert[]): (readonly [string, readonly Alert[]])[] {
  const groups = new Map<string, Alert[]>();
  for (const alert of alerts) {
    const group = groups.get(alert.ruleId);
    if (group === undefined) {
      groups.set(alert.ruleId, [alert]);
    } else {
      group.push(alert);
    }
  }
  return [...groups];
}

const MOST_SHOWN = 100;

function Group({ ruleId, alerts }: { readonly ruleId: string; readonly alerts: readonly Alert[] }): JSX.Element | null {
  const { route } = useStores();
  const desk = useDesk();
  const first = alerts[0];
  if (first === undefined) {
    return null;
  }
  const open = !desk.folded.value.has(ruleId);
  const firing = alerts.filter(isFiring).length;
  const taken = alerts.filter((alert) => alert.acknowledgeTime !== undefined).length;
  const look = severityLook(first.severity);
  const known = desk.rules.view.value.items.some((rule) => rule.id === ruleId);
  return (
    <section class="group" data-testid="alert-group" data-rule-id={ruleId}>
      <h3>
        <button type="button" class="fold" aria-expanded={open} onClick={() => desk.fold(ruleId)} data-testid="alert-group-fold">
          <span class="chevron" aria-hidden="true" />
          <Mark look={firing > 0 ? look : { tone: "unknown", shape: "ring" }} />
          {first.ruleName}
          <span class="faint">{look.word}</span>
        </button>
        <span class="weak small">
          {firing > 0 ? `${firing} firing` : "none firing yet"}
          {alerts.length > firing && firing > 0 ? ` · ${alerts.length - firing} pending` : ""}
          {taken > 0 ? ` · ${taken} acknowledged` : ""}
        </span>
        {known ? (
          <a class="small" href={route.href({ tab: "rules", open: ruleId })}>
            Rule
          </a>
        ) : null}
      </h3>
      {open ? (
        <ul aria-live="polite">
          {alerts.slice(0, MOST_SHOWN).map((alert) => (
            <AlertLine key={alert.id} alert={alert} />
          ))}
          {alerts.length > MOST_SHOWN ? <Note>{plural(alerts.length - MOST_SHOWN, "more")}; search to see them.</Note> : null}
        </ul>
      ) : null}
    </section>
  );
}
