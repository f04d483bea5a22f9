// Times are numbers of milliseconds since the epoch on the server's clock, everywhere behind the wire; on it they are text, as proto JSON has them.

// Lists are put in order by their times again and again, and to read a time is ten times as much work as to find it.
const read = new Map<string, number>();
const MOST_READ = 20_000;

export function timestampMs(time: string): number;
export function timestampMs(time: string | undefined): number | undefined;
export function timestampMs(time: string | undefined): number | undefined {
  if (time === undefined) {
    return undefined;
  }
  const known = read.get(time);
  if (known !== undefined) {
    return known;
  }
  if (read.size >= MOST_READ) {
    read.clear();
  }
  const ms = Date.parse(time);
  read.set(time, ms);
  return ms;
}

export function durationMs(duration: string): number;
export function durationMs(duration: string | undefined): number | undefined;
export function durationMs(duration: string | undefined): number | undefined {
  return duration === undefined ? undefined : Number.parseFloat(duration) * 1000;
}

export function toTimestamp(ms: number): string {
  return new Date(ms).toISOString();
}

export function toDuration(ms: number): string {
  return `${ms / 1000}s`;
}

// A duration of proto JSON, as "1.5s"; 0 where there is none.
export function jsonMs(text: string | undefined): number {
  return durationMs(text) ?? 0;
}
