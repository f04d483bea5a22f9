"""The dashboard in a real Chromium: weight, first view, how late events are drawn, how long frames take.

    python -m bench.dashboard [--seconds 30] [--rates 100,1000] [--rows 100000] [--views 5] [--hour] [--flower]

*First view*: from the navigation to the first figures drawn, in a browser without a cache. *Event → pixel*: from the
time at which a probe is handed to the channel to the frame in which its row is drawn on the Events page, while it
follows the given rate; probes are the last of a batch, two a second. *Frames*: the time from one to the next while the
page holds that many rows, 1,000 events come each second, and the list is scrolled all the time; a display of 60 Hz
gives 16.7 ms. *Heap*: after a full garbage collection. `--hour` follows 1,000 events a second for an hour. `--flower`
measures Flower's page of tasks, as far as it has the same: its weight and first view.

Server, generator, browser and its drawing in software share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from playwright.async_api import Browser, Page, async_playwright

from bench.flower_peer import RunningFlower
from bench.process import Server, running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import running_storage
from pilothouse.v1 import enums_pb2, events_pb2, events_pb2_grpc
from tests import browsers

BATCH_SECONDS = 0.02
PROBE_SECONDS = 0.5
PATIENCE_MS = 120_000

FIRST_VIEW = """() => new Promise((resolve) => {
  const seen = () => /\\d/.test(document.querySelector('[data-testid=card-running-value]')?.textContent ?? '');
  const look = () => seen() ? resolve(performance.now()) : requestAnimationFrame(look);
  look();
})"""
"""Milliseconds from the navigation to the frame in which a figure is there."""

WATCH_PROBES = """() => {
  window.probes = {};
  const list = document.querySelector('[data-testid=event-list]');
  const look = () => {
    for (const [, id] of list.textContent.matchAll(/(probe-\\w+)/g)) {
      if (!(id in window.probes)) {
        window.probes[id] = 0;
        // What was changed is drawn with this frame: the next one begins behind it.
        requestAnimationFrame(() => { window.probes[id] = performance.timeOrigin + performance.now(); });
      }
    }
  };
  new MutationObserver(look).observe(list, { subtree: true, childList: true, characterData: true });
}"""

SCROLL = """(seconds) => new Promise((resolve) => {
  const list = document.querySelector('[data-testid=event-list]');
  const frames = [];
  const begin = performance.now();
  let before = begin, way = -1;
  const step = (now) => {
    frames.push(now - before);
    before = now;
    list.scrollTop += way * 240;
    if (list.scrollTop <= 2000) way = 1;
    if (list.scrollTop >= list.scrollHeight - list.clientHeight - 2000) way = -1;
    if (now - begin < seconds * 1000) requestAnimationFrame(step); else resolve(frames.slice(1));
  };
  list.scrollTop = list.scrollHeight / 2;
  requestAnimationFrame(step);
})"""


PEER_WEIGHT = """() => ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
  .filter((each) => /script|link|css|navigation/.test(each.initiatorType))
  .reduce((sum, each) => sum + each.transferSize, 0)"""


@dataclass(slots=True)
class Sent:
    """What was published."""

    probes: dict[str, float]
    """When each was handed to the channel, in ms since the epoch."""
    events: int = 0


async def publish(server: Server, rate: int, seconds: float, sent: Sent) -> None:
    """Events at a steady rate, and probes among them."""
    begin = time.monotonic()
    probed = begin

    async def batches() -> AsyncIterator[events_pb2.PublishEventStreamRequest]:
        nonlocal probed
        number = 0
        while (now := time.monotonic()) < begin + seconds:
            count = max(1, round(rate * BATCH_SECONDS))
            events = [_event(sent.events + index) for index in range(count)]
            sent.events += count
            if now - probed >= PROBE_SECONDS:
                name = f"probe-{uuid.uuid4().hex[:12]}"
                events[-1].message = name
                sent.probes[name] = time.time() * 1000
                probed = now
            yield events_pb2.PublishEventStreamRequest(events=events, batch_sequence=number)
            number += 1
            await asyncio.sleep(max(0.0, begin + number * count / rate - time.monotonic()))

    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = events_pb2_grpc.EventServiceStub(channel)
        async for _ in stub.PublishEventStream(batches()):
            pass


def _event(number: int) -> events_pb2.Event:
    event = events_pb2.Event(
        id=uuid.uuid4().hex,
        type=events_pb2.EVENT_TYPE_LOG,
        source="bench",
        workflow_id=f"run-{number % 200}",
        severity=enums_pb2.SEVERITY_INFO if number % 50 else enums_pb2.SEVERITY_WARNING,
        message=f"step {number} of the import is through, 14 rows were left out",
        agent_id=f"agent-{number % 20}",
    )
    event.occur_time.FromNanoseconds(time.time_ns())
    return event


@asynccontextmanager
async def opened(browser: Browser, url: str) -> AsyncGenerator[tuple[Page, Any]]:
    """A page in a context of its own, without a cache, and its developer tools."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    session: Any = await context.new_cdp_session(page)
    await session.send("Performance.enable")
    try:
        await page.goto(url)
        yield page, session
    finally:
        await context.close()


async def heap_mb(session: Any) -> float:
    """What the page's objects take, after a full collection."""
    await session.send("HeapProfiler.collectGarbage")
    answer: dict[str, Any] = await session.send("Performance.getMetrics")
    metrics: list[dict[str, Any]] = answer["metrics"]
    return sum(float(each["value"]) for each in metrics if each["name"] == "JSHeapUsedSize") / 1e6


async def weights(browser: Browser, server: Server) -> list[list[str]]:
    """What a browser receives for each file, until every page was opened."""
    rows: dict[str, int] = {}
    async with opened(browser, f"http://{server.http}/") as (page, session):
        await session.send("Network.enable")
        await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        urls: dict[str, str] = {}

        def begun(each: dict[str, Any]) -> None:
            urls[each["requestId"]] = each["response"]["url"]

        def ended(each: dict[str, Any]) -> None:
            rows[urls.get(each["requestId"], "?")] = int(each["encodedDataLength"])

        session.on("Network.responseReceived", begun)
        session.on("Network.loadingFinished", ended)
        await page.reload()
        for view in ("monitoring", "workflows", "agents", "alerts", "events", "traces", "platform"):
            await page.goto(f"http://{server.http}/#/{view}")
            await (
                page.get_by_test_id(f"page-{view}")
                .or_(page.get_by_test_id("card-running-value"))
                .first.wait_for()
            )
    files = {url: size for url, size in rows.items() if url.endswith((".js", ".css", "/", ".html"))}
    named = [
        [url.rsplit("/", 1)[-1] or "index.html", f"{size / 1000:.1f} kB"]
        for url, size in sorted(files.items())
    ]
    return [*named, ["all", f"{sum(files.values()) / 1000:.1f} kB"]]


async def first_views(browser: Browser, server: Server, count: int) -> list[float]:
    """Seconds, sorted."""
    found: list[float] = []
    for _ in range(count):
        async with opened(browser, f"http://{server.http}/") as (page, _session):
            found.append(float(await page.evaluate(FIRST_VIEW)) / 1000)
    return sorted(found)


async def to_pixel(browser: Browser, server: Server, rate: int, seconds: float) -> list[str]:
    """One row: how late probes are drawn while the page follows that rate."""
    async with opened(browser, f"http://{server.http}/#/events") as (page, session):
        await page.get_by_test_id("event-list").wait_for()
        sent = Sent({})
        warm = asyncio.create_task(publish(server, rate, seconds + 3, sent))
        await page.get_by_test_id("event-row").first.wait_for()
        await asyncio.sleep(2)
        await page.evaluate(WATCH_PROBES)
        already = set(sent.probes)
        await warm
        await asyncio.sleep(1)
        drawn: dict[str, float] = await page.evaluate("() => window.probes")
        late = [
            (drawn[name] - at) / 1000
            for name, at in sent.probes.items()
            if name not in already and drawn.get(name)
        ]
        asked = len(sent.probes) - len(already)
        heap = await heap_mb(session)
    return [
        f"{rate:,}/s",
        milliseconds(percentile(late, 0.5)) if late else "none drawn",
        milliseconds(percentile(late, 0.99)) if late else "",
        f"{len(late)} of {asked}",
        f"{heap:.1f} MB",
    ]


async def frames(browser: Browser, server: Server, rows: int, seconds: float) -> list[str]:
    """One row: frames while that many rows are held and scrolled."""
    await publish(server, 20_000, rows / 20_000 * 1.1, Sent({}))
    async with opened(browser, f"http://{server.http}/#/events?range=24h") as (page, session):
        listed = page.get_by_test_id("event-list")
        await page.get_by_test_id("event-row").first.wait_for()
        held = 0
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while held < rows * 0.99 and time.monotonic() < deadline:
            await listed.evaluate(
                "(list) => { list.scrollTop = 0; list.dispatchEvent(new Event('scroll')); }"
            )
            held = int(await listed.get_attribute("data-rows") or 0)
            await page.wait_for_timeout(5)
        begun = await heap_mb(session)
        load = asyncio.create_task(publish(server, 1_000, seconds + 2, Sent({})))
        took: list[float] = await page.evaluate(SCROLL, seconds)
        await load
        heap = await heap_mb(session)
    return [
        f"{held:,}",
        milliseconds(percentile(took, 0.5) / 1000),
        milliseconds(percentile(took, 0.99) / 1000),
        milliseconds(max(took) / 1000),
        f"{sum(each > 50 for each in took)} of {len(took):,}",
        f"{begun:.1f} → {heap:.1f} MB",
    ]


async def hour(browser: Browser, server: Server, seconds: float) -> list[list[str]]:
    """Memory of page and server while 1,000 events come each second for so long, at its quarters."""
    rows: list[list[str]] = []
    async with opened(browser, f"http://{server.http}/#/events") as (page, session):
        listed = page.get_by_test_id("event-list")
        await listed.wait_for()
        sent = Sent({})
        load = asyncio.create_task(publish(server, 1_000, seconds, sent))
        for quarter in range(5):
            if quarter:
                await asyncio.sleep(seconds / 4)
            held = int(await listed.get_attribute("data-rows") or 0)
            figures = [f"{await heap_mb(session):.1f} MB", f"{server.rss_mib():.0f} MiB"]
            rows.append([f"{seconds / 240 * quarter:g}", f"{sent.events:,}", f"{held:,}", *figures])
        await load
    return rows


async def flower(browser: Browser, count: int) -> list[list[str]]:
    """Weight and first view of Flower's page of tasks, with a thousand of them."""
    with running_storage(with_redis=True, with_postgres=False) as storage:
        async with RunningFlower(storage, 1_000) as peer:
            await peer.feed(3_000, 0, 24)
            took: list[float] = []
            size = 0.0
            for _ in range(count):
                async with opened(browser, f"{peer.url}/tasks") as (page, _session):
                    await page.locator("#tasks-table tbody tr td").first.wait_for()
                    took.append(
                        await page.evaluate(
                            "() => new Promise((run) => requestAnimationFrame(() => run(performance.now())))"
                        )
                    )
                    size = await page.evaluate(PEER_WEIGHT)
    return [
        ["Flower: scripts, styles and page", f"{size / 1000:.1f} kB"],
        ["Flower: first rows, median", milliseconds(sorted(took)[count // 2] / 1000)],
    ]


async def measure(arguments: argparse.Namespace) -> None:
    """The dashboard in a real browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=browsers.found(), args=list(browsers.ARGUMENTS)
        )
        async with running_server(None) as server:
            print(provenance(f"Chromium {browser.version}"))
            print(
                table("What a browser receives", ["File", "Size"], await weights(browser, server))
            )
            first = await first_views(browser, server, arguments.views)
            figures = [milliseconds(first[len(first) // 2]), milliseconds(first[-1])]
            print(table("First view", ["Median", "Longest"], [figures]))
            rates = [int(each) for each in arguments.rates.split(",")]
            rows = [await to_pixel(browser, server, rate, arguments.seconds) for rate in rates]
            header = ["Rate", "Event → pixel p50", "p99", "Probes drawn", "Heap"]
            print(table("From published to drawn", header, rows))
            row = await frames(browser, server, arguments.rows, arguments.seconds)
            header = ["Rows held", "Frame p50", "p99", "Longest", "Over 50 ms", "Heap"]
            print(table("Frames while scrolling, 1,000 events/s", header, [row]))
            if arguments.hour:
                rows = await hour(browser, server, 3_600)
                header = [
                    "Minutes",
                    "Events",
                    "Rows held",
                    "Heap of the page",
                    "Memory of the server",
                ]
                print(table("An hour of 1,000 events/s", header, rows))
        if arguments.flower:
            print(table("A peer", ["What", "Figure"], await flower(browser, arguments.views)))
        await browser.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rates", default="100,1000")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--flower", action="store_true")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
