"""A process that sends through Apprise, one message at a time, for a server that asks on its standard input.

Apprise's services are written by many people and connect by themselves. So what they may do is decided beneath them, by
an audit hook of the interpreter: connections to allowed addresses only, no other programs, no files but those of
Python, its packages and the certificates. A process of its own can also be ended when a service hangs. A malicious
service could get around the hook; a malicious URL cannot.

Each line is a JSON object, and so is each answer. The first line names the allowed hosts.
"""

from __future__ import annotations

import json
import mimetypes
import os
import signal
import socket
import ssl
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

import apprise
import certifi

from pilothouse_server.adapters.notifying.hosts import AllowedHosts, HostRefused

_LIBRARY: Final[Any] = apprise
"""Its types are said in parts only, so what it gives is narrowed here."""

LOCAL: Final = {
    "blink1": "a lamp at the server", "dbus": "the server's own desktop", "gio": "the server's own desktop",
    "glib": "the server's own desktop", "gnome": "the server's own desktop", "kde": "the server's own desktop",
    "macosx": "the server's own desktop", "qt": "the server's own desktop", "syslog": "the server's own log",
    "windows": "the server's own desktop",
}  # fmt: skip
"""Services that send nothing to anywhere."""
FORBIDDEN: Final = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "pty.spawn",
    }
)
INCIDENTS: Final = ("dedup", "external_id", "thirdparty")
"""What services call the key of an incident (PagerDuty, SIGNL4, PagerTree)."""
SPARE_SECONDS: Final = 2
"""Beyond its time a try is ended by the system, should nobody else end it."""
_WRITES: Final = os.O_WRONLY | os.O_RDWR


class Guard:
    """The hook. Before `armed` everything is allowed, because modules are still read."""

    def __init__(self, allowed: AllowedHosts) -> None:
        self.allowed = allowed
        self.armed = False
        self.refusal = ""
        """What was refused last."""
        self._names: dict[str, str] = {}
        self._readable = _readable()
        self._look_up = socket.getaddrinfo

    def install(self) -> None:
        """For the rest of the process."""
        # smtplib, urllib3 and the like look names up by this before they connect to an answer.
        socket.getaddrinfo = self._named  # type: ignore[assignment] # passes everything on
        sys.addaudithook(self._judge)

    def _named(self, host: Any, *rest: Any, **more: Any) -> Sequence[Any]:
        found = self._look_up(host, *rest, **more)
        name = host.decode() if isinstance(host, bytes) else str(host)
        self._names |= {str(each[4][0]): name for each in found}
        return found

    def _judge(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            self._judge_address(arguments[1])
        elif event in FORBIDDEN:
            self._refuse("the service wants to run another program, which is not allowed")
        elif event == "open":
            self._judge_file(arguments[0], arguments[2])

    def _judge_address(self, address: Any) -> None:
        if address is None:
            return
        if isinstance(address, str | bytes):
            self._refuse("the service wants a socket that is no network's, which is not allowed")
        host = str(address[0])
        bare = host.partition("%")[0]
        try:
            self.allowed.check_address(ip_address(bare), self._names.get(host, host))
        except ValueError:
            self._refuse(f"{host} was not looked up before it was connected to")
        except HostRefused as refused:
            self._refuse(str(refused))

    def _judge_file(self, path: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        where = os.path.realpath(os.fsdecode(path))
        writes = isinstance(flags, int) and bool(flags & _WRITES)
        known = where in (os.devnull, "/dev/urandom") or (
            not writes
            and any(where == each or where.startswith(each + os.sep) for each in self._readable)
        )
        if not known:
            raise PermissionError("the service wants a file of the server, which is not allowed")

    def _refuse(self, why: str) -> None:
        self.refusal = why
        raise PermissionError(why)


def _readable() -> tuple[str, ...]:
    """What the interpreter and its packages are made of, and what certificates and types are looked up in."""
    trusted = ssl.get_default_verify_paths()
    paths = [
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(path for path in sys.path if path),
        certifi.where(), trusted.openssl_cafile, trusted.openssl_capath, os.environ.get("SSL_CERT_FILE", ""),
        os.environ.get("SSL_CERT_DIR", ""), "/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/share/zoneinfo",
        "/etc/localtime", "/etc/resolv.conf", "/etc/hosts", *mimetypes.knownfiles,
    ]  # fmt: skip
    return tuple({os.path.realpath(path) for path in paths if path})


def _service(url: str) -> str:
    """The name of the service of a URL. Raises ValueError, which does not repeat it."""
    schema = url.partition("://")[0].lower()
    if "://" not in url or not schema:
        raise ValueError("is no URL of Apprise, as slack://tokenA/tokenB/tokenC")
    if schema in LOCAL:
        raise ValueError(f"{schema}:// is {LOCAL[schema]}, which is nowhere to be notified")
    plugins: Any = _LIBRARY.manager_plugins.NotificationManager()
    if schema not in plugins:
        raise ValueError(f"{schema[:32]}:// is no service that Apprise knows")
    plugin = plugins[schema]
    if not plugin.enabled:
        raise ValueError(f"{schema}:// needs a package that is not installed at the server")
    return str(plugin.service_name)


def _made(url: str) -> apprise.NotifyBase:
    name = _service(url)
    asset = apprise.AppriseAsset(
        app_id="Pilothouse",
        app_desc="Pilothouse",
        allow_templates=False,
        async_mode=False,
        http_redirects=False,
        pem_autogen=False,
        pgp_autogen=False,
        result_log_disk_size=0,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    made: apprise.NotifyBase | None = _LIBRARY.Apprise.instantiate(url, asset=asset)
    if made is None:
        raise ValueError(f"is not complete for {name}, or has something that {name} does not take")
    return made


def tied(service: Any, incident: str) -> Any:
    """With the key by which an incident is found again, where the URL does not say one: that of the group of alerts, or
    an end would not find what its beginning opened."""
    for name in INCIDENTS:
        if getattr(service, name, "") is None:
            setattr(service, name, incident)
    # Splunk On-Call's is never empty; by its own one the end of any group would close the incidents of all.
    if (
        getattr(service, "entity_id", "")
        == f"{service.app_id}/{getattr(service, 'routing_key', '')}"
    ):
        service.entity_id = incident
    return service


def _sent(asked: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    sender: Any = _LIBRARY.Apprise(tied(_made(asked["url"]), asked["incident"]))
    result = sender.notify(
        asked["body"],
        title=asked["title"],
        notify_type=asked["type"],
        body_format=apprise.NotifyFormat.TEXT,
    )
    if result:
        return {"sent": True}
    told = [str(entry.message) for entry in result.logs()]
    return {"sent": False, "refused": guard.refusal, "error": "; ".join(told[-3:])}


def _answer(asked: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    guard.refusal = ""
    guard.armed = True
    try:
        if asked["do"] == "check":
            _made(asked["url"])
            return {"service": _service(asked["url"])}
        return _sent(asked, guard)
    except ValueError as error:
        return {"invalid": str(error)}
    except Exception as error:  # noqa: BLE001 - a service may raise anything, and the next one is not to suffer
        return {
            "sent": False,
            "refused": guard.refusal,
            "error": f"{type(error).__name__}: {error}",
        }
    finally:
        guard.armed = False


def main() -> None:
    """Answers until there is nothing more to read."""
    asked, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    sys.dont_write_bytecode = True
    guard = Guard(AllowedHosts.parsed(json.loads(asked.readline())["allowed"]))
    _LIBRARY.manager_plugins.NotificationManager().load_modules()
    guard.install()
    for line in asked:
        request = json.loads(line)
        signal.alarm(int(request["timeout"]) + SPARE_SECONDS)
        answer = _answer(request, guard)
        signal.alarm(0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
