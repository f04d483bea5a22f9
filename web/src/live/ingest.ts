// From frames and answers to stores: the one place that knows which channel feeds which store.
import { batch } from "@preact/signals";
import { durationMs, timestampMs } from "../core/time";
import { plural, sentence } from "../core/format";
import type { Stores } from "../stores/app";
import type { Answer, Call } from "./call";
import type { ChannelFrame, SnapshotFrame } from "./frames";
import { AGENTS, ALERTS, EVENTS, METRICS, STOPS, WORKFLOWS } from "./positions";
import type { LiveGap, LiveProgress } from "../core/wire";

export function ingestFrames(stores: Stores, frames: readonly ChannelFrame[]): void {
  batch(() => {
    for (const frame of frames) {
      ingest(stores, frame);
    }
  });
}

function ingest(stores: Stores, frame: ChannelFrame): void {
  const sent = timestampMs(frame.timestamp);
  switch (frame.type) {
    case "metrics:update":
      stores.metrics.apply(frame.data);
      stores.connection.confirm(METRICS, timestampMs(frame.data.asOfTime) ?? sent);
      return;
    case "progress":
      progress(stores, frame.channel, frame.data, sent);
      return;
    case "workflows:snapshot":
    case "agents:snapshot":
    case "alerts:snapshot":
    case "events:snapshot":
    case "emergency:snapshot":
      snapshot(stores, frame);
      // It may have been made long ago for someone else; as nothing followed it, it is what the bridge knows now.
      stores.connection.confirm(frame.channel, stores.clock.serverNow());
      return;
    case "workflows:update":
      stores.workflows.apply(frame.data);
      stores.commands.observe(frame.data);
      stores.listing.touch();
      stores.detail.touch(frame.data.id);
      break;
    case "agents:update":
      stores.agents.apply(frame.data);
      break;
    case "alerts:update":
      stores.alerts.apply(frame.data);
      break;
    case "events:append":
      stores.events.append(frame.data.events);
      break;
    case "emergency:update":
      stores.stops.apply(frame.data);
      break;
    case "gap":
      gap(stores, frame.channel, frame.data);
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

function snapshot(stores: Stores, { type, data }: SnapshotFrame): void {
  const { workflows = [], agents = [], alerts = [], events = [], emergencyStops = [], truncated = false } = data;
  switch (type) {
    case "workflows:snapshot":
      stores.workflows.replace(workflows, truncated);
      workflows.forEach((workflow) => stores.commands.observe(workflow));
      stores.listing.touch();
      break;
    case "agents:snapshot":
      stores.agents.replace(agents, truncated);
      break;
    case "alerts:snapshot":
      stores.alerts.replace(alerts);
      break;
    case "events:snapshot":
      stores.events.replace(events);
      break;
    case "emergency:snapshot":
      stores.stops.replace(emergencyStops);
      break;
  }
}

function gap(stores: Stores, channel: string, value: LiveGap): void {
  // A place that is not of this history is followed by a snapshot, which shows whether it joins what is there.
  if (channel === EVENTS && Number(value.fromSequence) > 0) {
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
  const [metrics, workflows, agents, alerts, events, stops] = await Promise.all([
    call("MetricsService/GetMetrics", {}, signal),
    call("WorkflowService/ListWorkflows", { pageSize: POLLED_EVENTS }, signal),
    call("AgentService/ListAgents", { pageSize: 1_000 }, signal),
    call("AlertService/ListAlerts", { pageSize: 200 }, signal),
    call("EventService/ListEvents", { pageSize: POLLED_EVENTS }, signal),
    call("EmergencyStopService/ListEmergencyStops", {}, signal),
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
    stores.stops.replace(stops.message.emergencyStops);
    at(EVENTS, events);
    at(STOPS, stops);
  });
}
