// What to do with a frame, from its place in its channel. A place is kept for each channel so that a reconnect asks for what was
// missed; a hole that no gap frame explains is repaired by asking for a snapshot, never passed over.
import type { ChannelFrame, Place } from "./frames";

export type Verdict = "apply" | "skip" | "resync";

export interface Judgement {
  readonly verdict: Verdict;
  // Where the client is after the frame; undefined when it must start again from a snapshot.
  readonly place: Place | undefined;
}

export const METRICS = "metrics:fleet";
export const WORKFLOWS = "workflows:changes";
export const AGENTS = "agents:changes";
export const ALERTS = "alerts:active";
export const EVENTS = "events:live";
export const STOPS = "emergency:stops";
export const CHANNELS: readonly string[] = [METRICS, WORKFLOWS, AGENTS, ALERTS, EVENTS, STOPS];

// Newest wins, so holes do not matter.
const holesAllowed = (channel: string): boolean => channel === METRICS;

export function judgeFrame(place: Place | undefined, frame: ChannelFrame): Judgement {
  const at: Place = { epoch: frame.epoch, sequence: frame.sequence };
  switch (frame.type) {
    case "workflows:snapshot":
    case "agents:snapshot":
    case "alerts:snapshot":
    case "events:snapshot":
    case "emergency:snapshot":
      return { verdict: "apply", place: at };
    // What follows a gap joins its end: the frames that are left, or a snapshot.
    case "gap":
      return { verdict: "apply", place: { epoch: frame.epoch, sequence: Number(frame.data.toSequence) } };
    case "progress":
      return { verdict: "apply", place };
    default:
      return judgeChange(place, frame, at);
  }
}

function judgeChange(place: Place | undefined, frame: ChannelFrame, at: Place): Judgement {
  if (place === undefined || holesAllowed(frame.channel)) {
    return { verdict: "apply", place: at };
  }
  if (place.epoch !== at.epoch) {
    return { verdict: "resync", place: undefined };
  }
  if (at.sequence <= place.sequence) {
    return { verdict: "skip", place };
  }
  return at.sequence === place.sequence + 1 ? { verdict: "apply", place: at } : { verdict: "resync", place: undefined };
}
