// The browser's clock is never compared with the server's directly: an offset is estimated from round trips.
//
// An answer stamped `server` that was asked for at `sent` and came at `received` proves that the offset (server - local) lies in
// [server - received, server - sent]. Intersecting these intervals narrows it; an empty intersection means that one of the
// clocks was set or drifted, and the estimate starts again from the newest sample.

export interface OffsetEstimate {
  readonly low: number;
  readonly high: number;
}

export function sampleRoundTrip(before: OffsetEstimate | undefined, sent: number, received: number, server: number): OffsetEstimate {
  const low = server - Math.max(received, sent);
  const high = server - Math.min(received, sent);
  if (before === undefined) {
    return { low, high };
  }
  const narrowed = { low: Math.max(before.low, low), high: Math.min(before.high, high) };
  return narrowed.low <= narrowed.high ? narrowed : { low, high };
}

// A frame that nobody asked for bounds the offset from below only: how long ago it was made is not known.
export function sampleOneWay(before: OffsetEstimate | undefined, received: number, server: number): OffsetEstimate {
  const low = server - received;
  if (before === undefined || low > before.high) {
    return { low, high: Number.POSITIVE_INFINITY };
  }
  return low > before.low ? { low, high: before.high } : before;
}

export function offsetOf(estimate: OffsetEstimate | undefined): number {
  if (estimate === undefined) {
    return 0;
  }
  return Number.isFinite(estimate.high) ? (estimate.low + estimate.high) / 2 : estimate.low;
}
