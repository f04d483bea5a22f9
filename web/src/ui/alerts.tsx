// What fires: why, what clears it, since when, who has it, and the two acts on it.
import type { JSX } from "preact";
import { plural, when } from "../core/format";
import { timestampMs } from "../core/time";
import { nameOf, severityLook } from "../core/words";
import { ALERTS } from "../live/positions";
import { isFiring } from "../stores/alerts";
import { Act } from "./act";
import { useStores } from "./context";
import { Mark } from "./mark";
import { Note, Panel, Since } from "./panel";
import type { Alert, AlertState } from "../core/wire";

export function ActiveAlerts(): JSX.Element {
  const { alerts } = useStores();
  const active = alerts.active.value;
  const acknowledged = alerts.firing.value.filter((alert) => alert.acknowledgeTime !== undefined).length;
  const aside = alerts.arrived.value ? (
    <span data-testid="alerts-count">
      {alerts.firing.value.length} firing{acknowledged > 0 ? ` · ${acknowledged} acknowledged` : ""}
    </span>
  ) : null;
  return (
    <Panel title="Alerts" channel={ALERTS} class="alerts" testId="alerts" aside={aside}>
      <ul class="body" aria-live="polite">
        {active.length === 0 ? <NoAlerts /> : active.map((alert) => <AlertRow key={alert.id} alert={alert} />)}
      </ul>
    </Panel>
  );
}

export function NoAlerts(): JSX.Element {
  const { alerts } = useStores();
  if (!alerts.arrived.value) {
    return (
      <li>
        <Note>Waiting for the alerts…</Note>
      </li>
    );
  }
  const rules = alerts.rules.value?.filter((rule) => rule.enabled === true).length;
  const last = alerts.history.value.find((alert) => alert.resolveTime !== undefined);
  return (
    <li>
      <Note tone="good">
        Nothing fires{rules === undefined ? "." : `; ${plural(rules, "rule")} watched.`}
        {last === undefined ? null : (
          <>
            {" "}
            The last was “{last.ruleName}”, over <Since at={timestampMs(last.resolveTime)} />.
          </>
        )}
      </Note>
    </li>
  );
}

const STATES: Readonly<Partial<Record<AlertState, string>>> = {
  ALERT_STATE_PENDING: "not firing yet",
  ALERT_STATE_RECOVERING: "recovering",
  ALERT_STATE_RESOLVED: "resolved",
};

function AlertRow({ alert }: { readonly alert: Alert }): JSX.Element {
  const { route } = useStores();
  const firing = isFiring(alert);
  const look = severityLook(alert.severity);
  const acknowledged = timestampMs(alert.acknowledgeTime);
  const over = alert.state === "ALERT_STATE_RESOLVED";
  return (
    <li
      class={firing ? "alert" : "alert quiet"}
      data-testid="alert-row"
      data-alert-id={alert.id}
      data-state={nameOf(alert.state, "ALERT_STATE")}
      data-acknowledged={acknowledged !== undefined}
    >
      <Mark look={firing ? look : { tone: over ? "good" : "unknown", shape: over ? "check" : look.shape }} />
      <div class="words">
        <h3>
          <span class="sr">{look.word}: </span>
          <a class="name" href={route.href({ page: "alerts", open: alert.id })}>
            {alert.ruleName}
          </a>{" "}
          <span class="mono faint">{alert.labels["agent_id"] ?? ""}</span>
          {STATES[alert.state] === undefined ? null : <span class="faint"> · {STATES[alert.state]}</span>}
        </h3>
        <p class="weak">
          {asSentence(alert.summary)}
          {alert.clearsWhen === "" || over ? "" : ` ${asSentence(clearWords(alert.clearsWhen))}`}
        </p>
        <div class="foot">
          <p class="faint small">
            <AlertTimes alert={alert} />
          </p>
          {firing ? <AlertActs alert={alert} /> : null}
        </div>
      </div>
    </li>
  );
}

function AlertActs({ alert }: { readonly alert: Alert }): JSX.Element {
  const { control } = useStores();
  const busy = control.busyAlerts.value.has(alert.id) ? "On its way" : "";
  return (
    <div class="acts">
      {alert.acknowledgeTime === undefined ? (
        <Act
          testId="alert-acknowledge"
          refused={busy}
          onClick={() => void control.acknowledge(alert)}
          hint="Say that you take care of it; it goes on firing until its condition clears"
        >
          Acknowledge
        </Act>
      ) : null}
      <Act
        testId="alert-resolve"
        refused={busy}
        onClick={() => void control.resolve(alert)}
        hint="End it by hand; a new alert begins at the next breach after its condition was false"
      >
        Resolve
      </Act>
    </div>
  );
}

export function asSentence(text: string): string {
  const said = text.charAt(0).toUpperCase() + text.slice(1);
  return text === "" || /[.!?…]$/.test(text) ? said : `${said}.`;
}

export function clearWords(text: string): string {
  return /^clears\b/i.test(text) ? text : `Clears when ${text.charAt(0).toLowerCase()}${text.slice(1)}`;
}

function AlertTimes({ alert }: { readonly alert: Alert }): JSX.Element {
  const { clock } = useStores();
  const since = timestampMs(alert.fireTime) ?? timestampMs(alert.activeTime);
  const acknowledged = timestampMs(alert.acknowledgeTime);
  const resolved = timestampMs(alert.resolveTime);
  const told = (at: number): string => when(at, clock.serverNow());
  return (
    <>
      since {since === undefined ? "?" : told(since)} (<Since at={since} />)
      {acknowledged === undefined ? null : ` · acknowledged by ${alert.acknowledgedBy || "someone"} ${told(acknowledged)}`}
      {resolved === undefined ? null : ` · over ${told(resolved)}${alert.resolvedBy === "" ? "" : `, by ${alert.resolvedBy}`}`}
    </>
  );
}
