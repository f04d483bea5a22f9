// Full jitter: anything from nothing to the cap, so that a thousand dashboards do not come back in the same second.

export interface Backoff {
  readonly baseMs: number;
  readonly capMs: number;
}

export const RECONNECT: Backoff = { baseMs: 500, capMs: 30_000 };

// `failures` is how many attempts failed in a row, at least 1; `random` is from 0 to 1.
export function backoffMs(backoff: Backoff, failures: number, random: number): number {
  const ceiling = Math.min(backoff.capMs, backoff.baseMs * 2 ** Math.min(failures, 30));
  return ceiling * random;
}
