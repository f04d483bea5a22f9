"""How the command line behaves as a program: its end, its terminal, its configuration, its completion."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.enums_pb2 import AGENT_STATE_BUSY
from tests.client.cli import PROGRAM, Done, environment, started, type_command
from tests.client.support import Server
from tests.client.test_cli import snapshot, workflow
from tests.support import wait_until


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "deep" / "config.yaml"
    monkeypatch.setenv("PILOTHOUSE_CONFIG", str(path))
    monkeypatch.delenv("PILOTHOUSE_SERVER", raising=False)
    return path


async def test_ctrl_c_ends_a_watch_quietly_with_130(server: Server, tmp_path: Path) -> None:
    server.agents.add(Agent(id="one"))
    with started(tmp_path, "--server", server.target, "agents", "watch") as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.to_thread(process.stdout.readline)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 130
    assert (out, err.strip()) == ("", "")


async def test_a_reader_that_goes_away_ends_a_watch_quietly(server: Server, tmp_path: Path) -> None:
    with started(tmp_path, "--server", server.target, "agents", "watch") as process:
        assert process.stdout is not None
        server.agents.add(Agent(id="one"))
        await asyncio.to_thread(process.stdout.readline)
        process.stdout.close()

        def more() -> bool:
            server.agents.add(Agent(id="another"))
            return process.poll() is not None

        await wait_until(more, within=30, what="the end of the watch")
        assert process.returncode == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def on_a_terminal(folder: Path, *arguments: str, columns: int) -> Done:
    """Run it on a pseudo-terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    variables = environment(folder, TERM="xterm-256color")
    variables = {key: each for key, each in variables.items() if key not in {"COLUMNS", "NO_COLOR"}}
    process = subprocess.Popen(
        [*PROGRAM, *arguments], env=variables, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:
            break  # how Linux says that nobody is at the other end any more
        if not read:
            break
        seen += read
    os.close(ours)
    return Done(process.wait(30), seen.decode().replace("\r\n", "\n"), "")


async def test_a_terminal_gets_colours_symbols_ages_and_what_fits(
    server: Server, tmp_path: Path
) -> None:
    server.workflows["wf-1"] = workflow(1)
    server.workflows["wf-1"].workflow_name = "x" * 200
    arguments = ("--server", server.target, "workflows", "list")
    done = await asyncio.to_thread(on_a_terminal, tmp_path, *arguments, columns=80)
    assert done.code == 0
    head, row = done.out.splitlines()
    assert "\x1b[36m● RUNNING\x1b[0m" in row
    assert "xxx…" in row
    plain = row.replace("\x1b[36m", "").replace("\x1b[0m", "")
    assert len(plain) <= 80
    assert head.startswith("\x1b[2mID")
    wide = await asyncio.to_thread(on_a_terminal, tmp_path, *arguments, columns=200)
    assert wide.out.splitlines()[1].rstrip().endswith(" ago")


async def test_metrics_on_a_terminal_are_replaced_in_place(server: Server, tmp_path: Path) -> None:
    server.snapshot = snapshot()
    arguments = ("--server", server.target, "metrics", "watch", "--limit", "2")
    done = await asyncio.to_thread(on_a_terminal, tmp_path, *arguments, columns=100)
    assert done.code == 0
    assert "\x1b[1A\x1b[2K" in done.out, "the cursor goes up and over what was there"
    assert done.out.count("queue depth 7") >= 2


async def test_the_server_comes_from_the_line_the_environment_or_the_context(
    server: Server, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.agents.add(Agent(id="here", state=AGENT_STATE_BUSY))

    async def listed(*arguments: str) -> Done:
        return await asyncio.to_thread(type_command, *arguments)

    assert (await listed("context", "set", "test", "--server", server.target)).code == 0
    assert "here" in (await listed("agents", "list")).out
    assert (await listed("context", "set", "other", "--server", "127.0.0.1:1")).code == 0
    assert (await listed("context", "use", "other")).code == 0
    assert (await listed("agents", "list")).code == 24
    assert (await listed("context", "list")).out == (
        f"* other  127.0.0.1:1\n  test  {server.target}\n"
    )
    assert "here" in (await listed("--context", "test", "agents", "list")).out
    assert "here" in (await listed("agents", "list", "--context", "test")).out
    assert "here" in (await listed("agents", "list", "--server", server.target)).out
    monkeypatch.setenv("PILOTHOUSE_SERVER", server.target)
    assert "here" in (await listed("agents", "list")).out
    assert (await listed("context", "delete", "other")).code == 0
    assert (await listed("context", "list")).out == f"  test  {server.target}\n"


def test_a_context_that_is_not_there_is_said(config: Path) -> None:
    done = type_command("context", "use", "nowhere")
    assert (done.code, done.err) == (
        1,
        "Error: there is no context 'nowhere'; there are: none yet\n",
    )


@pytest.mark.parametrize(
    "content", ["{", "- 1", "contexts: {a: {colour: red}}", "contexts: [1]", "just words"]
)
def test_a_broken_configuration_is_said(config: Path, content: str) -> None:
    config.parent.mkdir()
    config.write_text(content, "utf-8")
    done = type_command("agents", "list")
    assert done.code == 1
    assert "is not a configuration of pilothouse" in done.err


def test_a_certificate_that_is_not_there_is_said(config: Path) -> None:
    done = type_command("--tls", "--ca-file", "/does/not/exist.pem", "agents", "list")
    assert done.code == 1
    assert "/does/not/exist.pem: No such file or directory" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(shell: str) -> None:
    done = subprocess.run(
        [*PROGRAM, "completion", shell], capture_output=True, text=True, check=True, timeout=30
    )
    assert f"_PILOTHOUSE_COMPLETE={shell}_complete" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["work"], ["workflows"]),
        (["workflows", "p"], ["pause"]),
        (["workflows", "control", "wf-1", "--action", "ret"], ["retry"]),
        (["workflows", "list", "--ord"], ["--order-by"]),
        (["workflows", "list", "-o", "j"], ["json"]),
    ],
)
def test_completion_knows_commands_options_and_values(
    tmp_path: Path, typed: list[str], expected: list[str]
) -> None:
    words = " ".join(["pilothouse", *typed])
    variables = environment(
        tmp_path, _PILOTHOUSE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(typed))
    )
    done = subprocess.run(
        [sys.executable, "-c", "from pilothouse.cli import main; main()"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected


def test_the_version_is_told() -> None:
    assert type_command("--version").out.startswith("pilothouse 0.")
