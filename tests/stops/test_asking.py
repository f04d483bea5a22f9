"""What people may ask of emergency stops: confirmed, in the right state, known by its request id, and on record."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.domain.commands import Scope
from pilothouse_server.domain.errors import (
    EtagMismatch,
    InvalidPageToken,
    LimitExceeded,
    NotConfirmed,
    NotFound,
    PilothouseError,
    RequestIdReused,
    WrongState,
)
from pilothouse_server.domain.stops import Kind, Stage, Stop, StopState
from pilothouse_server.domain.stops import Scope as About
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.retention import Cut
from pilothouse_server.services.retention import Kind as Kept
from pilothouse_server.services.stop_ports import StopView
from pilothouse_server.services.stops import MOST_OPEN, StopRequest
from pilothouse_server.services.watch import CaughtUp, Items, watch
from tests.stops.conftest import ABLE, Fleet

ASKED = StopRequest("ana", "fire", stage=Stage.PAUSE_ALL, confirmation="PAUSE ALL")


async def test_only_the_typed_word_of_the_stage_confirms(fleet: Fleet) -> None:
    for word in ("", "pause all", "CANCEL ALL"):
        with pytest.raises(NotConfirmed) as refused:
            await fleet.stops.start(replace(ASKED, confirmation=word))
        assert refused.value.expected == "PAUSE ALL"
    stop = await fleet.stop(Stage.HOLD_NEW)
    further = StopRequest("ana", "more", stop.id, Stage.CANCEL_ALL, confirmation="HOLD NEW")
    with pytest.raises(NotConfirmed):
        await fleet.stops.escalate(further)
    assert (await fleet.now(stop)).stage == Stage.HOLD_NEW


async def test_a_repeat_of_a_request_is_the_same_stop_and_changes_nothing_more(
    fleet: Fleet,
) -> None:
    asked = replace(ASKED, request_id=str(uuid.uuid4()))
    first = await fleet.stops.start(asked)
    assert (await fleet.stops.start(asked)).stop == first.stop
    with pytest.raises(RequestIdReused):
        await fleet.stops.start(replace(asked, reason="water"))
    release = StopRequest("ben", "over", first.stop.id, request_id=str(uuid.uuid4()))
    released = await fleet.stops.release(release)
    fleet.step(5)
    assert (await fleet.stops.release(release)).stop.release_us == released.stop.release_us
    stops, _ = await fleet.stops.page(10, "", released=True)
    assert len(stops) == 1


async def test_what_cannot_be_asked_now_is_refused_by_name(fleet: Fleet) -> None:
    stop = await fleet.stop(Stage.PAUSE_ALL)
    again = StopRequest("ana", "more", stop.id, Stage.PAUSE_ALL, confirmation="PAUSE ALL")
    less = replace(again, stage=Stage.DRAIN, confirmation="DRAIN")
    for request in (again, less):
        with pytest.raises(WrongState):
            await fleet.stops.escalate(request)
    await fleet.release(stop)
    for refused in (fleet.stops.release, fleet.stops.escalate):
        with pytest.raises(WrongState) as error:
            await refused(replace(again, stage=Stage.CANCEL_ALL, confirmation="CANCEL ALL"))
        assert error.value.state == "RELEASING"
    with pytest.raises(NotFound):
        await fleet.stops.release(StopRequest("ana", "x", "nobody"))
    with pytest.raises(NotFound):
        await fleet.stops.targets("nobody", (), 10, "")


async def test_of_two_operators_the_second_is_told_that_it_changed(fleet: Fleet) -> None:
    stop = await fleet.stop(Stage.HOLD_NEW)
    await fleet.escalate(stop, Stage.PAUSE_ALL)
    with pytest.raises(EtagMismatch):
        await fleet.stops.release(StopRequest("ben", "over", stop.id, etag=stop.etag))
    assert (await fleet.now(stop)).state == StopState.ACTIVE


async def test_every_act_and_every_refusal_is_on_record(fleet: Fleet) -> None:
    with pytest.raises(NotConfirmed):
        await fleet.stops.start(replace(ASKED, confirmation="?"))
    await fleet.works("w")
    stop = await fleet.stop(Stage.HOLD_NEW)
    fleet.step(1)
    await fleet.escalate(stop, Stage.PAUSE_ALL)
    await fleet.all_obey()
    await fleet.release(stop)
    await fleet.all_obey()
    found = await fleet.recorded()
    ours = {verb: count for verb, count in found.items() if verb.startswith("emergency_stop")}
    assert ours == {
        "emergency_stop.start 2": 1,
        "emergency_stop.start 1": 1,
        "emergency_stop.escalate 1": 1,
        "emergency_stop.escalate 3": 1,
        "emergency_stop.release 1": 1,
        "emergency_stop.release 3": 1,
    }
    assert found["workflow.pause 1"] == found["workflow.resume 1"] == 1
    said = [each for each in await fleet.said() if not each.startswith("COMMAND")]
    for what in ("hold_new", "pause_all", "pause_all-quiet", "release", "released"):
        assert said.count(what) == 1, said


async def test_there_is_a_limit_to_stops_in_force(fleet: Fleet) -> None:
    for _ in range(MOST_OPEN):
        await fleet.stop(Stage.HOLD_NEW)
    with pytest.raises(LimitExceeded):
        await fleet.stop(Stage.HOLD_NEW)


async def test_a_preview_counts_what_would_be_asked_and_names_what_could_not(
    fleet: Fleet,
) -> None:
    await fleet.engine("still", connected=False)
    await fleet.engine("poor", [each for each in ABLE if each.scope != Scope.RUN])
    await fleet.works("a", "b", kind="bugfix")
    await fleet.works("c", source="poor")
    await fleet.works("d", source="still")
    await fleet.agent("agent")
    await fleet.ask(Action.PAUSE, "b")
    await fleet.obey()
    preview = await fleet.stops.preview(Stage.PAUSE_ALL, About())
    assert preview.asked == {Kind.ENGINE: 2, Kind.AGENT: 0, Kind.WORKFLOW: 1}
    named = {target.id: target.error.code for target in preview.not_able if target.error}
    assert named == {
        "c": "UNSUPPORTED_BY_ENGINE", "d": "NO_EXECUTOR", "still": "NO_EXECUTOR",
    }  # fmt: skip
    assert preview.not_able_count == 3
    assert (await fleet.stops.preview(Stage.CANCEL_ALL, About())).asked[Kind.WORKFLOW] == 2
    narrow = await fleet.stops.preview(Stage.DRAIN, About(workflow_type="bugfix"))
    assert (narrow.asked[Kind.AGENT], narrow.asked[Kind.WORKFLOW]) == (0, 0)
    assert (await fleet.stops.preview(Stage.DRAIN, About())).asked[Kind.AGENT] == 1
    assert await fleet.commands() == (await fleet.commands())[:1]


async def test_lists_come_in_pages_and_leave_out_what_is_over(fleet: Fleet) -> None:
    stops: list[Stop] = []
    for _ in range(3):
        fleet.step(1)
        stops.append(await fleet.stop(Stage.HOLD_NEW))
    await fleet.works(*(f"w{n}" for n in range(5)))
    await fleet.escalate(stops[0], Stage.PAUSE_ALL)
    await fleet.release(stops[2])
    await fleet.all_obey()
    first, token = await fleet.stops.page(1, "", released=False)
    rest, end = await fleet.stops.page(5, token, released=False)
    assert [view.stop.id for view in [*first, *rest]] == [stops[1].id, stops[0].id]
    assert end == ""
    with pytest.raises(InvalidPageToken):
        await fleet.stops.page(1, token, released=True)
    found: list[str] = []
    token = ""
    while True:
        some, token = await fleet.stops.targets(stops[0].id, (), 2, token)
        found += [target.id for target in some]
        if not token:
            break
    assert found == ["e", "w0", "w1", "w2", "w3", "w4"]


async def test_a_watch_begins_with_what_is_not_over_and_goes_on_from_any_token(
    fleet: Fleet,
) -> None:
    over = await fleet.stop(Stage.HOLD_NEW)
    await fleet.release(over)
    await fleet.all_obey()
    stop = await fleet.stop(Stage.HOLD_NEW)

    async def seen(token: str) -> tuple[list[StopView], str]:
        found: list[StopView] = []
        source = fleet.stops.follow(not token)
        async for update in watch(source, fleet.changes, token, backlog=0):
            match update:
                case Items():
                    found += [view for _, view in update.items]
                case CaughtUp():
                    return found, update.token
                case _:
                    raise AssertionError(update)
        raise AssertionError("it ended")

    first, token = await seen("")
    assert [view.stop.id for view in first] == [stop.id]
    await fleet.release(stop)
    await fleet.all_obey()
    later, _ = await seen(token)
    assert [(view.stop.id, view.stop.state.name) for view in later] == [(stop.id, "RELEASED")]


async def test_stops_that_are_over_are_forgotten_with_their_commands(fleet: Fleet) -> None:
    kept, gone = await fleet.stop(), await fleet.stop()
    await fleet.release(gone)
    await fleet.all_obey()
    fleet.step(100)
    retention = SqlRetention(fleet.database)
    await retention.remove(Kept.COMMANDS, Cut(fleet.clock.us, fleet.clock.us), 100)
    with pytest.raises(PilothouseError):
        await fleet.view(gone)
    assert (await fleet.view(kept)).stop.state == StopState.ACTIVE
    # What it holds is known without the commands that were removed.
    await fleet.release(kept)
    await fleet.all_obey()
    assert (await fleet.targets(kept))["e"] == "RELEASED"
