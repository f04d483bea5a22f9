// One alert beside the list: why, on a chart; what happened to it; whom it was told; and the acts on it, as buttons and as lines to copy.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { timeOfDay } from "../core/format";
import { timestampMs } from "../core/time";
import { severityLook } from "../core/words";
import type { Route } from "../core/route";
import type { DeliveryJson } from "../gen/pilothouse/v1/deliveries_pb";
import { asSentence, clearWords } from "../ui/alerts";
import { useStores } from "../ui/context";
import { CliLine } from "../ui/dialog";
import { Mark } from "../ui/mark";
import { Note, Since, When } from "../ui/panel";
import { alertCli } from "./acts";
import { useDesk } from "./desk";
import { EvidenceChart } from "./evidence";
import { AlertActs, Chips, Instance } from "./line";
import { useList } from "../ui/listed";
import type { ListView } from "../ui/lists";
import { alertLook, deliveryLook, kindWord, stepLook } from "./looks";
import { Part, Side } from "../ui/side";
import type { Alert, AlertTransition, GetAlertResponse } from "../core/wire";

const AGAIN_MS = 4_000;

export function AlertSheet({ id }: { readonly id: string }): JSX.Element {
  const { alerts, call, ask } = useStores();
  const desk = useDesk();
  const detail = useList<GetAlertResponse>(
    async (_token, signal) => ({ items: [(await call("AlertService/GetAlert", { alertId: id }, signal)).message] }),
    AGAIN_MS,
  );
  const sent = useList<DeliveryJson>(async (pageToken, signal) => {
    const input = { filter: `alert = ${JSON.stringify(id)}`, pageSize: 50, pageToken };
    const answer = await ask("DeliveryService/ListDeliveries", input, signal);
    return { items: answer.deliveries, next: answer.nextPageToken };
  }, AGAIN_MS);
  const view = detail.view.value;
  const live = alerts.active.value.find((each) => each.id === id);
  const answer = view.items[0];
  const alert = live ?? answer?.alert;
  // What others do to it is in its timeline as soon as the live channel tells of it.
  useEffect(() => detail.refresh(), [live?.etag, live?.assignee, live?.state, desk.asked.value]);
  const title = alert?.ruleName ?? "Alert";
  return (
    <Side title={title} label={`Alert ${title}`} testId="alert-sheet" wide>
      {alert === undefined ? (
        <Missing view={view} id={id} />
      ) : (
        <>
          <Summary alert={alert} />
          <EvidenceChart alert={alert} />
          <Timeline alert={alert} steps={answer?.transitions ?? []} phase={view.phase} />
          <Deliveries view={sent.view.value} more={() => sent.older()} />
          <Says alert={alert} />
          <Lines alert={alert} />
          {view.phase === "error" ? <Note tone="warning">Not up to date: {view.problem}. It is read again.</Note> : null}
        </>
      )}
    </Side>
  );
}

function Missing({ view, id }: { readonly view: ListView<unknown>; readonly id: string }): JSX.Element {
  if (view.phase !== "error") {
    return <Note>Reading the alert…</Note>;
  }
  return view.code === "NOT_FOUND" ? (
    <Note tone="warning">
      There is no alert <span class="mono">{id}</span>. It may never have been, or its history may be gone.
    </Note>
  ) : (
    <Note tone="critical">It could not be read: {view.problem}. It is asked for again.</Note>
  );
}

function Summary({ alert }: { readonly alert: Alert }): JSX.Element {
  const { route, alerts } = useStores();
  const look = alertLook(alert);
  const fired = timestampMs(alert.fireTime) ?? timestampMs(alert.activeTime);
  const over = timestampMs(alert.resolveTime);
  return (
    <section class="summary" data-testid="alert-summary" data-state={look.word.toUpperCase()}>
      <p class="tags">
        <span class="state">
          <Mark look={look} /> <b>{look.word}</b> <span class="weak">{severityLook(alert.severity).word}</span>
        </span>
        <Instance alert={alert} />
      </p>
      <p>
        {asSentence(alert.summary)}{" "}
        {alert.state === "ALERT_STATE_RESOLVED" ? null : <span class="weak">{asSentence(clearWords(alert.clearsWhen))}</span>}
      </p>
      <Chips alert={alert} />
      <p class="weak small">
        {fired === undefined ? null : (
          <>
            since <When at={fired} /> (<Since at={fired} />)
          </>
        )}
        {over === undefined ? null : (
          <>
            {" "}
            · over <When at={over} />
            {alert.resolvedBy === "" ? "" : `, by ${alert.resolvedBy}`}
          </>
        )}
        {alerts.rules.value?.some((each) => each.id === alert.ruleId) === true ? (
          <>
            {" "}
            · <a href={route.href({ tab: "rules", open: alert.ruleId })}>rule, version {String(alert.ruleVersion)}</a>
          </>
        ) : null}
      </p>
      <p class="weak small">
        Events of that time:{" "}
        {(["error,critical", ""] as const).map((state) => (
          <>
            <a href={route.href(around(alert, state))} data-testid={state === "" ? "alert-events" : "alert-errors"}>
              {state === "" ? "all" : "errors"}
            </a>{" "}
          </>
        ))}
      </p>
      <AlertActs alert={alert} />
    </section>
  );
}

const OF_EVENTS = ["agent_id", "agent_type", "workflow_type", "stage"];
const BEFORE_MS = 600_000;

// The events that an alert is about: those with its labels, from before its condition held.
function around({ labels, activeTime, resolveTime }: Alert, state: string): Partial<Route> {
  const terms = OF_EVENTS.flatMap((name) => (labels[name] === undefined ? [] : [`${name} = ${JSON.stringify(labels[name])}`]));
  const from = (timestampMs(activeTime) ?? Date.now()) - BEFORE_MS;
  const to = (timestampMs(resolveTime) ?? Date.now()) + 60_000;
  return { page: "events", tab: "", open: "", filter: terms.join(" AND "), state, range: { kind: "fixed", from, to } };
}

function Timeline({
  alert,
  steps,
  phase,
}: {
  readonly alert: Alert;
  readonly steps: readonly AlertTransition[];
  readonly phase: string;
}): JSX.Element {
  return (
    <Part title="Timeline" count={steps.length} testId="alert-timeline">
      {steps.length === 0 ? <p class="weak">{phase === "loading" ? "Reading…" : "Nothing is known of its steps."}</p> : null}
      <ol class="steps">
        {steps.toReversed().map((step, index) => {
          const look = stepLook(step, alert.severity);
          const at = timestampMs(step.occurTime);
          return (
            <li key={steps.length - index}>
              <Mark look={look} />
              <div>
                <p>
                  {look.word}
                  {step.actor === "" ? null : <span class="weak"> by {step.actor}</span>}
                </p>
                {step.comment === "" ? null : <p class="weak said">{step.comment}</p>}
              </div>
              <When at={at} class="number faint" />
            </li>
          );
        })}
      </ol>
    </Part>
  );
}

function Deliveries({ view, more }: { readonly view: ListView<DeliveryJson>; readonly more: () => void }): JSX.Element {
  const { alerts } = useStores();
  const none = alerts.rules.value === undefined ? "" : "Nobody was notified of it: no channel takes it, or it is kept quiet.";
  return (
    <Part title="Notifications" count={view.items.length} testId="alert-deliveries">
      {view.items.length > 0 ? null : (
        <p class="weak">
          {view.phase === "error" ? `They could not be read: ${view.problem}.` : view.phase === "loading" ? "Reading…" : none}
        </p>
      )}
      <ul class="steps">
        {view.items.map((each) => {
          const look = deliveryLook(each.state);
          const at = timestampMs(each.endTime) ?? timestampMs(each.createTime);
          const retry = timestampMs(each.retryTime);
          return (
            <li key={each.id} data-testid="delivery-row" data-state={each.state}>
              <Mark look={look} />
              <div>
                <p>
                  {look.word} <span class="weak">to</span> {each.channelName ?? each.channelId}{" "}
                  <span class="faint">
                    {kindWord(each.kind)}
                    {(each.attempts ?? 0) > 1 ? ` · ${each.attempts} tries` : ""}
                    {each.state === "DELIVERY_STATE_WAITING" && retry !== undefined ? ` · tried at ${timeOfDay(retry)}` : ""}
                  </span>
                </p>
                {each.error === undefined ? null : <p class="weak said">{each.error}</p>}
              </div>
              <When at={at} class="number faint" />
            </li>
          );
        })}
      </ul>
      {view.more ? (
        <button type="button" class="link" onClick={more}>
          Older
        </button>
      ) : null}
    </Part>
  );
}

function Says({ alert }: { readonly alert: Alert }): JSX.Element | null {
  const said = Object.entries(alert.annotations);
  const labels = Object.entries(alert.labels);
  return said.length + labels.length === 0 ? null : (
    <Part title="What its rule says of it">
      <dl class="pairs">
        {[...said, ...labels].map(([name, value], index) => (
          <div key={`${index} ${name}`}>
            <dt class="faint">{name}</dt>
            <dd>{index < said.length && /^https?:\/\//.test(value) ? <Outside url={value} /> : value}</dd>
          </div>
        ))}
      </dl>
    </Part>
  );
}

function Outside({ url }: { readonly url: string }): JSX.Element {
  return (
    <a href={url} target="_blank" rel="noreferrer noopener">
      {url}
    </a>
  );
}

function Lines({ alert }: { readonly alert: Alert }): JSX.Element {
  const lines = [
    alertCli("get", alert.id, []),
    alertCli("acknowledge", alert.id, [["comment", "…"]]),
    alertCli("assign", alert.id, [["assignee", alert.assignee || "…"]]),
    alertCli("comment", alert.id, [["comment", "…"]]),
    alertCli("resolve", alert.id, [["reason", "…"]]),
  ];
  return (
    <details class="part">
      <summary>The same in a terminal</summary>
      {lines.map((line) => (
        <CliLine key={line} line={line} />
      ))}
    </details>
  );
}
