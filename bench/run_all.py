"""Every measurement, one after another, each in a process of its own: `make bench`.

`--quick` makes each short: to see that they run, not for figures.
"""

from __future__ import annotations

import subprocess
import sys

ON_SERVERS = ["--redis", "--postgres"]
COMMANDS: list[tuple[str, list[str], list[str]]] = [
    ("bench.fold", [], ["--events", "100000", "--sizes", "100000"]),
    ("bench.alert_engine", [], ["--sizes", "10000", "--ticks", "5"]),
    ("bench.redis_log", [], ["--events", "20000"]),
    ("bench.latency", [], ["--seconds", "5", "--rates", "100,1000"]),
    ("bench.latency", ON_SERVERS, ["--seconds", "5", "--rates", "100,1000"]),
    ("bench.reads", [], ["--seconds", "5"]),
    ("bench.reads", ON_SERVERS, ["--seconds", "5"]),
    ("bench.broadcast", [], ["--seconds", "21"]),
    ("bench.broadcast", ON_SERVERS, ["--seconds", "21"]),
    ("bench.event_query", [], ["--events", "20000", "--calls", "5"]),
    ("bench.event_query", ["--postgres"], ["--events", "20000", "--calls", "5"]),
    ("bench.event_watchers", [], ["--watchers", "100", "--rates", "500", "--seconds", "3"]),
    ("bench.ws_fanout", [], ["--clients", "500", "--rounds", "3", "--interval", "1"]),
    ("bench.projector", [], ["--events", "10000"]),
    ("bench.pipeline", ["--embedded"], ["--seconds", "5", "--rate", "3000"]),
    ("bench.pipeline", [], ["--seconds", "5", "--rate", "3000"]),
    ("bench.flower", [], ["--events", "6000", "--rates", "1000", "--seconds", "3"]),
    ("bench.celery_control", [], ["--rounds", "3", "--tasks", "50"]),
    ("bench.failover", [], ["--kills", "2"]),
    ("bench.catch_up", [], ["--events", "30000"]),
    ("bench.retention", [], ["--events", "20000", "--seconds", "3"]),
    ("bench.retention", [], ["--events", "10000", "--seconds", "3"]),
    ("bench.alert_latency", [], ["--probes", "20"]),
    ("bench.alert_latency", ON_SERVERS, ["--probes", "20"]),
    ("bench.alert_lists", [], ["--alerts", "20000", "--calls", "10"]),
    ("bench.alert_lists", ["--postgres"], ["--alerts", "20000", "--calls", "10"]),
    ("bench.alert_eval", [], ["--seconds", "5"]),
    ("bench.alert_storm", [], ["--rules", "2", "--agents", "200"]),
    ("bench.alert_storm", ON_SERVERS, ["--rules", "2", "--agents", "200"]),
    ("bench.backtest", [], ["--series", "10", "--hours", "3"]),
    ("bench.control", [], ["--controls", "20"]),
    ("bench.control", ON_SERVERS, ["--controls", "20"]),
    ("bench.workflow_lists", [], ["--workflows", "20000", "--calls", "10"]),
    ("bench.workflow_lists", ["--postgres"], ["--workflows", "20000", "--calls", "10"]),
    ("bench.batch", [], ["--workflows", "1000"]),
    ("bench.batch", ON_SERVERS, ["--workflows", "1000"]),
    ("bench.emergency_stop", [], ["--workflows", "100"]),
    ("bench.otlp", [], ["--spans", "10000"]),
    ("bench.trace_analysis", [], ["--spans", "5000", "--runs", "1000", "--calls", "3"]),
    ("bench.trace_analysis", ["--postgres"], ["--runs", "1000", "--calls", "3"]),
    ("bench.gantt", [], ["--spans", "5000", "--seconds", "2", "--views", "1"]),
    ("bench.footprint", [], ["--seconds", "5", "--rate", "3000"]),
]
"""The module, its arguments, and what makes it quick."""


def main() -> None:
    """The command. One that fails does not keep the others from being measured; it is named at the end."""
    quick = "--quick" in sys.argv[1:]
    failed: list[str] = []
    for module, arguments, quicker in COMMANDS:
        words = [module, *arguments, *(quicker if quick else [])]
        print(f"\n$ python -m {' '.join(words)}", flush=True)
        if subprocess.run([sys.executable, "-m", *words], check=False).returncode:
            failed.append(" ".join(words))
    if failed:
        sys.exit(f"\nThese failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
