"""A graph for the demo, which knows LangGraph and nothing of Pilothouse: a glossary of a package of Python's own
library, made of the docstrings in it.

    survey ─▶ read, each module beside the others ─▶ merge ─▶ quote ─▶ edit (order ─▶ proof)

Its nodes are plain functions that ask no model. The proof is a sample: now and then it is taken from the entries that
are not good, then it is taken once more, and then the run fails; an operator who has it tried again may be luckier.
"""

from __future__ import annotations

import ast
import asyncio
import operator
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy, Send

from pilothouse_server.demo.library import Parser, modules_of

MOST_MODULES = 8
"""The largest of a package are read."""
SLICE = 8
"""Docstrings that are counted between two pauses; more of what has very many."""
MOST_SLICES = 12
WORDS = 60
"""Most frequent words of a module that are kept."""
TERMS = 10
SAMPLE = 2
"""Entries of which all have to be good."""
LONGEST_ENTRY = 140
PROOF = 2
"""How often a sample is taken before the run fails."""

_WORD = re.compile(r"[a-z]{5,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n")

Compiled = CompiledStateGraph[Any, Any, Any, Any]
Update = dict[str, object]
"""What a node adds to the state."""


class BadEntry(Exception):
    """An entry of the sample is nothing that one would print."""


class Page(TypedDict):
    """What was read of a module."""

    module: str
    path: str
    words: dict[str, int]


class Glossary(TypedDict):
    """What the nodes work on; each adds its part."""

    package: str
    modules: list[tuple[str, str]]
    pages: Annotated[list[Page], operator.add]
    terms: dict[str, str]
    """Each with the path of the module that uses it most."""
    entries: dict[str, str]


class Chapter(TypedDict):
    """What one reader is given."""

    module: str
    path: str


class Entries(TypedDict):
    """What is edited: each term with a sentence that has it."""

    entries: dict[str, str]


def glossary(checkpointer: BaseCheckpointSaver[Any], pause: float) -> Compiled:
    """The graph; its nodes pause for so many seconds between two pieces of work, so as not to heat the machine."""
    nodes = _Nodes(pause)
    # The types of its nodes are LangGraph's own, with parameters that no checker can infer.
    edit: Any = StateGraph(Entries)
    edit.add_node("order", nodes.order)
    retried = RetryPolicy(max_attempts=PROOF, initial_interval=1.0, retry_on=BadEntry)
    edit.add_node("proof", nodes.proof, retry_policy=retried)
    edit.add_edge(START, "order")
    edit.add_edge("order", "proof")
    edit.add_edge("proof", END)

    graph: Any = StateGraph(Glossary)
    graph.add_node("survey", nodes.survey)
    graph.add_node("read", nodes.read)
    graph.add_node("merge", nodes.merge)
    graph.add_node("quote", nodes.quote)
    graph.add_node("edit", edit.compile())
    graph.add_edge(START, "survey")
    graph.add_conditional_edges("survey", _to_readers, ["read"])
    graph.add_edge("read", "merge")
    graph.add_edge("merge", "quote")
    graph.add_edge("quote", "edit")
    graph.add_edge("edit", END)
    return cast("Compiled", graph.compile(checkpointer=checkpointer))


def _to_readers(state: Glossary) -> list[Send]:
    return [Send("read", Chapter(module=name, path=path)) for name, path in state["modules"]]


class _Nodes:
    """What is done in each."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._parser = Parser()

    async def survey(self, state: Glossary) -> Update:
        """Which modules are read."""
        await asyncio.sleep(self._pause)
        paths = modules_of(state["package"])
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:MOST_MODULES]
        await asyncio.sleep(self._pause)
        return {"modules": [(name, str(paths[name])) for name in largest]}

    async def read(self, chapter: Chapter) -> Update:
        """How often each word is in the docstrings of a module."""
        texts = await asyncio.to_thread(_docstrings, self._parser, chapter["path"])
        words: Counter[str] = Counter()
        for some in _slices(texts):
            await asyncio.sleep(self._pause)
            words.update(_WORD.findall(" ".join(some).lower()))
        page = Page(
            module=chapter["module"], path=chapter["path"], words=dict(words.most_common(WORDS))
        )
        return {"pages": [page]}

    async def merge(self, state: Glossary) -> Update:
        """The words that most modules have, and of these the most frequent."""
        await asyncio.sleep(self._pause)
        spread, total = Counter[str](), Counter[str]()
        for page in state["pages"]:
            spread.update(page["words"].keys())
            total.update(page["words"])
        terms = sorted(total, key=lambda word: (spread[word], total[word], word), reverse=True)
        await asyncio.sleep(self._pause)
        return {"terms": {term: _most_of(term, state["pages"]) for term in terms[:TERMS]}}

    async def quote(self, state: Glossary) -> Update:
        """For each term the shortest sentence that has it, from where it is used most."""
        entries: dict[str, str] = {}
        for term, path in state["terms"].items():
            await asyncio.sleep(self._pause)
            texts = await asyncio.to_thread(_docstrings, self._parser, path)
            entries[term] = _quotation(term, texts)
        return {"entries": entries}

    async def order(self, state: Entries) -> Update:
        """As in a dictionary."""
        await asyncio.sleep(self._pause)
        return {"entries": dict(sorted(state["entries"].items()))}

    async def proof(self, state: Entries) -> Update:
        """A sample of it; raises BadEntry."""
        entries = state["entries"]
        for term in random.sample(sorted(entries), min(SAMPLE, len(entries))):
            await asyncio.sleep(self._pause)
            sentence = entries[term]
            if not (sentence[:1].isupper() and sentence.endswith(".")):
                raise BadEntry(f"{term}: {sentence!r} is not a whole sentence")
            if len(sentence) > LONGEST_ENTRY:
                raise BadEntry(f"{term}: its sentence has {len(sentence)} characters")
        return {}


def _docstrings(parser: Parser, path: str) -> list[str]:
    tree = parser.parse(Path(path).read_text("utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return [text for text in texts if text]


def _slices(texts: list[str]) -> Iterator[list[str]]:
    size = max(SLICE, -(-len(texts) // MOST_SLICES))
    for start in range(0, len(texts), size):
        yield texts[start : start + size]


def _most_of(term: str, pages: Iterable[Page]) -> str:
    return max(pages, key=lambda page: page["words"].get(term, 0))["path"]


def _quotation(term: str, texts: Iterable[str]) -> str:
    sentences = (
        " ".join(sentence.split())
        for text in texts
        for sentence in _SENTENCE.split(text)
        if term in sentence.lower()
    )
    return min(sentences, key=lambda each: (len(each.split()) < 4, len(each)), default="")
