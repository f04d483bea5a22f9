// Where alerts are told: channels and how they do, escalations, heartbeats from outside, and what was given up.
import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { age, count, durationText, exactTime, plural, timeOfDay } from "../core/format";
import { jsonMs, timestampMs } from "../core/time";
import type { Look } from "../core/words";
import type { ChannelHealthJson, ChannelJson } from "../gen/pilothouse/v1/channels_pb";
import type { DeliveryJson } from "../gen/pilothouse/v1/deliveries_pb";
import type { EscalationJson } from "../gen/pilothouse/v1/escalations_pb";
import type { ExpectedHeartbeatJson } from "../gen/pilothouse/v1/heartbeats_pb";
import { problemWords } from "../live/call";
import { Act } from "../ui/act";
import { Copy } from "../ui/copy";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { Note, Panel, When } from "../ui/panel";
import { ChannelForm } from "./channel-form";
import { useDesk } from "./desk";
import { EscalationForm } from "./escalation-form";
import { HeartbeatForm } from "./heartbeat-form";
import { Older } from "../ui/listed";
import { type List, useShown } from "../ui/lists";
import { kindWord } from "./looks";

export function Channels(): JSX.Element {
  const { route } = useStores();
  const desk = useDesk();
  useShown(desk.escalations, desk.heartbeats, desk.dead);
  const [kind = "", id = ""] = route.open.value.split(/:(.*)/s);
  return (
    <div class="channels-page">
      <Several
        title="Channels"
        list={desk.channels}
        make="channel"
        none="Nobody is notified of anything: there are no channels yet."
        testId="channels"
        row={(each) => <Channel key={each.id} channel={each} />}
      />
      <Dead />
      <div class="column">
        <Several
          title="Escalations"
          list={desk.escalations}
          make="escalation"
          none="An escalation tells further channels step by step until somebody acknowledges. A rule names the one that it uses."
          testId="escalations"
          row={(each) => <Escalation key={each.id} escalation={each} />}
        />
        <Several
          title="Heartbeats from outside"
          list={desk.heartbeats}
          make="heartbeat"
          none="Something that has to be heard of at an interval, such as a nightly job: its silence raises an alert."
          testId="heartbeats"
          row={(each) => <Heartbeat key={each.id} heartbeat={each} />}
        />
      </div>
      {kind === "channel" ? (
        <ChannelForm key={id} id={id} />
      ) : kind === "escalation" ? (
        <EscalationForm key={id} id={id} />
      ) : kind === "heartbeat" ? (
        <HeartbeatForm key={id} id={id} />
      ) : null}
    </div>
  );
}

interface SeveralProps<T> {
  readonly title: string;
  readonly list: List<T>;
  readonly make: string;
  readonly none: string;
  readonly testId: string;
  readonly row: (item: T) => JSX.Element;
}

function Several<T>({ title, list, make, none, testId, row }: SeveralProps<T>): JSX.Element {
  const { route } = useStores();
  const view = list.view.value;
  return (
    <Panel
      title={title}
      testId={testId}
      aside={
        <a class="button" href={route.href({ open: `${make}:` })} data-testid={`${make}-new`}>
          New {make}
        </a>
      }
    >
      {view.phase === "error" ? <Note tone="critical">They could not be read: {view.problem}. They are asked for again.</Note> : null}
      {view.at === undefined ? view.phase === "error" ? null : <Note>Reading…</Note> : view.items.length === 0 ? <Note>{none}</Note> : null}
      <ul class="body things">{view.items.map(row)}</ul>
    </Panel>
  );
}

interface ThingProps {
  readonly look: Look;
  readonly open: string;
  readonly name: string;
  readonly testId: string;
  readonly beside: ComponentChildren;
  readonly children: ComponentChildren;
}

function Thing({ look, open, name, testId, beside, children }: ThingProps): JSX.Element {
  const { route } = useStores();
  return (
    <li
      data-row=""
      data-opens={open}
      data-open={route.open.value === open}
      tabIndex={-1}
      onClick={() => route.go({ open })}
      data-testid={testId}
      data-id={open.split(":")[1]}
    >
      <Mark look={look} />
      <div class="what">
        <p>
          <a class="name" href={route.href({ open })} onClick={(event) => event.stopPropagation()}>
            <b>{name}</b>
          </a>{" "}
          <span class={`small tone-${look.tone}`}>{look.word}</span>
        </p>
        {children}
      </div>
      <div class="acts" data-acts="">
        {beside}
      </div>
    </li>
  );
}

const UNKNOWN: Look = { word: "off", tone: "unknown", shape: "dash" };

function healthLook(channel: ChannelJson): Look {
  const health = channel.health ?? {};
  if (channel.enabled !== true) {
    return UNKNOWN;
  }
  if (health.open === true) {
    return { word: "left alone for a while: it failed again and again", tone: "critical", shape: "triangle" };
  }
  if ((health.failures ?? 0) > 0) {
    return { word: "failing", tone: "warning", shape: "diamond" };
  }
  return health.lastSuccessTime === undefined
    ? { word: "nothing sent yet", tone: "unknown", shape: "ring" }
    : { word: "working", tone: "good", shape: "check" };
}

export function targetWords(channel: ChannelJson): string {
  const { webhook, cloudEvents, apprise } = channel;
  return webhook !== undefined
    ? `webhook ${webhook.url ?? ""}`
    : cloudEvents !== undefined
      ? `CloudEvents ${cloudEvents.url ?? ""}`
      : (apprise?.services ?? []).join(", ") || "Apprise";
}

function Channel({ channel }: { readonly channel: ChannelJson }): JSX.Element {
  const { clock } = useStores();
  const health: ChannelHealthJson = channel.health ?? {};
  const last = timestampMs(health.lastSuccessTime);
  const retry = timestampMs(health.retryTime);
  const parts = [
    channel.isDefault === true ? "default" : "",
    last === undefined ? "" : `last delivered ${age(clock.now.value - last)} ago`,
    (health.waiting ?? 0) > 0 ? `${count(health.waiting ?? 0)} waiting` : "",
    (health.dead ?? 0) > 0 ? `${count(health.dead ?? 0)} given up` : "",
    health.open === true && retry !== undefined ? `tried again at ${timeOfDay(retry)}` : "",
  ];
  return (
    <Thing
      look={healthLook(channel)}
      open={`channel:${channel.id}`}
      name={channel.name ?? ""}
      testId="channel-row"
      beside={<TestSend channel={channel} />}
    >
      <p class="weak cut">{targetWords(channel)}</p>
      <p class="faint small">{parts.filter((each) => each !== "").join(" · ")}</p>
      {health.error === undefined ? null : <p class="tone-critical small said">{health.error}</p>}
    </Thing>
  );
}

// The answer stays beside the button until the next test: it is what one looks for when setting a channel up.
export function TestSend({ channel, draft = false }: { readonly channel: ChannelJson; readonly draft?: boolean }): JSX.Element {
  const { ask } = useStores();
  const desk = useDesk();
  const busy = useSignal(false);
  const said = useSignal<{ readonly good: boolean; readonly words: string } | undefined>(undefined);
  const test = async (): Promise<void> => {
    busy.value = true;
    said.value = undefined;
    try {
      const input = draft ? { channel } : { channelId: channel.id ?? "" };
      const answer = await ask("ChannelService/TestChannel", input, undefined, 40_000);
      const status = answer.statusCode === undefined ? "" : ` (${answer.statusCode})`;
      said.value =
        answer.delivered === true
          ? { good: true, words: `delivered${status} in ${durationText(jsonMs(answer.duration))}` }
          : { good: false, words: `${answer.error ?? "not delivered"}${status}` };
    } catch (error) {
      said.value = { good: false, words: problemWords(error) };
    }
    busy.value = false;
    desk.channels.refresh();
  };
  return (
    <>
      {said.value === undefined ? null : (
        <span
          class={`small said tone-${said.value.good ? "good" : "critical"}`}
          role="status"
          data-testid="channel-test-result"
          data-delivered={said.value.good}
        >
          {said.value.words}
        </span>
      )}
      <Act testId="channel-test" refused={busy.value ? "Sending…" : ""} onClick={() => void test()} hint="Send a test there now">
        {busy.value ? "Sending…" : "Send a test"}
      </Act>
    </>
  );
}

function Escalation({ escalation }: { readonly escalation: EscalationJson }): JSX.Element {
  const desk = useDesk();
  const users = desk.rules.view.value.items.filter((rule) => rule.escalation === escalation.id).length;
  const steps = (escalation.steps ?? []).map(
    (step) =>
      `${jsonMs(step.after) === 0 ? "at once" : `after ${durationText(jsonMs(step.after))}`} ${(step.channels ?? []).map((each) => desk.channelName(each)).join(", ")}`,
  );
  const again = jsonMs(escalation.repeatInterval);
  return (
    <Thing
      look={{ word: users === 0 ? "no rule uses it" : `used by ${plural(users, "rule")}`, tone: "unknown", shape: "arrow" }}
      open={`escalation:${escalation.id}`}
      name={escalation.name ?? ""}
      testId="escalation-row"
      beside={null}
    >
      <p class="weak">
        {steps.join(" → ")}
        {again === 0 ? "" : `, then every ${durationText(again)}`}
      </p>
    </Thing>
  );
}

function Heartbeat({ heartbeat }: { readonly heartbeat: ExpectedHeartbeatJson }): JSX.Element {
  const { clock, base } = useStores();
  const last = timestampMs(heartbeat.lastTime);
  const due = timestampMs(heartbeat.dueTime);
  const look: Look =
    heartbeat.overdue === true
      ? { word: "overdue", tone: "critical", shape: "triangle" }
      : last === undefined
        ? { word: "not heard yet", tone: "unknown", shape: "ring" }
        : { word: "in time", tone: "good", shape: "check" };
  const now = clock.now.value;
  const line = curlOf(base, heartbeat.id ?? "");
  return (
    <Thing
      look={look}
      open={`heartbeat:${heartbeat.id}`}
      name={heartbeat.id ?? ""}
      testId="heartbeat-row"
      beside={<Copy text={line} what="curl line" />}
    >
      <p class="weak">
        {heartbeat.description === undefined ? "" : `${heartbeat.description} · `}every {durationText(jsonMs(heartbeat.interval))}
        {jsonMs(heartbeat.grace) === 0 ? "" : `, ${durationText(jsonMs(heartbeat.grace))} of grace`}
      </p>
      <p class="faint small">
        {last === undefined ? "never heard" : <time title={exactTime(last)}>heard {age(now - last)} ago</time>}
        {due === undefined ? "" : due > now ? ` · due in ${durationText(due - now)}` : ` · was due ${age(now - due)} ago`}
        {heartbeat.count === undefined ? "" : ` · ${plural(Number(heartbeat.count), "beat")}`}
      </p>
    </Thing>
  );
}

export function curlOf(base: string, id: string): string {
  const url = new URL(`api/v1/heartbeats/${id}:beat`, base);
  url.hash = "";
  return `curl -fsS -X POST ${url.href}`;
}

function Dead(): JSX.Element | null {
  const { dead } = useDesk();
  const view = dead.view.value;
  return view.items.length === 0 ? null : (
    <Panel
      title="Given up"
      testId="dead-deliveries"
      class="whole"
      aside={
        <span>
          {plural(view.items.length, "notification")}
          {view.more ? " and more" : ""}
        </span>
      }
    >
      <ul class="body things">
        {view.items.map((each) => (
          <DeadRow key={each.id} delivery={each} />
        ))}
      </ul>
      <Older list={dead} />
    </Panel>
  );
}

function DeadRow({ delivery }: { readonly delivery: DeliveryJson }): JSX.Element {
  const { ask, messages } = useStores();
  const desk = useDesk();
  const busy = useSignal(false);
  const act = (method: "DeliveryService/RetryDelivery" | "DeliveryService/DropDelivery", done: string) => async (): Promise<void> => {
    busy.value = true;
    try {
      await ask(method, { deliveryId: delivery.id ?? "" });
      messages.say("good", done);
    } catch (error) {
      messages.say("critical", "Refused", problemWords(error));
    }
    busy.value = false;
    desk.dead.refresh();
    desk.channels.refresh();
  };
  const group = Object.entries(delivery.groupLabels ?? {}).map(([name, value]) => `${name}=${value}`);
  const refused = busy.value ? "Requested…" : "";
  return (
    <li data-testid="dead-row" data-id={delivery.id}>
      <Mark look={{ tone: "critical", shape: "triangle" }} />
      <div class="what">
        <p>
          <b>{delivery.channelName ?? delivery.channelId}</b>{" "}
          <span class="weak">
            {kindWord(delivery.kind)} · {delivery.firingCount ?? 0} firing, {delivery.resolvedCount ?? 0} resolved{" "}
            {group.length === 0 ? "" : `· ${group.join(", ")}`}
          </span>
        </p>
        <p class="tone-critical small said">{delivery.error}</p>
        <p class="faint small">
          {plural(delivery.attempts ?? 0, "try", "tries")}, given up <When at={timestampMs(delivery.endTime)} />
        </p>
      </div>
      <div class="acts">
        <Act
          testId="dead-retry"
          refused={refused}
          onClick={() => void act("DeliveryService/RetryDelivery", "It is tried again")()}
          hint="Try it again"
        >
          Retry
        </Act>
        <Act
          testId="dead-drop"
          refused={refused}
          onClick={() => void act("DeliveryService/DropDelivery", "Dropped")()}
          hint="Do not try it any more"
        >
          Drop
        </Act>
      </div>
    </li>
  );
}
