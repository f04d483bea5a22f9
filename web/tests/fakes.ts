// Fake time and a fake other end, for machines that are given theirs.
import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { toTimestamp } from "../src/core/time";
import { LiveFrameSchema, type LiveRequest, LiveRequestSchema } from "../src/gen/pilothouse/v1/live_pb";
import type { LiveFrame } from "../src/gen/pilothouse/v1/live_pb";
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
  readonly requests: LiveRequest[] = [];
  closed = false;

  constructor(readonly events: SocketEvents) {}

  send(bytes: Uint8Array): void {
    this.requests.push(fromBinary(LiveRequestSchema, bytes));
  }

  close(): void {
    this.closed = true;
  }

  say(frame: MessageInitShape<typeof LiveFrameSchema>): void {
    this.events.message(toBinary(LiveFrameSchema, create(LiveFrameSchema, { sendTime: toTimestamp(5_000_000), ...frame })));
  }

  accept(): void {
    this.events.open();
    this.say({ payload: { case: "subscribed", value: {} } });
  }

  subscribes(): { channels: string[]; positions: Record<string, string> }[] {
    return this.requests.flatMap(({ request }) =>
      request.case === "subscribe"
        ? [
            {
              channels: request.value.channels,
              positions: Object.fromEntries(
                Object.entries(request.value.positions).map(([name, at]) => [name, `${at.epoch}:${at.sequence}`]),
              ),
            },
          ]
        : [],
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

export function frame(init: MessageInitShape<typeof LiveFrameSchema>): LiveFrame {
  return create(LiveFrameSchema, init);
}
