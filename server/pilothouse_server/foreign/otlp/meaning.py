"""What a span is by the conventions, from itself and its resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pilothouse_server.foreign.otlp import conventions as said
from pilothouse_server.foreign.otlp.attributes import name_of
from pilothouse_server.foreign.otlp.conventions import Outcome, Part
from pilothouse_server.foreign.otlp.reading import Origin
from pilothouse_server.wire.publishing import LARGEST_USAGE

_LONGEST_ID: Final = 256


class Standing(NamedTuple):
    """Where a span stands."""

    trace_id: str
    parent_id: str
    """"" for the root of the trace."""
    kind: Span.SpanKind.ValueType
    is_remote: bool = False
    """Whether what it hangs below is of another process."""


class Meaning(NamedTuple):
    """What a span is."""

    parts: Sequence[Part]
    """The whole before what it consists of."""
    workflow_id: str
    workflow_type: str = ""
    name: str = ""
    """Of the workflow, for people."""
    certain: bool = True
    """Whether it is the run wherever it stands; otherwise only the first of its trace is."""
    by_trace: bool = False
    """Whether the trace is the workflow, so that its root may be the run."""
    stage: str = ""
    task_id: str = ""
    """"" for its span id."""
    agent_id: str = ""
    agent_type: str = ""
    is_agent: bool = False
    """Whether the span is the agent's own, so that it shows when the agent is there."""
    outcome: Outcome | None = None
    """As the convention says it; None: as the status does."""
    input_tokens: int = 0
    output_tokens: int = 0


def meaning_of(texts: Mapping[str, str], origin: Origin, standing: Standing) -> Meaning | None:
    """None when it is no work. Texts are a span's attributes."""
    trace_id = standing.trace_id
    operation = said.OPERATIONS.get(texts.get(said.OPERATION, ""))
    if operation is not None:
        return _of_genai(texts, origin, operation, standing)
    if said.WORKFLOW_TYPE in texts:
        own_id = _workflow_id(texts, origin.resource, trace_id)
        return _run(texts, origin, own_id, texts[said.WORKFLOW_TYPE], by_trace=own_id == trace_id)
    if any(key in texts for key in said.PIPELINE_TASK):
        return _of_task_run(texts, origin, trace_id)
    of_root = not standing.parent_id and (
        said.PIPELINE_RUN_ID in origin.resource
        or any(key in texts for key in said.PIPELINE_OF_ROOT)
    )
    if of_root or any(key in texts for key in said.PIPELINE_OF_SPAN):
        return _of_pipeline_run(texts, origin, trace_id)
    return None


def owner_of(texts: Mapping[str, str], origin: Origin) -> str:
    """The workflow that a span which is no work belongs to, where it says so itself; "" where it does not."""
    resource = origin.resource
    return _workflow_id(texts, resource, "") or _id(
        texts.get(said.PIPELINE_RUN_ID) or resource.get(said.PIPELINE_RUN_ID, "")
    )


def _of_genai(
    texts: Mapping[str, str], origin: Origin, operation: said.Operation, standing: Standing
) -> Meaning:
    trace_id, parent_id, kind, is_remote = standing
    own_type = texts.get(said.WORKFLOW_TYPE, "")
    is_run = operation.is_run or bool(own_type) or not parent_id
    agent_id, agent_type = _first(texts, said.AGENT_ID), texts.get(said.AGENT_NAME, "")
    if operation.is_run:
        kind_of_run = own_type or _first(texts, said.RUN_NAME)
        agent_id = agent_type = ""
    else:
        kind_of_run = own_type or agent_type
    remote = texts[said.OPERATION] == said.AGENT and kind == Span.SPAN_KIND_CLIENT
    spends = operation.spends or remote
    workflow_id = _workflow_id(texts, origin.resource, trace_id)
    parts = [Part.WORKFLOW] if is_run else []
    if not operation.is_run:
        parts.append(Part.TASK)
    elif parent_id and not is_remote and not own_type and workflow_id == trace_id:
        # It ends before what it hangs below, and is heard of before: taken for the run, it would end that too early.
        parts = [Part.STAGE]
    return Meaning(
        parts,
        workflow_id,
        workflow_type=name_of(kind_of_run) or origin.source,
        name=name_of(_first(texts, said.RUN_NAME), 512),
        certain=bool(own_type) or not parent_id,
        by_trace=workflow_id == trace_id,
        agent_id=name_of(agent_id),
        agent_type=name_of(agent_type or agent_id),
        is_agent=bool(agent_id) and texts[said.OPERATION] == said.AGENT,
        input_tokens=_count(_first(texts, said.INPUT_TOKENS)) if spends else 0,
        output_tokens=_count(_first(texts, said.OUTPUT_TOKENS)) if spends else 0,
    )


def _run(
    texts: Mapping[str, str], origin: Origin, workflow_id: str, kind: str, *, by_trace: bool
) -> Meaning:
    return Meaning(
        (Part.WORKFLOW,),
        workflow_id,
        workflow_type=name_of(kind) or origin.source,
        by_trace=by_trace,
        outcome=said.RESULTS.get(texts.get(said.PIPELINE_RESULT, "")),
    )


def _of_pipeline_run(texts: Mapping[str, str], origin: Origin, trace_id: str) -> Meaning:
    both = {**origin.resource, **texts}
    kind = both.get(said.PIPELINE_NAME, "")
    return _run(texts, origin, _run_id(both, trace_id), kind, by_trace=False)


def _of_task_run(texts: Mapping[str, str], origin: Origin, trace_id: str) -> Meaning:
    both = {**origin.resource, **texts}
    worker = _first(both, said.WORKER)
    return Meaning(
        (Part.TASK,),
        _run_id(both, trace_id),
        stage=name_of(texts.get(said.PIPELINE_TASK_TYPE, "")),
        task_id=_id(texts.get(said.PIPELINE_TASK_ID, "")),
        agent_id=name_of(worker),
        agent_type=said.WORKER_TYPE if worker else "",
        is_agent=bool(worker),
        outcome=said.RESULTS.get(texts.get(said.PIPELINE_TASK_RESULT, "")),
    )


def _run_id(both: Mapping[str, str], trace_id: str) -> str:
    return (
        _id(both.get(said.WORKFLOW_ID, "")) or _id(both.get(said.PIPELINE_RUN_ID, "")) or trace_id
    )


def _workflow_id(texts: Mapping[str, str], resource: Mapping[str, str], trace_id: str) -> str:
    own = texts.get(said.WORKFLOW_ID) or resource.get(said.WORKFLOW_ID, "")
    return _id(own) or trace_id


def _id(text: str) -> str:
    """ "" for what cannot be an id: a shortened one would be another's."""
    return text if text.isprintable() and len(text.encode()) <= _LONGEST_ID else ""


def _first(texts: Mapping[str, str], keys: Sequence[str]) -> str:
    for key in keys:
        if found := texts.get(key):
            return found
    return ""


def _count(text: str) -> int:
    return min(int(text), LARGEST_USAGE) if text.isdecimal() and len(text) < 20 else 0
