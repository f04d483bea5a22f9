"""The Agents and Platform pages in a real browser, on a real server, with an engine that has agents."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, expect

from pilothouse.executor import CommandRefused, Executor
from pilothouse.v1.commands_pb2 import Command, CommandScope
from pilothouse.v1.enums_pb2 import ControlAction
from tests.e2e.keyboard import go
from tests.e2e.support import PATIENCE, Pilothouse
from tests.support import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("agents and platform")]

POOL, FLEET = CommandScope.COMMAND_SCOPE_POOL, CommandScope.COMMAND_SCOPE_FLEET


@asynccontextmanager
async def engine(server: Pilothouse, kind: str) -> AsyncGenerator[Executor]:
    """Three agents of a type that drain and restart at once, of which the second cannot restart; nobody can resize."""
    executor = Executor(server.grpc, source=f"engine-of-{kind}")
    agents = {
        name: executor.agent(name, agent_type=kind, capacity=2, heartbeat_every=1)
        for name in (f"{kind}-1", f"{kind}-2", f"{kind}-3")
    }

    @executor.on(ControlAction.CONTROL_ACTION_DRAIN, scope=POOL)
    def drain(command: Command) -> None:
        agents[command.agent_id].draining(command=command)

    @executor.on(ControlAction.CONTROL_ACTION_ACTIVATE, scope=POOL)
    def activate(command: Command) -> None:
        agents[command.agent_id].activated(command)

    @executor.on(ControlAction.CONTROL_ACTION_RESTART, scope=POOL)
    def restart(command: Command) -> None:
        if command.agent_id == f"{kind}-2":
            raise CommandRefused("STUCK", "its process does not answer")
        agents[command.agent_id].offline("asked to begin again")
        agents[command.agent_id].registered(command=command)

    @executor.on(ControlAction.CONTROL_ACTION_PAUSE, scope=FLEET, selective=True)
    def hold(command: Command) -> None:
        executor.queue(workflow_type=command.workflow_type).paused(command)

    @executor.on(ControlAction.CONTROL_ACTION_RESUME, scope=FLEET, selective=True)
    def let_go(command: Command) -> None:
        executor.queue(workflow_type=command.workflow_type).active(command)

    async with executor:
        executor.queue().active()
        executor.queue(workflow_type=kind).active()
        run = executor.workflow(f"{kind}-job", workflow_type=kind, name="Job")
        run.created()
        run.started()
        await executor.flush(PATIENCE)
        await server.until_obeyed(executor.source)

        async def known() -> bool:
            found = await server.get(f"/api/v1/agents?filter={quote(f'type = {kind}')}")
            return len(found["agents"]) == len(agents)

        await wait_until(known, within=PATIENCE, what=f"the agents of {kind}")
        yield executor


async def open_view(page: Page, server: Pilothouse, view: str) -> None:
    """A view by its URL, live."""
    await page.goto(f"{server.url}/#/{view}")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")


def agent_row(page: Page, agent: str) -> Locator:
    """An agent in the table."""
    return page.locator(f'[data-testid="agent-row"][data-id="{agent}"]')


def step(page: Page, agent: str) -> Locator:
    """What became of the act on one of many."""
    return page.locator(f'[data-testid="asking-step"][data-id="{agent}"]')


async def test_an_agent_is_drained_by_keyboard_and_its_state_is_the_engines(
    shared_server: Pilothouse, page: Page
) -> None:
    async with engine(shared_server, "planner"):
        await open_view(page, shared_server, "monitoring")
        await go(page, "g")
        await expect(page.get_by_test_id("page-agents")).to_be_visible()
        await page.get_by_test_id("chip-type-planner").click()
        await expect(page.get_by_test_id("agent-row")).to_have_count(3)
        for key in ("j", "Enter"):
            await page.keyboard.press(key)
        sheet = page.get_by_test_id("agent-sheet")
        await expect(sheet).to_have_attribute("data-agent-id", "planner-1")
        # What the engine cannot do is shown, with why.
        resize = sheet.get_by_test_id("agent-resize")
        await expect(resize).to_have_attribute("aria-disabled", "true")
        assert "RESIZE" in (await resize.get_attribute("title") or "")

        await sheet.get_by_test_id("agent-drain").click()
        await page.get_by_test_id("asking-reason").fill("new model")
        await expect(page.get_by_test_id("asking-cli")).to_have_text(
            "pilothouse agents drain planner-1 --reason='new model'"
        )
        await page.keyboard.press("Enter")

        await expect(step(page, "planner-1")).to_have_attribute("data-phase", "effective")
        await page.get_by_test_id("asking-close").click()
        await expect(sheet).to_have_attribute("data-state", "Draining")
        await expect(sheet.get_by_test_id("command-row")).to_contain_text("new model")
        await expect(agent_row(page, "planner-1")).to_have_attribute("data-state", "DRAINING")


async def test_many_are_restarted_one_after_the_other_and_each_says_what_became_of_it(
    shared_server: Pilothouse, page: Page
) -> None:
    async with engine(shared_server, "tester"):
        await open_view(page, shared_server, "agents?filter=tester")
        await expect(page.get_by_test_id("agent-row")).to_have_count(3)
        await page.get_by_test_id("agents-together").get_by_test_id("agent-restart").click()
        do = page.get_by_test_id("asking-do")
        await expect(do).to_have_attribute("aria-disabled", "true")
        await page.get_by_test_id("asking-word").fill("3")
        await do.click()

        for agent, phase in (
            ("tester-1", "effective"),
            ("tester-2", "failed"),
            ("tester-3", "effective"),
        ):
            await expect(step(page, agent)).to_have_attribute("data-phase", phase)
        await expect(step(page, "tester-2")).to_contain_text("its process does not answer")


async def test_a_queue_is_paused_and_says_who_did_it_and_why(
    shared_server: Pilothouse, page: Page
) -> None:
    async with engine(shared_server, "nightly"):
        await open_view(page, shared_server, "agents?tab=queues")
        queue = page.locator('[data-testid="queue-row"][data-id="engine-of-nightly//nightly/"]')
        await queue.get_by_test_id("queue-pause").click()
        await page.get_by_test_id("asking-reason").fill("too slow")
        await page.get_by_test_id("asking-do").click()
        await page.get_by_test_id("asking-close").click()

        await expect(queue).to_have_attribute("data-state", "Paused")
        await expect(queue).to_contain_text("anonymous “too slow”")
        await expect(queue.get_by_test_id("queue-resume")).to_have_attribute(
            "aria-disabled", "false"
        )


async def test_an_emergency_stop_is_on_every_page_until_it_is_released(
    shared_server: Pilothouse, page: Page
) -> None:
    async with engine(shared_server, "release"):
        await open_view(page, shared_server, "platform?tab=emergency")
        start = page.get_by_test_id("emergency-start")
        await start.get_by_label("Only workflows of type").fill("release")
        await page.get_by_test_id("stage-pause_all").click()
        # The engine can hold its type, and cannot pause a workflow.
        await expect(page.get_by_test_id("emergency-preview")).to_contain_text("1 would not obey")
        await expect(page.get_by_test_id("emergency-preview")).to_contain_text("release-job")
        await page.get_by_test_id("stage-hold_new").click()
        await expect(page.get_by_test_id("emergency-would")).to_contain_text("start nothing new")
        await page.get_by_test_id("emergency-reason").fill("bad rollout")
        await page.get_by_test_id("emergency-word").fill("hold new")
        do = page.get_by_test_id("emergency-do")
        await expect(do).to_have_attribute("aria-disabled", "true")
        await page.get_by_test_id("emergency-word").fill("HOLD NEW")
        await do.click()

        banner = page.get_by_test_id("emergency-banner")
        for name in ("monitoring", "workflows", "agents", "alerts"):
            await page.get_by_test_id(f"nav-{name}").click()
            await expect(banner).to_contain_text("bad rollout")
        await expect(page.get_by_test_id("emergency-progress")).to_contain_text("quiet after")
        await banner.click()
        await page.get_by_test_id("stop-release").click()
        await page.get_by_test_id("confirm-reason").fill("rolled back")
        await page.get_by_test_id("confirm-do").click()
        await expect(banner).to_have_count(0)
        await expect(page.get_by_test_id("past-stop").first).to_contain_text("bad rollout")


async def test_a_setting_is_changed_refused_met_by_another_change_and_restored(
    shared_server: Pilothouse, page: Page
) -> None:
    await open_view(page, shared_server, "platform")
    field = page.get_by_test_id("agents.offline_after")
    await expect(field).to_have_attribute("placeholder", "30s")
    await field.fill("1s")
    await page.get_by_test_id("config-save").click()
    await expect(
        page.locator('[data-testid="wrong"][data-field="agents.offline_after"]')
    ).to_be_visible()

    await field.fill("45s")
    await expect(page.get_by_test_id("config-cli")).to_contain_text("--agents-offline-after=45s")
    other = await shared_server.post(
        "/pilothouse.v1.ConfigService/UpdateConfig", {"config": {"commands": {"batch_rate": 7}}}
    )
    assert other.status_code == 200, other.text
    await page.get_by_test_id("config-save").click()
    await expect(page.get_by_test_id("config-meanwhile")).to_contain_text("commands.batch_rate")
    await page.get_by_test_id("config-reason").fill("slow network")
    await page.get_by_test_id("config-save").click()

    newest = page.get_by_test_id("config-version").first
    await expect(newest).to_have_attribute("data-version", "2")
    await expect(newest).to_contain_text("slow network")
    await expect(newest).to_contain_text("agents.offline_after")
    await page.get_by_test_id("config-restore").click()
    await page.get_by_test_id("confirm-do").click()
    await expect(newest).to_have_attribute("data-version", "3")
    await expect(field).to_have_value("")


async def test_a_budget_is_made_changed_and_deleted(shared_server: Pilothouse, page: Page) -> None:
    await open_view(page, shared_server, "platform?tab=budgets&open=:new")
    save = page.get_by_test_id("budget-save")
    await page.get_by_test_id("name").fill("A run")
    await expect(save).to_have_attribute("title", "It needs a ceiling")
    await page.get_by_test_id("ceilings.tokens").fill("50000")
    await save.click()
    row = page.get_by_test_id("budget-row").filter(has_text="A run")
    await expect(row).to_contain_text("only warns")

    await row.click()
    await page.get_by_label("Pause").check()
    await save.click()
    await expect(row).to_contain_text("pauses when used up")

    await row.click()
    await page.get_by_test_id("budget-delete").click()
    await page.get_by_test_id("confirm-word").fill("A run")
    await page.get_by_test_id("confirm-reason").fill("nobody looks")
    told = page.get_by_test_id("confirm").locator(".cli code")
    await expect(told).to_have_text(
        re.compile(r"^pilothouse budgets delete \S+ --reason='nobody looks'$")
    )
    await page.get_by_test_id("confirm-do").click()
    await expect(row).to_have_count(0)


async def test_a_budget_that_another_changed_meanwhile_is_not_overwritten(
    shared_server: Pilothouse, page: Page
) -> None:
    call = "/pilothouse.v1.BudgetService"
    budget = {"name": "Of two", "scope": "BUDGET_SCOPE_RUN", "ceilings": {"tokens": "5"}}
    made = await shared_server.post(f"{call}/CreateBudget", {"budget": budget})
    assert made.status_code == 200, made.text
    budget_id = made.json()["budget"]["id"]
    await open_view(page, shared_server, f"platform?tab=budgets&open={budget_id}")
    await page.get_by_label("Pause").check()
    await expect(page.get_by_test_id("budget-cli")).to_contain_text(
        "--update-mask=pause --etag=1 --pause"
    )

    theirs = {"budget": {"id": budget_id, "description": "theirs"}, "updateMask": "description"}
    changed = await shared_server.post(f"{call}/UpdateBudget", theirs)
    assert changed.status_code == 200, changed.text
    await page.get_by_test_id("budget-save").click()
    await expect(page.get_by_test_id("budget-form")).to_contain_text(
        "changed since this page read it"
    )
    await shared_server.post(f"{call}/DeleteBudget", {"budgetId": budget_id})


async def test_the_audit_log_is_searched_verified_and_exported(
    shared_server: Pilothouse, page: Page, tmp_path: Path
) -> None:
    async with engine(shared_server, "auditor"):
        asked = await shared_server.post(
            "/api/v1/agents/auditor-1:drain", {"reason": "for the log"}
        )
        assert asked.status_code == 200, asked.text
        await open_view(page, shared_server, "platform?tab=audit")
        await page.get_by_test_id("search").fill('target_id = "auditor-1" AND outcome = ACCEPTED')
        entry = page.get_by_test_id("audit-entry")
        await expect(entry).to_have_count(1)
        await expect(entry).to_contain_text("agent.drain")
        await page.get_by_test_id("audit-verify").click()
        await expect(page.get_by_test_id("audit-verdict")).to_have_attribute("data-intact", "true")
        async with page.expect_download() as started:
            await page.get_by_test_id("audit-export-csv").click()
        await (await started.value).save_as(tmp_path / "audit.csv")
        lines = (tmp_path / "audit.csv").read_text("utf-8").splitlines()
        assert len(lines) == 2
        assert "for the log" in lines[1]


async def test_engines_and_the_parts_of_the_server_are_shown(
    shared_server: Pilothouse, page: Page
) -> None:
    async with engine(shared_server, "shown"):
        await open_view(page, shared_server, "platform?tab=connectors")
        row = page.locator('[data-testid="executor-row"][data-id="engine-of-shown"]')
        await expect(row).to_have_attribute("data-state", "connected")
        await expect(row).to_contain_text("Drain")
        await page.get_by_test_id("platform-tab-server").click()
        await expect(page.get_by_test_id("component-row").first).to_contain_text("Works")
