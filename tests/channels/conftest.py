"""Senders, receivers and certificates of these tests."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from pilothouse.v1 import channels_pb2_grpc
from pilothouse.v1 import escalations_pb2_grpc as escalations_grpc
from pilothouse_server.adapters.notifying.guard import Resolve, resolved
from pilothouse_server.adapters.notifying.sealing import Sealer, keys_of, new_key
from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer
from tests.channels.build import NOW_US
from tests.channels.house import House
from tests.channels.receiver import Receiver, listening


class Certificate(NamedTuple):
    """What a server of 127.0.0.1 shows, and what a client that trusts it uses."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.test")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("receiver.test"),
        x509.IPAddress(ip_address("127.0.0.1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder: Path = tmp_path_factory.mktemp("certificate")
    shown, private = folder / "shown.pem", folder / "private.pem"
    shown.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown, private)
    return Certificate(server, ssl.create_default_context(cafile=str(shown)))


@pytest.fixture
def sealer() -> Sealer:
    """With a key that was set."""
    return Sealer(keys_of(new_key()))


Senders = Callable[..., Sender]


@pytest.fixture
async def senders(sealer: Sealer) -> AsyncIterator[Senders]:
    """Makes senders, which are closed at the end."""
    made: list[Sender] = []

    def make(*hosts: str, tls: ssl.SSLContext | None = None, resolve: Resolve = resolved) -> Sender:
        sender = Sender(
            sealer,
            lambda: NOW_US,
            hosts=hosts,
            external_url="https://pilothouse.example",
            tls=tls,
            resolve=resolve,
        )
        made.append(sender)
        return sender

    yield make
    for sender in made:
        await sender.close()


@pytest.fixture
def sender(senders: Senders) -> Sender:
    """One that may send to this machine."""
    return senders("127.0.0.1")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """One that takes everything."""
    async with listening() as receiver:
        yield receiver


@pytest.fixture
def house(database: Database, sender: Sender) -> House:
    return House(database, sender)


@pytest.fixture
async def line(house: House) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(house.services(), CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as line:
        yield line
    await server.drain(0)


@pytest.fixture
def channels(line: grpc.aio.Channel) -> channels_pb2_grpc.ChannelServiceAsyncStub:
    return channels_pb2_grpc.ChannelServiceStub(line)


@pytest.fixture
def escalations(line: grpc.aio.Channel) -> escalations_grpc.EscalationServiceAsyncStub:
    return escalations_grpc.EscalationServiceStub(line)
