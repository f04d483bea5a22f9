"""Nothing is sent to where only the server itself gets, unless a setting names it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from pilothouse_server.adapters.notifying.guard import Resolve
from pilothouse_server.adapters.notifying.hosts import Address, AllowedHosts, HostRefused
from pilothouse_server.domain.notifications.receipts import DeliveryFailed
from tests.channels.build import PATIENCE, notification, webhook
from tests.channels.conftest import Senders
from tests.channels.receiver import Receiver

NOTHING = AllowedHosts()


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.1", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f000001", "loopback"),
        ("0x7f.1", "loopback"),
        ("0177.0.0.1", "loopback"),
        ("127.0.0.1.", "loopback"),
        ("localhost", "loopback"),
        ("LOCALHOST.", "loopback"),
        ("a.localhost", "loopback"),
        ("[::1]", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("[::ffff:7f00:1]", "loopback"),
        ("[::127.0.0.1]", "loopback"),
        ("[64:ff9b::7f00:1]", "loopback"),
        ("[2002:7f00:1::]", "loopback"),
        ("10.0.0.1", "not public"),
        ("172.16.0.1", "not public"),
        ("192.168.1.1", "not public"),
        ("100.64.0.1", "not public"),
        ("[fd12::1]", "not public"),
        ("[::ffff:10.0.0.1]", "not public"),
        ("[64:ff9b::a00:1]", "not public"),
        ("169.254.169.254", "metadata"),
        ("2852039166", "metadata"),
        ("0xa9fea9fe", "metadata"),
        ("[::ffff:169.254.169.254]", "metadata"),
        ("[fd00:ec2::254]", "metadata"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("169.254.1.1", "link-local"),
        ("[fe80::1]", "link-local"),
        ("224.0.0.1", "multicast"),
        ("[ff02::1]", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("0", "unspecified"),
        ("[::]", "unspecified"),
        ("0.0.0.1", "not public"),
        ("255.255.255.255", "not public"),
        ("240.0.0.1", "not public"),
        ("192.0.0.8", "not public"),
        ("[64:ff9b:1::7f00:1]", "not public"),
        ("[::ffff:0:7f00:1]", "not public"),
        ("[fec0::1]", "not public"),
        ("[5f00::1]", "not public"),
        ("[3fff::1]", "not public"),
        ("[fd20:ce::254]", "metadata"),
        ("[fe80::1%25eth0]", "link-local"),
        ("münchen.example", "xn--"),
        ("127。0。0。1", "xn--"),
        ("①②⑦.0.0.1", "xn--"),
    ],
)
def test_what_is_not_public_is_refused_however_it_is_written(host: str, kind: str) -> None:
    with pytest.raises(HostRefused, match=kind):
        NOTHING.check_url(f"https://{host}/hook")


@pytest.mark.parametrize(
    "host",
    [
        "93.184.216.34",
        "[2606:2800:220:1::1]",
        "hooks.example.com",
        "xn--mnchen-3ya.example",
        "1e100.net",
    ],
)
def test_everything_public_is_allowed(host: str) -> None:
    NOTHING.check_url(f"https://{host}:8443/hook")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "has no host"),
        ("ftp://example.com/", "only http and https"),
        ("gopher://example.com/", "only http and https"),
        ("unix://run/docker.sock", "only http and https"),
        ("//example.com/", "only http and https"),
        ("https://", "no host"),
        ("https:///hook", "no host"),
        ("https://user:password@/hook", "no host"),
        ("https://example.com:port/", "no URL"),
        ("https://example.com:99999/", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://exa mple.com/", "characters"),
        ("https://example.com\\@127.0.0.1/", "characters"),
        ("https://example.com/\r\nHost: x", "characters"),
        ("https://a..b/", "no host name"),
    ],
)
def test_what_is_no_url_of_a_receiver_is_refused(url: str, why: str) -> None:
    with pytest.raises(HostRefused, match=why):
        NOTHING.check_url(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "10.1.2.3"])
def test_user_and_password_before_the_host_change_nothing(host: str) -> None:
    shown = f"[{host}]" if ":" in host else host
    with pytest.raises(HostRefused):
        NOTHING.check_url(f"https://example.com@{shown}/")


@pytest.mark.parametrize(
    ("entry", "host", "address"),
    [
        ("10.0.0.0/8", "hooks.example.com", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
        ("hooks.internal", "hooks.internal", "192.168.0.7"),
        ("HOOKS.internal", "hooks.INTERNAL.", "192.168.0.7"),
        ("*.corp.example", "a.b.corp.example", "10.0.0.9"),
        ("localhost", "localhost", "127.0.0.1"),
        ("fe80::/10", "x", "fe80::1"),
        ("169.254.169.254", "x", "169.254.169.254"),
        ("::1", "localhost", "::1"),
    ],
)
def test_what_the_setting_names_is_allowed(entry: str, host: str, address: str) -> None:
    AllowedHosts.parsed([entry]).check_address(ip_address(address), host)


@pytest.mark.parametrize(
    ("entry", "host", "address"),
    [
        ("*.corp.example", "corp.example", "10.0.0.9"),
        ("*.corp.example", "evilcorp.example", "10.0.0.9"),
        ("hooks.internal", "hooks.internal", "169.254.169.254"),
        ("hooks.internal", "hooks.internal", "169.254.7.7"),
        ("hooks.internal", "hooks.internal", "0.0.0.0"),
        ("169.254.0.0/16", "x", "169.254.169.254"),
        ("fd00::/8", "x", "fd00:ec2::254"),
        ("10.0.0.0/8", "x", "192.168.0.1"),
    ],
)
def test_it_names_no_more_than_it_says(entry: str, host: str, address: str) -> None:
    allowed = AllowedHosts.parsed([entry])
    with pytest.raises(HostRefused):
        allowed.check_address(ip_address(address), host)


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/33", "http://x", "a b", "*", "*.*", "10.0.0", "-", "x/8"]
)
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        AllowedHosts.parsed([entry])


def answering(*answers: Sequence[str]) -> tuple[list[str], Resolve]:
    """A system that looks names up, with another answer each time."""
    asked: list[str] = []
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[Address]:
        asked.append(f"{host}:{port}")
        return [ip_address(each) for each in (left.pop(0) if len(left) > 1 else left[0])]

    return asked, resolve


async def test_a_name_is_looked_up_once_and_what_was_judged_is_connected_to(
    senders: Senders, receiver: Receiver
) -> None:
    asked, resolve = answering(["127.0.0.1"], ["169.254.169.254"])
    sender = senders("hooks.example.com", resolve=resolve)
    url = receiver.url(host="hooks.example.com")

    await sender.send(webhook(url), notification(), PATIENCE)

    assert asked == [f"hooks.example.com:{receiver.port}"]
    assert receiver.received[0].headers["host"] == f"hooks.example.com:{receiver.port}"
    with pytest.raises(DeliveryFailed, match="metadata") as failed:
        await sender.send(webhook(url), notification(), PATIENCE)
    assert not failed.value.retryable
    assert len(receiver.received) == 1


async def test_one_forbidden_address_among_the_answers_is_enough(
    senders: Senders, receiver: Receiver
) -> None:
    _, resolve = answering(["93.184.216.34", "127.0.0.1"])
    sender = senders(resolve=resolve)

    with pytest.raises(DeliveryFailed, match=r"leads to 127\.0\.0\.1, which is loopback"):
        await sender.send(webhook(receiver.url(host="rebind.example")), notification(), PATIENCE)

    assert receiver.received == []


async def test_a_redirect_is_not_followed(senders: Senders, receiver: Receiver) -> None:
    receiver.answer.status = 302
    receiver.answer.headers = {"Location": "http://169.254.169.254/latest/meta-data"}

    with pytest.raises(DeliveryFailed, match="redirects are not followed") as failed:
        await senders("127.0.0.1").send(webhook(receiver.url()), notification(), PATIENCE)

    assert (failed.value.retryable, failed.value.status_code) == (False, 302)
    assert len(receiver.received) == 1
