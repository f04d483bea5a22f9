// Fake time and a fake other end, for machines that are given theirs.
import { type DescMessage, type JsonValue, type MessageJsonType, fromJson, toJson } from "@bufbuild/protobuf";
import { toTimestamp } from "../src/core/time";
import type { Sent } from "../src/core/wire";
import type { ChannelFrame, ConnectionFrame, Place, Request } from "../src/live/frames";
import type { Runtime, Socket, SocketEvents } from "../src/live/link";

export class FakeTime {
  now = 1_000_000;
  #timers: { at: number; run: () => void }[] = [];

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.now + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  advance(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const next = this.#timers.filter((each) => each.at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) {
        break;
      }
      this.#timers = this.#timers.filter((each) => each !== next);
      this.now = next.at;
      next.run();
    }
    this.now = end;
  }

  get waiting(): number {
    return this.#timers.length;
  }
}

export class FakePeer implements Socket {
  readonly requests: Request[] = [];
  closed = false;

  constructor(readonly events: SocketEvents) {}

  send(text: string): void {
    this.requests.push(JSON.parse(text) as Request);
  }

  close(): void {
    this.closed = true;
  }

  say(frame: Said): void {
    this.events.message(JSON.stringify({ timestamp: toTimestamp(5_000_000), ...frame }));
  }

  accept(): void {
    this.events.open();
    this.say({ type: "subscribed", data: {} });
  }

  subscribes(): { channels: readonly string[]; positions: Readonly<Record<string, Place>> }[] {
    return this.requests.flatMap((request) =>
      request.type === "subscribe" ? [{ channels: request.channels, positions: request.positions }] : [],
    );
  }
}

export class FakeNetwork implements Runtime {
  readonly time = new FakeTime();
  readonly peers: FakePeer[] = [];
  chance = 1;

  connect(events: SocketEvents): Socket {
    const peer = new FakePeer(events);
    this.peers.push(peer);
    return peer;
  }

  now(): number {
    return this.time.now;
  }

  after(ms: number, run: () => void): () => void {
    return this.time.after(ms, run);
  }

  random(): number {
    return this.chance;
  }

  get peer(): FakePeer {
    const last = this.peers.at(-1);
    if (last === undefined) {
      throw new Error("nothing has connected");
    }
    return last;
  }
}

type Untimed<F> = F extends unknown ? Omit<F, "timestamp"> : never;
export type Said = Untimed<ChannelFrame | ConnectionFrame>;

export function frame(said: Untimed<ChannelFrame>): ChannelFrame {
  return { ...said, timestamp: toTimestamp(5_000_000) } as ChannelFrame;
}

// A message as the bridge sends it, with everything that has no presence of its own.
export function sent<D extends DescMessage>(schema: D, json: MessageJsonType<D>): Sent<D> {
  return toJson(schema, fromJson(schema, json as JsonValue), { alwaysEmitImplicit: true }) as unknown as Sent<D>;
}
