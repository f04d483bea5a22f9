import { describe, expect, it } from "vitest";
import { Link, type LinkState, OPEN_LIMIT_MS, PING_EVERY_MS, SILENCE_LIMIT_MS } from "../src/live/link";
import { WorkflowSchema } from "../src/gen/pilothouse/v1/workflows_pb";
import type { ChannelFrame } from "../src/live/frames";
import { FakeNetwork, type Said, sent } from "./fakes";

function started() {
  const network = new FakeNetwork();
  const frames: ChannelFrame[] = [];
  const states: LinkState[] = [];
  const trips: number[][] = [];
  const link = new Link(network, ["workflows:changes", "events:live"], {
    changed: (state) => states.push(state),
    frame: (each) => frames.push(each),
    roundTrip: (...trip) => trips.push(trip),
  });
  link.start();
  return { network, link, frames, states, trips };
}

const change = (sequence: number, epoch = "e"): Said => ({
  type: "workflows:update",
  ...{ channel: "workflows:changes", epoch, sequence },
  data: sent(WorkflowSchema, { id: `w${sequence}` }),
});

describe("a link", () => {
  it("asks for all channels and is open once the server says so", () => {
    const { network, link } = started();
    network.peer.events.open();
    expect(link.state.phase).toBe("connecting");
    expect(network.peer.subscribes()).toEqual([{ channels: ["workflows:changes", "events:live"], positions: {} }]);
    network.peer.accept();
    expect(link.state).toMatchObject({ phase: "open", failures: 0 });
  });

  it("asks after a break for what it missed", () => {
    const { network } = started();
    network.peer.accept();
    network.peer.say(change(7));
    network.peer.say(change(8));
    network.peer.events.closed(1006, "");
    network.time.advance(1_000);
    network.peer.events.open();
    expect(network.peer.subscribes().at(-1)?.positions).toEqual({ "workflows:changes": { epoch: "e", sequence: 8 } });
  });

  it("waits longer after each failure, up to the cap, and says why and until when", () => {
    const { network, link } = started();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 8; attempt++) {
      network.peer.events.closed(1006, "");
      const wait = (link.state.retryAt ?? 0) - network.time.now;
      waits.push(wait);
      network.time.advance(wait);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(link.state.problem).toBe("the connection was lost");
  });

  it("takes any part of the wait by chance", () => {
    const { network, link } = started();
    network.chance = 0.25;
    network.peer.events.closed(1006, "");
    expect(link.state.retryAt).toBe(network.time.now + 250);
  });

  it("starts counting failures anew once it was open", () => {
    const { network, link } = started();
    network.peer.events.closed(1006, "");
    network.time.advance(1_000);
    network.peer.accept();
    network.peer.events.closed(1006, "");
    expect(link.state.failures).toBe(1);
  });

  it("gives up on a server that accepts and says nothing", () => {
    const { network, link } = started();
    network.peer.events.open();
    network.time.advance(OPEN_LIMIT_MS);
    expect(link.state).toMatchObject({ phase: "waiting", problem: "the server did not answer in time" });
    expect(network.peers[0]?.closed).toBe(true);
  });

  it("notices a half-open socket by its silence", () => {
    const { network, link } = started();
    network.peer.accept();
    network.time.advance(SILENCE_LIMIT_MS);
    expect(link.state.phase).toBe("open");
    network.time.advance(PING_EVERY_MS);
    expect(network.peers[0]?.closed).toBe(true);
    expect(link.state.problem).toBe("nothing was heard for too long");
  });

  it("stays open while pongs come, and measures each round trip", () => {
    const { network, link, trips } = started();
    network.peer.accept();
    for (let round = 0; round < 10; round++) {
      network.time.advance(40);
      const ping = network.peer.requests.at(-1);
      const nonce = ping?.type === "ping" ? String(ping.nonce) : "";
      network.peer.say({ type: "pong", data: { nonce } });
      network.time.advance(PING_EVERY_MS - 40);
    }
    expect(link.state.phase).toBe("open");
    expect(trips[0]).toEqual([1_000_000, 1_000_040, 5_000_000]);
  });

  it("ignores a pong that it did not ask for", () => {
    const { network, trips } = started();
    network.peer.accept();
    network.peer.say({ type: "pong", data: { nonce: "99" } });
    expect(trips).toEqual([]);
  });

  it("comes back when a draining server asked it to", () => {
    const { network, link } = started();
    network.peer.accept();
    network.peer.say({ type: "draining", data: { reconnectAfter: "3s" } });
    expect(link.state).toMatchObject({ phase: "waiting", problem: "the server is restarting" });
    network.time.advance(2_999);
    expect(network.peers).toHaveLength(1);
    network.time.advance(1);
    expect(network.peers).toHaveLength(2);
  });

  it("asks for a snapshot where a hole was not explained", () => {
    const { network, frames } = started();
    network.peer.accept();
    network.peer.say(change(7));
    network.peer.say(change(9));
    expect(frames).toHaveLength(1);
    expect(network.peer.requests.at(-2)?.type).toBe("unsubscribe");
    expect(network.peer.subscribes().at(-1)).toEqual({ channels: ["workflows:changes"], positions: {} });
  });

  it("shows a change once, however often it comes", () => {
    const { network, frames } = started();
    network.peer.accept();
    network.peer.say(change(7));
    network.peer.say(change(7));
    expect(frames).toHaveLength(1);
  });

  it.each(["", "hello", "null", "[]", "7", '{"type":7}'])("ends a connection that speaks another language: %j", (text) => {
    const { network, link } = started();
    network.peer.accept();
    network.peer.events.message(text);
    expect(link.state.phase).toBe("waiting");
  });

  it("hears nothing more from a socket that it has left", () => {
    const { network, frames, link } = started();
    const first = network.peer;
    first.accept();
    first.events.closed(1006, "");
    first.say(change(7));
    first.events.closed(1006, "");
    expect(frames).toEqual([]);
    expect(link.state.failures).toBe(1);
  });

  it("tries at once when a person asks", () => {
    const { network, link } = started();
    network.peer.events.closed(1006, "");
    link.retryNow();
    expect(network.peers).toHaveLength(2);
  });

  it("leaves no timer behind when it is stopped", () => {
    const { network, link } = started();
    network.peer.accept();
    network.time.advance(20_000);
    link.stop();
    expect(network.time.waiting).toBe(0);
    expect(network.peer.closed).toBe(true);
  });
});
