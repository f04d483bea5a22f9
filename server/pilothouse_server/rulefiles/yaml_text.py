"""YAML with the line of every value, bounded: what a rule file may be made of.

Scalars mean what YAML 1.2 says (`yes` and `1:30` are texts); anchors, aliases and tags are refused, and so is a key
that comes twice. The tree is built from the parser's events, without recursion over what somebody else wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

MOST_BYTES = 1024 * 1024
MOST_DEEP = 32
"""Lists and mappings in one another."""

# libyaml reads a file of 1 MiB in the time in which the parser in Python reads 50 KiB.
_LOADER: type = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class Refused(Exception):
    """What is wrong with a file, and in which line."""

    def __init__(self, line: int, description: str) -> None:
        super().__init__(f"line {line}: {description}")
        self.line = line
        self.description = description


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar as it was written."""

    text: str
    line: int
    plain: bool
    """Not in quotes, so that it may be a number."""
    literal: bool = False
    """After `|`: its first line is the one below, and its lines are those of the file."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    items: list[Node] = field(default_factory=list["Node"])


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping of texts; `lines` are those of its keys."""

    line: int
    entries: dict[str, Node] = field(default_factory=dict[str, "Node"])
    lines: dict[str, int] = field(default_factory=dict[str, int])


Node = Text | Items | Entries


def parse(text: str) -> Node:
    """The one document in it. Raises Refused."""
    if (size := len(text.encode(errors="surrogatepass"))) > MOST_BYTES:
        raise Refused(1, f"the file has {size:,} bytes; {MOST_BYTES:,} are read at most")
    try:
        return _built(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Refused(mark.line + 1 if mark else 1, f"no YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Refused(line, "no YAML: a character that cannot be printed") from error
    except UnicodeEncodeError as error:
        raise Refused(1, "no YAML: half a character") from error


def _built(events: Iterator[yaml.Event]) -> Node:
    root: Node | None = None
    above: list[Items | Entries] = []
    keys: list[Text | None] = []
    """For each open mapping the key whose value comes next."""
    for event in events:
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            above.pop()
            keys.pop()
            continue
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise Refused(_line(event), "a second document begins; a file has one")
        if not isinstance(event, yaml.NodeEvent):
            continue
        node = _node_of(event)
        if above:
            _put(above[-1], keys, node)
        else:
            root = node
        if not isinstance(node, Text):
            if len(above) == MOST_DEEP:
                raise Refused(node.line, f"more than {MOST_DEEP} lists and mappings in one another")
            above.append(node)
            keys.append(None)
    if root is None:
        raise Refused(1, "the file is empty")
    return root


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _node_of(event: yaml.NodeEvent) -> Node:
    line = _line(event)
    if isinstance(event, yaml.AliasEvent):
        raise Refused(line, f"the alias *{event.anchor} is not taken here; write it out")
    if event.anchor:
        raise Refused(line, f"the anchor &{event.anchor} is not taken here; write it out")
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
        raise Refused(line, f"the tag {event.tag} is not taken here")
    if isinstance(event, yaml.ScalarEvent):
        return Text(event.value, line, bool(event.implicit[0]), event.style == "|")
    return Items(line) if isinstance(event, yaml.SequenceStartEvent) else Entries(line)


def _put(into: Items | Entries, keys: list[Text | None], node: Node) -> None:
    if isinstance(into, Items):
        into.items.append(node)
        return
    key = keys[-1]
    if key is None:
        if not isinstance(node, Text):
            raise Refused(node.line, "a key is a text, not a list or a mapping")
        if node.text in into.entries:
            raise Refused(node.line, f"{node.text!r} comes twice")
        keys[-1] = node
        return
    into.entries[key.text] = node
    into.lines[key.text] = key.line
    keys[-1] = None


_WHOLE = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?", re.ASCII)
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def scalar(node: Text) -> object:
    """What it means: a text, a number, true, false or nothing, by the core schema of YAML 1.2."""
    text = node.text
    if not node.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    if found := _SPECIAL.fullmatch(text):
        return float("nan") if found[3] else float(f"{found[1]}inf")
    return text


def plain(node: Node) -> object:
    """The whole tree as texts, numbers, lists and mappings."""
    match node:
        case Text():
            return scalar(node)
        case Items():
            return [plain(each) for each in node.items]
        case Entries():
            return {key: plain(each) for key, each in node.entries.items()}


class _Dumper(yaml.SafeDumper):
    """Writes so that readers of YAML 1.1 and of 1.2 read the same."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _text_node(_dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    misread = not isinstance(scalar(Text(text, 0, plain=True)), str)
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style='"' if misread else None)


_Dumper.add_representer(str, _text_node)


def write(document: object) -> str:
    """The document in block style, keys in the order they have."""
    return yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=False,
    )
