import { describe, expect, it } from "vitest";
import { Feed } from "../src/events/feed";
import { marked, question, wordsOf } from "../src/events/question";
import { MOST_TOLD, Rows } from "../src/events/rows";
import { EventSchema } from "../src/gen/pilothouse/v1/events_pb";
import type { Event } from "../src/core/wire";
import { sent } from "./fakes";

const at = (second: number): string => new Date(1_700_000_000_000 + second * 1_000).toISOString();
const made = (number: number): Event =>
  sent(EventSchema, {
    id: `e${number}`,
    type: "EVENT_TYPE_LOG",
    severity: "SEVERITY_INFO",
    occurTime: at(number),
    message: `message ${number}`,
  });
const many = (from: number, to: number): Event[] => Array.from({ length: to - from }, (_, index) => made(from + index));
const ids = (rows: Rows): string[] => Array.from({ length: rows.length }, (_, index) => rows.row(rows.base + index).id);

describe("the rows of the Events page", () => {
  it("keeps their order when newer and older ones come", () => {
    const rows = new Rows();
    rows.append(many(10, 13));
    rows.prepend(many(7, 10).toReversed());
    expect(ids(rows)).toEqual(["e7", "e8", "e9", "e10", "e11", "e12"]);
    expect(rows.base).toBe(-3);
    expect(rows.row(0).told?.event.message).toBe("message 10");
  });

  it("lets the oldest go at the limit, and keeps the numbers of the rest", () => {
    const rows = new Rows(300);
    for (let from = 0; from < 400; from += 100) {
      rows.append(many(from, from + 100));
    }
    expect(rows.length).toBe(300);
    expect(rows.base).toBe(100);
    expect(rows.row(rows.base).id).toBe("e100");
    expect(rows.row(rows.end - 1).id).toBe("e399");
  });

  it("lets the newest go when older ones are read at the limit, and says how many", () => {
    const rows = new Rows(300);
    rows.append(many(100, 400));
    expect(rows.prepend(many(50, 100).toReversed())).toBe(50);
    expect(rows.row(rows.base).id).toBe("e50");
    expect(rows.row(rows.end - 1).id).toBe("e349");
  });

  it("remembers what the newest few thousand say, and time and type of all", () => {
    const rows = new Rows();
    rows.append(many(0, MOST_TOLD + 10));
    expect(rows.row(0).told).toBeUndefined();
    expect(rows.row(0).at).toBe(Date.parse(at(0)));
    expect(rows.row(0).type).toBe("EVENT_TYPE_LOG");
    rows.tell([made(0)]);
    expect(rows.row(0).told?.event.message).toBe("message 0");
  });

  it("joins gaps that follow each other, and fills one in its place", () => {
    const rows = new Rows();
    rows.append(many(0, 2));
    rows.appendGap(2);
    rows.appendGap(1);
    rows.append(many(5, 7));
    expect(rows.length).toBe(5);
    expect(rows.row(2).missing).toBe(3);
    rows.fill(2, many(2, 5), 0);
    expect(ids(rows)).toEqual(["e0", "e1", "e2", "e3", "e4", "e5", "e6"]);
  });

  it("keeps a gap of what is still missing, and closes one where nothing was", () => {
    const rows = new Rows();
    rows.append(many(0, 1));
    rows.appendGap(10);
    rows.append(many(11, 12));
    rows.fill(1, many(1, 3), 8);
    expect(rows.row(1).id).toBe("e1");
    expect(rows.row(3).missing).toBe(8);
    rows.fill(3, [], 0);
    expect(ids(rows)).toEqual(["e0", "e1", "e2", "e11"]);
  });

  it("finds the event next to a gap", () => {
    const rows = new Rows();
    rows.append(many(0, 1));
    rows.appendGap(4);
    rows.append(many(5, 6));
    expect([rows.nearest(1, -1), rows.nearest(1, 1), rows.nearest(3, 1)]).toEqual(["e0", "e5", ""]);
    expect(rows.find("e5")).toBe(2);
  });
});

describe("a gap behind the last event", () => {
  it("is filled with what was missing, not with what comes by itself since", async () => {
    const later = many(0, 8);
    const call = async () => ({ message: { events: later, nextPageToken: "" } }) as never;
    const feed = new Feed(call, "");
    feed.rows.append(many(0, 1));
    feed.rows.appendGap(3);
    later.shift();
    const reading = feed.fill(1);
    feed.rows.appendGap(2);
    await reading;
    expect(ids(feed.rows).slice(0, 4)).toEqual(["e0", "e1", "e2", "e3"]);
    expect([feed.rows.length, feed.rows.row(4).missing]).toEqual([5, 2]);
    feed.rows.append(many(6, 8));
    later.splice(0, 3);
    await feed.fill(4);
    expect(ids(feed.rows)).toEqual(["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7"]);
  });
});

describe("what the Events page asks", () => {
  it("joins filter, chips and range", () => {
    const asked = question("disk full", ["error", "task_failed", "critical"], { kind: "last", ms: 60_000 }, 1_700_000_060_000);
    expect(asked).toBe(
      '(disk full) AND (severity = ERROR OR severity = CRITICAL) AND (type = TASK_FAILED) AND occur_time >= "2023-11-14T22:13:20.000Z"',
    );
  });

  it("marks the beginnings of words that were searched, and nothing that is not text", () => {
    expect(wordsOf('timeout AND severity >= ERROR AND stage = "de ploy"')).toEqual(["timeout"]);
    expect(wordsOf("Disk, full")).toEqual(["disk", "full"]);
    expect(marked("Disk is full: a diskette, undisked", ["disk", "full"])).toEqual([
      "",
      "Disk",
      " is ",
      "full",
      ": a ",
      "disk",
      "ette, undisked",
    ]);
    expect(marked("مهلة انتهت", ["انت"])).toEqual(["مهلة ", "انت", "هت"]);
  });
});
