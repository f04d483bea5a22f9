"""A trace of many spans in a real Chromium: how soon it is drawn, how long frames take while it is zoomed and scrolled.

    python -m bench.gantt [--spans 50000] [--seconds 5]

*Opened*: from the navigation to the frame in which all spans are there, with the server that reads, joins and sends
them; the page draws what has come meanwhile, and *the page's part* is how long it was busy itself. *Drawing*: what one
drawing of the canvas takes of a frame. *Frames*: the time from one to the next while something changes in each of them;
a display of 60 Hz gives 16.7 ms. *Folded* and *unfolded*: from the key to the end of the frame that shows it, all rows
anew.

Of peers there are only figures from long ago: Jaeger's page was busy for about 3 s with 10,000 spans whose data was
there already (jaegertracing/jaeger-ui#256, 2018), and did not open 40,000 (jaegertracing/jaeger#2183, 2020).

The spans come as OpenTelemetry's do, in a tree of twelve under each. Server, browser and its drawing in software share
the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from playwright.async_api import Page, async_playwright

from bench.process import Server, running_server
from bench.report import milliseconds, percentile, provenance, table
from pilothouse.v1 import events_pb2, events_pb2_grpc
from tests import browsers
from tests.support import wait_until

TRACE = "5" * 32
BATCH = 1_000
BRANCHES = 12
LONG_SECONDS = 600.0
PATIENCE_MS = 180_000

OPENED = """(spans) => new Promise((resolve) => {
  const all = () => Number(document.querySelector('[data-testid=trace]')?.dataset.spans) >= spans;
  const look = () => all() ? requestAnimationFrame(() => resolve(performance.now())) : requestAnimationFrame(look);
  look();
})"""

EACH_FRAME = """([seconds, what]) => new Promise((resolve) => {
  const gantt = document.querySelector('[data-testid=gantt]');
  const rows = document.querySelector('.spans');
  const box = gantt.getBoundingClientRect();
  const zoom = (out) => gantt.dispatchEvent(new WheelEvent('wheel', {
    deltaY: out ? 60 : -60, ctrlKey: true, clientX: box.left + box.width / 3, clientY: box.top + 200,
    bubbles: true, cancelable: true,
  }));
  const frames = [], paints = [];
  const begin = performance.now();
  let before = begin, count = 0;
  const step = (now) => {
    frames.push(now - before);
    paints.push(Number(gantt.dataset.paintMs));
    before = now;
    count++;
    if (what === 'zoom') zoom(Math.floor(count / 60) % 2 === 1);
    else rows.scrollTop += 720;
    if (now - begin < seconds * 1000) requestAnimationFrame(step); else resolve([frames.slice(1), paints.slice(1)]);
  };
  requestAnimationFrame(step);
})"""

PRESSED = """(key) => new Promise((resolve) => {
  const tree = document.querySelector('[data-testid=span-tree]');
  const begin = performance.now();
  tree.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - begin)));
})"""


def span_events(count: int) -> list[events_pb2.Event]:
    """Ends of spans, each with how long it took."""
    chance = random.Random(1)
    began = time.time() - LONG_SECONDS - 60
    found: list[events_pb2.Event] = []
    for number in range(count):
        start = chance.random() * LONG_SECONDS * 0.9 if number else 0.0
        length = chance.random() * LONG_SECONDS * 0.05 if number else LONG_SECONDS
        event = events_pb2.Event(
            id=f"otel:{TRACE}:{number:016x}:e",
            type=events_pb2.EVENT_TYPE_SPAN_ENDED,
            source=f"service-{number % 20}",
            trace_id=TRACE,
            span_id=f"{number + 1:016x}",
            parent_span_id=f"{(number - 1) // BRANCHES + 1:016x}" if number else "",
            message=f"operation {number % 300}",
        )
        event.occur_time.FromMicroseconds(round((began + start + length) * 1e6))
        event.duration.FromMicroseconds(round(length * 1e6))
        found.append(event)
    return found


async def publish(server: Server, events: list[events_pb2.Event]) -> None:
    """All of them, as fast as they are taken; returns when they are stored."""

    async def batches() -> AsyncIterator[events_pb2.PublishEventStreamRequest]:
        for number, begin in enumerate(range(0, len(events), BATCH)):
            yield events_pb2.PublishEventStreamRequest(
                events=events[begin : begin + BATCH], batch_sequence=number
            )

    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = events_pb2_grpc.EventServiceStub(channel)
        async for _ in stub.PublishEventStream(batches()):
            pass

        async def stored() -> bool:
            return int((await stub.CountEvents(events_pb2.CountEventsRequest())).total) >= len(
                events
            )

        await wait_until(stored, within=120, what="all events in rows")


async def opened(page: Page, url: str, spans: int) -> tuple[float, float]:
    """Seconds until all is drawn, and those in which the page was busy."""
    session: Any = await page.context.new_cdp_session(page)
    await page.goto("about:blank")
    await session.send("Performance.enable")
    before = await busy(session)
    await page.goto(url)
    took = float(await page.evaluate(OPENED, spans)) / 1000
    work = await busy(session) - before
    await session.detach()
    return took, work


async def busy(session: Any) -> float:
    """Seconds that the page has worked."""
    answer: dict[str, Any] = await session.send("Performance.getMetrics")
    metrics: list[dict[str, Any]] = answer["metrics"]
    return sum(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")


async def watched(page: Page, seconds: float, what: str) -> list[str]:
    """One row of figures while something changes in each frame."""
    found: list[list[float]] = await page.evaluate(EACH_FRAME, [seconds, what])
    frames, paints = found
    return [
        what,
        milliseconds(percentile(paints, 0.5) / 1000),
        milliseconds(percentile(paints, 0.99) / 1000),
        milliseconds(percentile(frames, 0.5) / 1000),
        milliseconds(percentile(frames, 0.99) / 1000),
        milliseconds(max(frames) / 1000),
        f"{sum(each > 50 for each in frames)} of {len(frames):,}",
    ]


async def measure(arguments: argparse.Namespace) -> None:
    """A trace of many spans in a real browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=browsers.found(), args=list(browsers.ARGUMENTS)
        )
        async with running_server(None) as server:
            print(provenance(f"Chromium {browser.version}"))
            await publish(server, span_events(arguments.spans))
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(PATIENCE_MS)
            url = f"http://{server.http}/#/traces?open={TRACE}"
            views = [await opened(page, url, arguments.spans) for _ in range(1 + arguments.views)]
            rows = [await watched(page, arguments.seconds, what) for what in ("zoom", "scroll")]
            keys = [float(await page.evaluate(PRESSED, key)) / 1000 for key in "[]"]
        await browser.close()
    again = sorted(views[1:])[len(views[1:]) // 2]
    header = ["Spans", "Opened first", "Again", "The page's part", "All folded", "All unfolded"]
    figures = [f"{arguments.spans:,}", *map(milliseconds, (views[0][0], *again, *keys))]
    print(table("One trace", header, [figures]))
    header = ["While", "Drawing p50", "p99", "Frame p50", "p99", "Longest", "Over 50 ms"]
    print(table("Frames", header, rows))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--spans", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--views", type=int, default=3)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
