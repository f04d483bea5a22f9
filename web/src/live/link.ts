// The connection as a state machine without I/O: sockets, time and chance are given to it, so that its tests need none of them.
//
//   stopped ─start─▶ connecting ─subscribed─▶ open
//                      ▲    │                  │ closed, silent too long, draining
//                      │    └─closed─▶ waiting ◀┘
//                      └──── backoff over ─┘
import { type Backoff, RECONNECT, backoffMs } from "../core/backoff";
import { durationMs, timestampMs } from "../core/time";
import { type ChannelFrame, type ConnectionFrame, type Place, type Request, frameOf, isOfChannel } from "./frames";
import { judgeFrame } from "./positions";

export interface Socket {
  send(text: string): void;
  close(): void;
}

export interface SocketEvents {
  open(): void;
  message(text: string): void;
  closed(code: number, reason: string): void;
}

export interface Runtime {
  connect(events: SocketEvents): Socket;
  // Milliseconds of the local clock.
  now(): number;
  // Runs once, later; the result cancels it.
  after(ms: number, run: () => void): () => void;
  random(): number;
}

export type Phase = "stopped" | "connecting" | "open" | "waiting";

export interface LinkState {
  readonly phase: Phase;
  // Attempts that failed in a row.
  readonly failures: number;
  // When the next attempt begins, by the local clock; only while waiting.
  readonly retryAt: number | undefined;
  // Why the last connection ended, for people.
  readonly problem: string;
}

export interface LinkListener {
  changed(state: LinkState): void;
  frame(frame: ChannelFrame, receivedAt: number): void;
  roundTrip(sentAt: number, receivedAt: number, serverMs: number): void;
}

export const PING_EVERY_MS = 5_000;
export const SILENCE_LIMIT_MS = 12_000;
export const OPEN_LIMIT_MS = 10_000;
// The first round trip measures how busy a page is that has just been opened; a few more soon show the network.
const MORE_PINGS_MS = [1_000, 2_000];

export class Link {
  #state: LinkState = { phase: "stopped", failures: 0, retryAt: undefined, problem: "" };
  #socket: Socket | undefined;
  #generation = 0;
  #places = new Map<string, Place>();
  #cancels = new Set<() => void>();
  #heardAt = 0;
  #nonce = 0;
  #pings = new Map<number, number>();
  #comeBackMs: number | undefined;

  constructor(
    private readonly runtime: Runtime,
    private readonly channels: readonly string[],
    private readonly listener: LinkListener,
    private readonly backoff: Backoff = RECONNECT,
  ) {}

  get state(): LinkState {
    return this.#state;
  }

  start(): void {
    if (this.#state.phase === "stopped") {
      this.#connect();
    }
  }

  stop(): void {
    this.#drop();
    this.#change({ phase: "stopped", failures: 0, retryAt: undefined, problem: "" });
  }

  // Ends the wait: the network came back, or a person asked.
  retryNow(): void {
    if (this.#state.phase === "waiting") {
      this.#connect();
    }
  }

  // Proves now whether the connection is alive; after a sleep the timers have not run.
  probe(): void {
    if (this.#state.phase === "open") {
      if (this.runtime.now() - this.#heardAt > SILENCE_LIMIT_MS) {
        this.#fail("nothing was heard for too long");
      } else {
        this.#ping();
      }
    } else {
      this.retryNow();
    }
  }

  #connect(): void {
    this.#drop();
    const generation = ++this.#generation;
    const current = (run: () => void): void => {
      if (generation === this.#generation) {
        run();
      }
    };
    this.#comeBackMs = undefined;
    this.#change({ ...this.#state, phase: "connecting", retryAt: undefined });
    this.#later(OPEN_LIMIT_MS, () => {
      if (this.#state.phase === "connecting") {
        this.#fail("the server did not answer in time");
      }
    });
    this.#socket = this.runtime.connect({
      open: () => current(() => this.#subscribe(this.channels)),
      message: (text) => current(() => this.#receive(text)),
      closed: (code, reason) => current(() => this.#fail(reason || closeWords(code))),
    });
  }

  #drop(): void {
    this.#generation++;
    for (const cancel of this.#cancels) {
      cancel();
    }
    this.#cancels.clear();
    this.#pings.clear();
    this.#socket?.close();
    this.#socket = undefined;
  }

  #fail(problem: string): void {
    const failures = this.#state.failures + 1;
    const wait = this.#comeBackMs ?? backoffMs(this.backoff, failures, this.runtime.random());
    this.#drop();
    this.#change({ phase: "waiting", failures, retryAt: this.runtime.now() + wait, problem });
    this.#later(wait, () => this.#connect());
  }

  #subscribe(channels: readonly string[]): void {
    const positions: Record<string, Place> = {};
    for (const channel of channels) {
      const place = this.#places.get(channel);
      if (place !== undefined) {
        positions[channel] = place;
      }
    }
    this.#send({ type: "subscribe", channels, positions, names: "json" });
  }

  #receive(text: string): void {
    const at = this.runtime.now();
    this.#heardAt = at;
    const frame = frameOf(text);
    if (frame === undefined) {
      this.#fail("the server sent a frame that is not of this contract");
      return;
    }
    if (!isOfChannel(frame)) {
      this.#aboutConnection(frame, at);
      return;
    }
    const { verdict, place } = judgeFrame(this.#places.get(frame.channel), frame);
    if (place === undefined) {
      this.#places.delete(frame.channel);
    } else {
      this.#places.set(frame.channel, place);
    }
    if (verdict === "resync") {
      this.#resync(frame.channel);
    } else if (verdict === "apply") {
      this.listener.frame(frame, at);
    }
  }

  // Following a channel anew without a position starts it with a snapshot.
  #resync(channel: string): void {
    this.#send({ type: "unsubscribe", channels: [channel] });
    this.#subscribe([channel]);
  }

  #aboutConnection(frame: ConnectionFrame, at: number): void {
    switch (frame.type) {
      case "subscribed":
        if (this.#state.phase === "connecting") {
          this.#change({ phase: "open", failures: 0, retryAt: undefined, problem: "" });
          this.#ping();
          for (const ms of MORE_PINGS_MS) {
            this.#later(ms, () => this.#ping());
          }
          this.#watchSilence();
        }
        break;
      case "pong": {
        const nonce = Number(frame.data.nonce);
        const sentAt = this.#pings.get(nonce);
        this.#pings.delete(nonce);
        if (sentAt !== undefined) {
          this.listener.roundTrip(sentAt, at, timestampMs(frame.timestamp));
        }
        break;
      }
      case "draining":
        this.#comeBackMs = durationMs(frame.data.reconnectAfter) ?? 0;
        this.#fail("the server is restarting");
        break;
      case "error":
        this.#change({ ...this.#state, problem: frame.data.message || frame.data.reason });
        break;
      default:
        break;
    }
  }

  #ping(): void {
    const nonce = ++this.#nonce;
    this.#pings.set(nonce, this.runtime.now());
    this.#send({ type: "ping", nonce });
  }

  #send(request: Request): void {
    this.#socket?.send(JSON.stringify(request));
  }

  // A half-open socket says nothing at all, so silence is how it is known.
  #watchSilence(): void {
    this.#later(PING_EVERY_MS, () => {
      if (this.runtime.now() - this.#heardAt > SILENCE_LIMIT_MS) {
        this.#fail("nothing was heard for too long");
        return;
      }
      this.#ping();
      this.#watchSilence();
    });
  }

  #later(ms: number, run: () => void): void {
    const cancel = this.runtime.after(ms, () => {
      this.#cancels.delete(cancel);
      run();
    });
    this.#cancels.add(cancel);
  }

  #change(state: LinkState): void {
    this.#state = state;
    this.listener.changed(state);
  }
}

function closeWords(code: number): string {
  switch (code) {
    case 1001:
      return "the server went away";
    case 1006:
      return "the connection was lost";
    case 1008:
      return "the server refused the connection";
    case 1012:
      return "the server is restarting";
    case 1013:
      return "the server is busy";
    default:
      return `the connection was closed (${code})`;
  }
}
