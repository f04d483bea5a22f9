"""Services of Apprise, for real: a mail server, a receiver of JSON, and one that hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, cast

import apprise as library
import psutil
import pytest
from aiosmtpd.smtp import SMTP, Envelope

from pilothouse_server.adapters.notifying.apprise_worker import tied
from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.notifications.channels import Secrets
from pilothouse_server.domain.notifications.receipts import DeliveryFailed
from tests.channels.build import PATIENCE, alert, apprise, notification
from tests.channels.conftest import Senders
from tests.channels.receiver import Receiver, listening
from tests.support import wait_until

pytestmark = pytest.mark.timeout(180)


@dataclass
class Postbox:
    """A mail server that keeps what it gets."""

    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list[Envelope])

    async def handle_DATA(self, server: SMTP, session: object, envelope: Envelope) -> str:  # noqa: N802 - the library's name
        self.envelopes.append(envelope)
        return "250 taken"


@pytest.fixture
async def postbox() -> AsyncIterator[Postbox]:
    box = Postbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, hostname="postbox.test", loop=loop), "127.0.0.1", 0
    )
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()
    await server.wait_closed()


def workers() -> Iterator[psutil.Process]:
    """The processes that send."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            if "pilothouse_server.adapters.notifying.apprise_worker" in process.cmdline():
                yield process


async def test_an_email_arrives(sender: Sender, postbox: Postbox) -> None:
    url = f"mailto://127.0.0.1:{postbox.port}?from=pilothouse@example.com&to=ops@example.com"
    told = notification(alert(agent="a1"), alert("Queue", status="resolved"))

    await sender.send_opened(apprise("E-Mail"), Secrets(urls=(url,)), told, PATIENCE)

    (envelope,) = postbox.envelopes
    assert envelope.rcpt_tos == ["ops@example.com"]
    content = cast("bytes", envelope.content)
    mail = message_from_bytes(content, policy=policy.default)
    assert mail["subject"] == "[1 FIRING, 1 RESOLVED] ErrorRate, Queue"
    body = mail.get_body(("plain", "html"))
    assert body is not None
    assert "ErrorRate is high" in body.get_content()


async def test_a_receiver_of_json_gets_title_and_text(sender: Sender, receiver: Receiver) -> None:
    url = f"json://127.0.0.1:{receiver.port}/hook"

    await sender.send_opened(apprise("JSON"), Secrets(urls=(url,)), notification(), PATIENCE)

    (got,) = receiver.received
    assert got.json["title"] == "[1 FIRING] ErrorRate"
    assert got.json["type"] == "failure"
    assert got.json["message"].startswith("FIRING: ErrorRate (critical)")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of services that are not used
@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("pagerduty://A1BRTD4JD@TIiajkdnlazkcOXrIdevi7F", "dedup"),
        ("signl4://A1BRTD4JD", "external_id"),
        ("pagertree://int_A1BRTD4JD", "thirdparty"),
        ("splunk://route@a1b2c3d4-e5f6-a1b2-c3d4-e5f6a1b2c3d4", "entity_id"),
    ],
)
def test_an_end_finds_the_incident_that_its_beginning_opened(url: str, name: str) -> None:
    services: Any = library.Apprise
    assert getattr(tied(services.instantiate(url), "group"), name) == "group"
    said = services.instantiate(f"{url}?{name}=mine")
    assert getattr(tied(said, "group"), name) == "mine"


async def test_services_are_known_by_name_and_secrets_are_not_told(sender: Sender) -> None:
    urls = [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "mailtos://user:password@example.com",
        "pagerduty://A1BRTD4JD@TIiajkdnlazkcOXrIdevi7F",
    ]
    assert await sender.services(urls, "urls") == ("Slack", "E-Mail", "Pager Duty")


async def test_what_is_no_service_is_refused_by_name(sender: Sender) -> None:
    refused: dict[str, str] = {}
    for url in REFUSED:
        with pytest.raises(InvalidArgument) as failed:
            await sender.services(["json://example.com", url], "channel.apprise.urls")
        assert failed.value.field == "channel.apprise.urls[1]"
        refused[url] = failed.value.description
    assert {url: said for url, said in refused.items() if REFUSED[url] not in said} == {}
    assert "s3cret" not in str(refused.values())


REFUSED = {
    "syslog://": "server's own log",
    "dbus://": "server's own desktop",
    "gnome://": "server's own desktop",
    "windows://": "server's own desktop",
    "macosx://": "server's own desktop",
    "blink1://": "lamp",
    "file:///etc/passwd": "no service that Apprise knows",
    "exec://reboot": "no service that Apprise knows",
    "teapot://x": "no service that Apprise knows",
    "mqtt://example.com": "needs a package that is not installed",
    "slack": "no URL of Apprise",
    "://x": "no URL of Apprise",
    "slack://s3cretToken": "not complete for Slack",
    "pagerduty://": "not complete for Pager Duty",
}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "169.254.169.254"])
async def test_the_same_hosts_are_refused_as_of_webhooks(
    host: str, senders: Senders, receiver: Receiver
) -> None:
    url = f"json://{host}:{receiver.port}/"
    with pytest.raises(DeliveryFailed, match="PILOTHOUSE_WEBHOOK_HOSTS") as failed:
        await senders().send_opened(apprise("JSON"), Secrets(urls=(url,)), notification(), PATIENCE)
    assert not failed.value.retryable
    assert receiver.received == []


async def test_a_name_that_is_allowed_is_reached(senders: Senders, receiver: Receiver) -> None:
    url = f"json://localhost:{receiver.port}/"
    await senders("localhost").send_opened(
        apprise("JSON"), Secrets(urls=(url,)), notification(), PATIENCE
    )
    assert len(receiver.received) == 1


async def test_a_redirect_leads_nowhere(sender: Sender, receiver: Receiver) -> None:
    receiver.answer.status = 302
    async with listening() as other:
        receiver.answer.headers = {"Location": other.url(host="127.0.0.2")}
        url = f"json://127.0.0.1:{receiver.port}/?redirect=yes"
        with pytest.raises(DeliveryFailed):
            await sender.send_opened(
                apprise("JSON"), Secrets(urls=(url,)), notification(), PATIENCE
            )
        assert other.received == []


async def test_a_file_of_the_server_is_not_sent(
    sender: Sender, receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "secret.key").write_text("k3y")
    token = "3ccdd113474722377935511fc85d3dd4"
    url = f"mmost://127.0.0.1:{receiver.port}/{token}?template={tmp_path}/secret.key"
    said = await asyncio.gather(
        sender.send_opened(apprise("Mattermost"), Secrets(urls=(url,)), notification(), PATIENCE),
        return_exceptions=True,
    )
    assert "k3y" not in str(said)
    assert not any(b"k3y" in each.body for each in receiver.received)


async def test_a_service_that_hangs_holds_up_nobody(sender: Sender, receiver: Receiver) -> None:
    async with listening() as hanging:
        hanging.answer.hangs = True
        slow = Secrets(urls=(f"json://127.0.0.1:{hanging.port}/?rto=60",))
        quick = Secrets(urls=(f"json://127.0.0.1:{receiver.port}/",))
        # Two processes, both of which have begun: that may take longer than the one that hangs is waited for.
        await asyncio.gather(
            *(
                sender.send_opened(apprise("JSON"), quick, notification(id=id), PATIENCE)
                for id in ("0", "1")
            )
        )
        trying = asyncio.create_task(
            sender.send_opened(apprise("JSON"), slow, notification(id="slow"), 6.0)
        )
        await wait_until(lambda: bool(hanging.received))
        await sender.send_opened(apprise("JSON"), quick, notification(id="2"), PATIENCE)
        assert not trying.done()

        with pytest.raises(DeliveryFailed, match="did not answer within 6 s") as failed:
            await trying

    assert failed.value.retryable
    assert sender.workers.killed == 1
    assert len(receiver.received) == 3
    await wait_until(lambda: len(list(workers())) == 1)


async def test_what_one_service_took_is_not_sent_to_it_again(
    sender: Sender, receiver: Receiver
) -> None:
    async with listening() as other:
        other.answer.status = 500
        urls = tuple(f"json://127.0.0.1:{each.port}/T0ken" for each in (receiver, other))
        channel = apprise("JSON", "JSON")
        with pytest.raises(DeliveryFailed, match="JSON: ") as failed:
            await sender.send_opened(channel, Secrets(urls=urls), notification(), PATIENCE)
        assert failed.value.retryable
        assert "T0ken" not in failed.value.description
        other.answer.status = 200
        await sender.send_opened(channel, Secrets(urls=urls), notification(), PATIENCE)

        assert (len(receiver.received), len(other.received)) == (1, 2)


async def test_a_worker_that_is_gone_is_replaced(sender: Sender, receiver: Receiver) -> None:
    hidden = Secrets(urls=(f"json://127.0.0.1:{receiver.port}/",))
    await sender.send_opened(apprise("JSON"), hidden, notification(), PATIENCE)
    for process in workers():
        process.kill()
        process.wait(PATIENCE)

    async def again() -> None:
        await sender.send_opened(apprise("JSON"), hidden, notification(id="2"), PATIENCE)

    with contextlib.suppress(DeliveryFailed):  # nobody may have noticed yet
        await again()
    await again()
    assert len(receiver.received) == 2


async def test_workers_get_none_of_the_servers_settings(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTHOUSE_SECRET_KEY", "k3y")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    hidden = Secrets(urls=(f"json://127.0.0.1:{receiver.port}/T0ken",))
    await sender.send_opened(apprise("JSON"), hidden, notification(), PATIENCE)

    (worker,) = workers()
    environment: dict[str, Any] = worker.environ()
    assert not any(name.startswith(("PILOTHOUSE", "HTTPS")) for name in environment)
    assert "T0ken" not in " ".join(worker.cmdline())
