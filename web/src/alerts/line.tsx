// One alert in the list: how it stands, why, what would clear it, its value, who has it, what keeps it quiet, and the acts on it.
import type { JSX } from "preact";
import { exactTime, when } from "../core/format";
import { timestampMs } from "../core/time";
import { severityLook } from "../core/words";
import { isFiring } from "../stores/alerts";
import { asSentence, clearWords } from "../ui/alerts";
import { Act } from "../ui/act";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { Since } from "../ui/panel";
import { Spark } from "../ui/spark";
import { useDesk } from "./desk";
import { alertLook } from "./looks";
import { subjectOf } from "./series";
import { metricOf, valueWords } from "./words";
import type { Alert } from "../core/wire";

export function AlertLine({ alert }: { readonly alert: Alert }): JSX.Element {
  const { route, clock } = useStores();
  const look = alertLook(alert);
  const since = timestampMs(alert.fireTime) ?? timestampMs(alert.activeTime);
  return (
    <li
      class={isFiring(alert) ? "line" : "line quiet"}
      data-row=""
      data-opens={alert.id}
      data-open={route.open.value === alert.id}
      tabIndex={-1}
      onClick={() => route.go({ open: alert.id })}
      data-testid="alert-row"
      data-alert-id={alert.id}
      data-state={look.word.toUpperCase()}
      data-acknowledged={alert.acknowledgeTime !== undefined}
    >
      <Mark look={look} />
      <div class="what">
        <p>
          <a class="name" href={route.href({ open: alert.id })} onClick={(event) => event.stopPropagation()}>
            <b>{look.word}</b>
            <span class="sr">, {severityLook(alert.severity).word}</span> <Instance alert={alert} />
          </a>
        </p>
        <p class="weak">
          {asSentence(alert.summary)} <span class="faint">{asSentence(clearWords(alert.clearsWhen))}</span>
        </p>
        <Chips alert={alert} />
      </div>
      <ValueNow alert={alert} />
      <p class="since">
        <Since at={since} ago={false} />
        <span class="faint small">{since === undefined ? "" : `since ${when(since, clock.serverNow())}`}</span>
      </p>
      <AlertActs alert={alert} few />
    </li>
  );
}

export function Instance({ alert }: { readonly alert: Pick<Alert, "labels" | "kind"> }): JSX.Element {
  const labels = Object.entries(alert.labels);
  return (
    <span class="labels">
      {alert.kind === "ALERT_KIND_NO_DATA" ? <span class="tag">no data</span> : null}
      {labels.map(([name, value]) => (
        <span key={name} class="tag" title={`${name}="${value}"`}>
          <span class="faint">{name}</span> {value}
        </span>
      ))}
      {labels.length === 0 ? <span class="faint">the fleet</span> : null}
    </span>
  );
}

function ValueNow({ alert }: { readonly alert: Alert }): JSX.Element {
  const { alerts } = useStores();
  const desk = useDesk();
  const rule = alerts.rules.value?.find((each) => each.id === alert.ruleId);
  const subject = subjectOf(alert, rule, alert.evidence[0]?.thresholdIndex ?? 0);
  const metric = subject?.threshold.metric ?? rule?.condition?.threshold?.metric;
  const text =
    alert.value === undefined || metricOf(metric).unit === "" ? alert.evidence[0]?.valueText : valueWords(metric, Number(alert.value));
  return (
    <p class="now">
      <b title="The value at the newest evaluation">{text ?? ""}</b>
      {subject === undefined ? null : <Spark values={desk.series.spark(subject)} />}
    </p>
  );
}

// What is done about it and what keeps it quiet, each with its end.
export function Chips({ alert }: { readonly alert: Alert }): JSX.Element | null {
  const { route, alerts, clock } = useStores();
  const { silences } = useDesk();
  const quiet = alert.suppression;
  const acknowledged = timestampMs(alert.acknowledgeTime);
  const until = (at: number | undefined): string => (at === undefined ? "" : ` until ${when(at, clock.serverNow())}`);
  const chips: JSX.Element[] = [];
  if (acknowledged !== undefined) {
    const title = `${exactTime(acknowledged)}${alert.acknowledgeComment === "" ? "" : `: ${alert.acknowledgeComment}`}`;
    chips.push(
      <span key="ack" class="tag good" title={title} data-testid="chip-acknowledged">
        acknowledged by {alert.acknowledgedBy || "somebody"}
        {until(timestampMs(alert.acknowledgeExpireTime))}
      </span>,
    );
  }
  if (alert.assignee !== "") {
    chips.push(
      <span key="who" class="tag good" data-testid="chip-assignee">
        {alert.assignee} has it
      </span>,
    );
  }
  for (const id of quiet?.silencedBy ?? []) {
    const silence = silences.view.value.items.find((each) => each.id === id);
    const ends =
      silence?.untilResolved === true ? " until resolved" : silence?.recurrence === undefined ? until(timestampMs(silence?.endTime)) : "";
    chips.push(
      <a
        key={id}
        class="tag notice"
        href={route.href({ tab: "silences", open: id })}
        onClick={(event) => event.stopPropagation()}
        title={silence?.comment}
        data-testid="chip-silenced"
      >
        silenced{ends}
      </a>,
    );
  }
  for (const id of quiet?.inhibitedBy ?? []) {
    const other = alerts.active.value.find((each) => each.id === id);
    chips.push(
      <a
        key={id}
        class="tag notice"
        href={route.href({ open: id })}
        onClick={(event) => event.stopPropagation()}
        data-testid="chip-inhibited"
      >
        inhibited by {other?.ruleName ?? "another alert"}
      </a>,
    );
  }
  if (quiet?.flapping === true) {
    chips.push(
      <span
        key="flaps"
        class="tag warning"
        title="It begins and ends so often that only the beginning and the end of that are told"
        data-testid="chip-flapping"
      >
        flapping
      </span>,
    );
  }
  return chips.length === 0 ? null : <p class="tags">{chips}</p>;
}

export function AlertActs({ alert, few = false }: { readonly alert: Alert; readonly few?: boolean }): JSX.Element | null {
  const { route } = useStores();
  const desk = useDesk();
  const live = isFiring(alert);
  const over = live ? "" : "It does not fire";
  const ask = (verb: "acknowledge" | "unacknowledge" | "assign" | "comment" | "resolve") => () => (desk.asked.value = { alert, verb });
  if (few && !live) {
    return <span class="acts" />;
  }
  return (
    <div class="acts" data-acts="">
      {alert.acknowledgeTime === undefined ? (
        <Act testId="alert-acknowledge" refused={over} onClick={ask("acknowledge")} hint="Say that you take care of it">
          Acknowledge
        </Act>
      ) : few ? null : (
        <Act testId="alert-unacknowledge" refused={over} onClick={ask("unacknowledge")} hint="Say that nobody takes care of it any more">
          Take back
        </Act>
      )}
      {few ? null : (
        <>
          <Act testId="alert-assign" refused={over} onClick={ask("assign")} hint="Say who has it">
            Assign
          </Act>
          <Act testId="alert-comment" refused="" onClick={ask("comment")} hint="Say something in its timeline">
            Comment
          </Act>
        </>
      )}
      <Act
        testId="alert-silence"
        refused=""
        onClick={() => route.go({ tab: "silences", open: `:for:${alert.id}` })}
        hint="Keep alerts like this one quiet for a time"
      >
        Silence
      </Act>
      <Act
        testId="alert-resolve"
        refused={over}
        onClick={ask("resolve")}
        hint="End it by hand; a new alert begins at the next breach after its condition was false"
      >
        Resolve
      </Act>
    </div>
  );
}
