"""A small agent for the demo, which knows OpenTelemetry and nothing of Pilothouse: a librarian who answers questions
about Python's own library.

It plans, looks up which modules a package has, and has a reader take each of them; what that finds is counted, and
the answer is in the span of the whole. No model is asked. Spans are named as the conventions for GenAI want it. Some
of what a package is made of is written in C: to read that fails, and a question about nothing else cannot be answered.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from opentelemetry.trace import Span, Tracer

from pilothouse_server.demo.library import PACKAGES, Parser, modules_of

BOOKS = (*PACKAGES, "math")
"""What can be asked about; the last is a package of which there is nothing to read."""
READERS = 2
"""Modules that are read at once."""
MOST_MODULES = 6
SLICE = 12
"""Functions that are measured between two pauses."""
_ACCELERATOR = re.compile(r"^\s*(?:from|import) (_[a-z]\w*)", re.MULTILINE)

Attributes = dict[str, str]
Modules = dict[str, Path | None]
"""Modules by their names; None where nobody knows yet in what file one is."""


class NoSource(Exception):
    """What was to be read is not written in Python."""


class NothingRead(Exception):
    """There is nothing to answer from."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is in a module."""

    module: str
    functions: dict[str, int] = field(default_factory=dict[str, int])
    """Their lines, by name."""
    imports: Counter[str] = field(default_factory=Counter[str])


Readings = list[Reading]


def _longest_function(readings: Readings) -> str:
    lines, name = max(
        (lines, f"{each.module}.{name}")
        for each in readings
        for name, lines in each.functions.items()
    )
    return f"{name}, with {lines} lines"


def _most_functions(readings: Readings) -> str:
    most = max(readings, key=lambda each: len(each.functions))
    return f"{most.module}, with {len(most.functions)}"


def _most_imported(readings: Readings) -> str:
    total = sum((each.imports for each in readings), Counter[str]())
    ((name, count),) = total.most_common(1)
    return f"{name}, by {count} of {len(readings)} modules"


QUESTIONS: dict[str, Callable[[Readings], str]] = {
    "longest-function": _longest_function,
    "most-functions": _most_functions,
    "most-imported": _most_imported,
}
"""Which function is the longest, which module has the most, which is imported by the most."""


class Librarian:
    """`rest` is awaited between two pieces of work, so that they do not heat the machine; what it raises ends a run."""

    def __init__(self, tracer: Tracer, rest: Callable[[], Awaitable[None]]) -> None:
        self._tracer = tracer
        self._rest = rest
        self._parser = Parser()

    async def ask(self, question: str, package: str) -> str:
        """One of QUESTIONS about a package. Raises NothingRead."""
        asked = {"gen_ai.workflow.name": question, "library.package": package}
        with self._span("invoke_workflow", question, asked) as run:
            with self._span("invoke_agent", "librarian", {"gen_ai.agent.name": "librarian"}):
                modules = await self._retrieve(package, await self._plan(package))
                readings = await self._read_all(modules)
                if not any(each.functions and each.imports for each in readings):
                    raise NothingRead(f"nothing of {package} can be read")
                answer = QUESTIONS[question](readings)
            run.set_attribute("gen_ai.output.messages", _said(answer))
        return answer

    async def _plan(self, package: str) -> Modules:
        """The largest modules of a package, because most of what is in it is in these."""
        with self._span("plan", "librarian", {"gen_ai.agent.name": "librarian"}) as span:
            await self._rest()
            paths = modules_of(package)
            sizes = {name: path.stat().st_size for name, path in paths.items()}
            await self._rest()
            largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:MOST_MODULES]
            span.set_attribute("library.modules", largest)
            return {name: paths[name] for name in largest}

    async def _retrieve(self, package: str, modules: Modules) -> Modules:
        """Beside the modules those that do a part of their work; without modules the package itself."""
        source_of = {"gen_ai.data_source.id": package, "gen_ai.agent.name": "librarian"}
        with self._span("retrieval", "standard-library", source_of):
            found = modules or {package: None}
            for module, path in modules.items():
                await self._rest()
                source = await asyncio.to_thread(_source_of, module, path)
                helpers = _ACCELERATOR.findall(source)
                found = dict.fromkeys(helpers[:1]) | found
            return found

    async def _read_all(self, modules: Modules) -> Readings:
        """What could be read of them."""
        agent = {"gen_ai.agent.name": "reader"}
        with self._span("invoke_agent", "reader", agent):
            todo = iter(modules.items())
            readers = [self._read_some(todo) for _ in range(READERS)]
            # Each to its end, so that no span ends after the one that it is in.
            results = await asyncio.gather(*readers, return_exceptions=True)
            readings: Readings = []
            for result in results:
                if isinstance(result, BaseException):
                    raise result
                readings += result
            return readings

    async def _read_some(self, todo: Iterator[tuple[str, Path | None]]) -> Readings:
        readings: Readings = []
        for module, path in todo:
            try:
                readings.append(await self._read(module, path))
            except (NoSource, SyntaxError, UnicodeError):
                # Its span says so; the answer is made of the rest.
                continue
        return readings

    async def _read(self, module: str, path: Path | None) -> Reading:
        tool = {
            "gen_ai.tool.name": "read_module",
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.arguments": json.dumps({"module": module}),
            "gen_ai.agent.name": "reader",
        }
        with self._span("execute_tool", "read_module", tool):
            await self._rest()
            source = await asyncio.to_thread(_source_of, module, path)
            tree = await asyncio.to_thread(self._parser.parse, source)
            reading = Reading(module, imports=_imports(tree))
            for number, node in enumerate(ast.walk(tree)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    reading.functions[node.name] = max(lines, reading.functions.get(node.name, 0))
                    if len(reading.functions) % SLICE == 0:
                        await self._rest()
                elif number % 5000 == 0:
                    await asyncio.sleep(0)
            return reading

    def _span(
        self, operation: str, name: str, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(
            f"{operation} {name}", attributes={"gen_ai.operation.name": operation, **attributes}
        )


def _source_of(module: str, path: Path | None) -> str:
    if path is None:
        spec = find_spec(module)
        if spec is None:
            raise NoSource(f"{module} is not part of this Python")
        if not (spec.has_location and str(spec.origin).endswith(".py")):
            raise NoSource(f"{module} is not written in Python: it is {spec.origin}")
        path = Path(str(spec.origin))
    return path.read_text("utf-8")


def _imports(tree: ast.Module) -> Counter[str]:
    """Modules that one imports, each once."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return Counter(names)


def _said(answer: str) -> str:
    part = {"type": "text", "content": answer}
    return json.dumps([{"role": "assistant", "parts": [part], "finish_reason": "stop"}])
