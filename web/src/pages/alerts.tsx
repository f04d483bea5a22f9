// What fires, what fired, and the rules that decide.
import type { JSX } from "preact";
import { durationText } from "../core/format";
import { durationMs } from "../core/time";
import { severityLook } from "../core/words";
import { type AlertRule, AlertState } from "../gen/pilothouse/v1/alerts_pb";
import { ActiveAlerts, AlertRow } from "../ui/alerts";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { Note, Panel } from "../ui/panel";

export function Alerts(): JSX.Element {
  return (
    <div class="alerts-page" data-testid="page-alerts">
      <h1 class="sr">Alerts</h1>
      <ActiveAlerts />
      <Past />
      <Rules />
    </div>
  );
}

function Past(): JSX.Element {
  const { alerts } = useStores();
  const past = alerts.history.value.filter((alert) => alert.state === AlertState.RESOLVED);
  return (
    <Panel title="History" class="alerts" testId="alerts-history" aside={<span>the newest 200</span>}>
      <ul class="body">
        {past.length === 0 ? (
          <li>
            <Note>{alerts.rules.value === undefined ? "Reading the history…" : "No alert has fired and ended yet."}</Note>
          </li>
        ) : (
          past.slice(0, 200).map((alert) => <AlertRow key={alert.id} alert={alert} />)
        )}
      </ul>
    </Panel>
  );
}

function Rules(): JSX.Element {
  const { alerts } = useStores();
  const rules = alerts.rules.value;
  return (
    <Panel title="Rules" class="alerts" testId="alerts-rules">
      <ul class="body">
        {rules === undefined ? (
          <li>
            <Note>Reading the rules…</Note>
          </li>
        ) : rules.length === 0 ? (
          <li>
            <Note>There are no rules, so nothing can fire.</Note>
          </li>
        ) : (
          rules.map((rule) => <RuleRow key={rule.id} rule={rule} />)
        )}
      </ul>
    </Panel>
  );
}

const afterWords = (ms: number): string => (ms === 0 ? "at once" : `after ${durationText(ms)}`);

function RuleRow({ rule }: { readonly rule: AlertRule }): JSX.Element {
  const look = severityLook(rule.severity);
  const held = durationMs(rule.forDuration) ?? 0;
  const keep = durationMs(rule.keepFiringFor) ?? 0;
  return (
    <li class="alert quiet" data-testid="rule-row" data-rule-id={rule.id}>
      <Mark look={look} />
      <div class="words">
        <h3>
          <span class="sr">{look.word}: </span>
          {rule.name}
          {rule.enabled ? "" : <span class="faint"> · off</span>}
        </h3>
        <p class="weak">{rule.description}</p>
        <p class="faint small">
          fires {afterWords(held)} · clears {afterWords(keep)}
        </p>
        {rule.evaluationError === "" ? null : <p class="tone-critical small">Cannot be evaluated: {rule.evaluationError}</p>}
      </div>
    </li>
  );
}
