// One event beside the list: everything that it says, and the ways to what it is about.
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import { exactTime, durationText } from "../core/format";
import { eventName, narrate, spansOf } from "../core/narrative";
import { durationMs, timestampMs } from "../core/time";
import { cliOf, severityLook } from "../core/words";
import type { Event } from "../core/wire";
import { useStores } from "../ui/context";
import { Copy } from "../ui/copy";
import { CliLine } from "../ui/dialog";
import { Fact, Standing, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Note } from "../ui/panel";
import { Part, Side } from "../ui/side";
import type { Feed } from "./feed";

const NEVER = 3_600_000;

export function EventSheet({ id, feed }: { readonly id: string; readonly feed: Feed }): JSX.Element {
  const { call, route } = useStores();
  const read = useList<Event>(async (_token, signal) => {
    const { event } = (await call("EventService/GetEvent", { eventId: id }, signal)).message;
    return { items: event === undefined ? [] : [event] };
  }, NEVER);
  const event = read.view.value.items[0];
  const beside = (by: 1 | -1): string => {
    const at = feed.rows.find(id);
    return at === undefined ? "" : feed.rows.nearest(at + by, by);
  };
  const go = (to: string): void => (to === "" ? undefined : route.refine({ open: to }));
  useEffect(() => {
    const pressed = (key: KeyboardEvent): void => {
      const by = key.key === "j" ? 1 : key.key === "k" ? -1 : undefined;
      if (by !== undefined && document.activeElement?.closest(".sheet") !== null) {
        key.stopImmediatePropagation();
        go(beside(by));
      }
    };
    addEventListener("keydown", pressed, true);
    return () => removeEventListener("keydown", pressed, true);
  }, []);
  const said = event === undefined ? undefined : narrate(event);
  const steps = ([-1, 1] as const).map((by) => (
    <button
      type="button"
      class="button"
      key={by}
      disabled={beside(by) === ""}
      onClick={() => go(beside(by))}
      data-testid={`event-${by > 0 ? "next" : "before"}`}
    >
      {by > 0 ? "Next" : "Previous"} <kbd>{by > 0 ? "j" : "k"}</kbd>
    </button>
  ));
  return (
    <Side title={said?.title ?? "Event"} label="One event" testId="event-sheet" aside={steps} marks={{ "data-id": id }}>
      <Standing list={read} what="the event" empty="It is not there." />
      {event === undefined ? null : <Told event={event} />}
    </Side>
  );
}

function Told({ event }: { readonly event: Event }): JSX.Element {
  const { route } = useStores();
  const narrative = narrate(event);
  const at = timestampMs(event.occurTime);
  const received = timestampMs(event.receiveTime);
  const took = durationMs(event.duration);
  const to = (page: "workflows" | "agents" | "traces", open: string, tab: "run" | "trace" | "" = ""): string =>
    route.href({ page, open, tab, state: "" });
  const link = (href: string, text: string): JSX.Element => <a href={href}>{text}</a>;
  const trace = event.workflowId || event.traceId;
  const spans = spansOf(event);
  const inTrace = (span: string, text: string): ComponentChildren =>
    trace === "" || span === "" || text === "" ? text : link(route.href({ page: "traces", tab: "trace", open: trace, span }), text);
  const facts: readonly (readonly [string, ComponentChildren])[] = [
    ["Type", <code>{eventName(event.type)}</code>],
    ["Severity", severityLook(event.severity).word],
    ["Happened", at === undefined ? "" : exactTime(at)],
    ["Received", received === undefined ? "" : `${exactTime(received)}${at === undefined ? "" : `, ${lag(received - at)}`}`],
    ["Reported by", event.source],
    ["Workflow", event.workflowId === "" ? "" : link(to("workflows", event.workflowId, "run"), event.workflowName || event.workflowId)],
    ["Workflow type", event.workflowType],
    ["Stage", inTrace(spans.stage, event.stage)],
    ["Task", inTrace(spans.task, event.taskId)],
    ["Attempt", event.attempt > 0 ? event.attempt : ""],
    ["Agent", event.agentId === "" ? event.agentType : link(to("agents", event.agentId), event.agentId)],
    ["Queue", event.queue],
    ["Took", took === undefined ? "" : durationText(took)],
    ["Trace", trace === "" ? "" : link(to("traces", trace, "trace"), event.traceId || "of the workflow")],
    ["Span", inTrace(spans.span, event.spanId)],
    ["Command", event.commandId],
    ["Id", event.id],
  ];
  const attributes = Object.entries(event.attributes);
  const usage = event.usage;
  return (
    <>
      {event.message !== "" && event.message === event.error?.message ? null : (
        <p class="said">
          <Mark look={narrative} /> <bdi>{event.message || narrative.rest || narrative.title}</bdi>
        </p>
      )}
      {event.error === undefined ? null : (
        <Note tone="critical">
          {[event.error.code, event.error.message].filter((each) => each !== "").join(": ") || "Failed"}
          {event.error.retryable ? " (another attempt may go better)" : ""}
        </Note>
      )}
      <dl class="facts told">
        {facts.map(([name, value]) =>
          value === "" ? null : (
            <Fact key={name} name={name}>
              {value}
            </Fact>
          ),
        )}
        {usage === undefined ? null : (
          <Fact name="Used">
            {usage.inputTokens} + {usage.outputTokens} tokens
          </Fact>
        )}
      </dl>
      {attributes.length === 0 ? null : (
        <Part title="Attributes" count={attributes.length}>
          <dl class="attributes">
            {attributes.map(([name, value]) => (
              <Fact key={name} name={name}>
                <bdi>{value}</bdi>
              </Fact>
            ))}
          </dl>
        </Part>
      )}
      <p class="tools">
        <Copy text={JSON.stringify(event, null, 2)} what="event as JSON" /> <span class="faint">as JSON</span>
      </p>
      <CliLine line={cliOf("events get", event.id)} />
    </>
  );
}

// Clocks of sources and server disagree: an event may come before it happened.
function lag(ms: number): string {
  return ms < 0 ? `${durationText(-ms)} before it happened, by the clock of its source` : `${durationText(ms)} later`;
}
