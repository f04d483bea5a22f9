// From frames and answers to stores: the one place that knows which channel feeds which store.
import { batch } from "@preact/signals";
import { durationMs, timestampMs } from "../core/time";
import { plural, sentence } from "../core/format";
import { AgentService } from "../gen/pilothouse/v1/agents_pb";
import { AlertService } from "../gen/pilothouse/v1/alerts_pb";
import { EventService } from "../gen/pilothouse/v1/events_pb";
import type { LiveFrame, LiveGap, LiveProgress, LiveSnapshot } from "../gen/pilothouse/v1/live_pb";
import { MetricsService } from "../gen/pilothouse/v1/metrics_pb";
import { WorkflowService } from "../gen/pilothouse/v1/workflows_pb";
import type { Stores } from "../stores/app";
import type { Answer, Call } from "./call";
import { AGENTS, ALERTS, EVENTS, METRICS, WORKFLOWS } from "./positions";

export function ingestFrames(stores: Stores, frames: readonly LiveFrame[]): void {
  batch(() => {
    for (const frame of frames) {
      ingest(stores, frame);
    }
  });
}

function ingest(stores: Stores, frame: LiveFrame): void {
  const sent = timestampMs(frame.sendTime) ?? stores.clock.serverNow();
  const { payload } = frame;
  switch (payload.case) {
    case "metrics":
      stores.metrics.apply(payload.value);
      stores.connection.confirm(METRICS, timestampMs(payload.value.asOfTime) ?? sent);
      return;
    case "progress":
      progress(stores, frame.channel, payload.value, sent);
      return;
    case "snapshot":
      snapshot(stores, frame.channel, payload.value);
      // It may have been made long ago for someone else; as nothing followed it, it is what the bridge knows now.
      stores.connection.confirm(frame.channel, stores.clock.serverNow());
      return;
    case "workflow":
      stores.workflows.apply(payload.value);
      stores.commands.observe(payload.value);
      stores.listing.touch();
      stores.detail.touch(payload.value.id);
      break;
    case "agent":
      stores.agents.apply(payload.value);
      break;
    case "alert":
      stores.alerts.apply(payload.value);
      break;
    case "events":
      stores.events.append(payload.value.events);
      break;
    case "gap":
      gap(stores, frame.channel, payload.value);
      break;
    default:
      return;
  }
  stores.connection.confirm(frame.channel, sent);
}

function progress(stores: Stores, channel: string, value: LiveProgress, sent: number): void {
  stores.connection.upstream.value = value.upstreamConnected;
  const upstreamAge = durationMs(value.upstreamAge);
  if (upstreamAge !== undefined) {
    stores.connection.correct(channel, sent - upstreamAge);
  }
}

function snapshot(stores: Stores, channel: string, value: LiveSnapshot): void {
  switch (channel) {
    case WORKFLOWS:
      stores.workflows.replace(value.workflows, value.truncated);
      value.workflows.forEach((workflow) => stores.commands.observe(workflow));
      stores.listing.touch();
      break;
    case AGENTS:
      stores.agents.replace(value.agents, value.truncated);
      break;
    case ALERTS:
      stores.alerts.replace(value.alerts);
      break;
    case EVENTS:
      stores.events.replace(value.events);
      break;
    default:
      break;
  }
}

function gap(stores: Stores, channel: string, value: LiveGap): void {
  // A place that is not of this history is followed by a snapshot, which shows whether it joins what is there.
  if (channel === EVENTS && value.fromSequence > 0n) {
    const missed =
      value.missedCount === undefined ? "Some events are not shown" : `${plural(Number(value.missedCount), "event")} not shown`;
    stores.events.gap(`${missed}: ${GAP_WORDS[value.reason] ?? sentence(value.reason).toLowerCase()}`);
  }
}

const GAP_WORDS: Readonly<Record<string, string>> = {
  TOO_OLD: "this page was away for too long",
  SLOW_CLIENT: "this page did not keep up",
  OVERFLOW: "they came faster than they could be sent",
  UPSTREAM_RESET: "the server began a new history",
};

const POLLED_EVENTS = 200;

// One round of polling: the same stores, fed by the same contract, only slower.
export async function pollRound(stores: Stores, call: Call, signal: AbortSignal): Promise<void> {
  const [metrics, workflows, agents, alerts, events] = await Promise.all([
    call(MetricsService.method.getMetrics, {}, signal),
    call(WorkflowService.method.listWorkflows, { pageSize: POLLED_EVENTS }, signal),
    call(AgentService.method.listAgents, { pageSize: 1_000 }, signal),
    call(AlertService.method.listAlerts, { pageSize: 200 }, signal),
    call(EventService.method.listEvents, { pageSize: POLLED_EVENTS }, signal),
  ]);
  batch(() => {
    const at = (channel: string, answer: Answer<unknown>): void =>
      stores.connection.confirm(channel, stores.clock.serverNow() - (Date.now() - answer.sentAt));
    if (metrics.serverMs !== undefined) {
      stores.clock.dateHeader(metrics.sentAt, metrics.receivedAt, metrics.serverMs);
    }
    if (metrics.message.snapshot !== undefined) {
      stores.metrics.apply(metrics.message.snapshot);
      stores.connection.confirm(METRICS, timestampMs(metrics.message.snapshot.asOfTime) ?? 0);
    }
    stores.workflows.learn(workflows.message.workflows);
    workflows.message.workflows.forEach((workflow) => stores.commands.observe(workflow));
    stores.listing.touch();
    stores.detail.touch(stores.detail.view.peek().id);
    stores.agents.replace(agents.message.agents, agents.message.nextPageToken !== "");
    stores.alerts.replace(alerts.message.alerts);
    stores.events.replace(events.message.events.toReversed());
    at(WORKFLOWS, workflows);
    at(AGENTS, agents);
    at(ALERTS, alerts);
    at(EVENTS, events);
  });
}
