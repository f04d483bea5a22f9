"""Secrets of channels at rest: AES-256-GCM, bound to the channel's id, so that a row cannot be given another's.

Keys come from a setting, or, where the database is one process's own, from a file beside it that is made at first need.
The first key encrypts, all decrypt; a sealed text names the key it needs, so a lost one can be told from a damaged
text.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse_server.domain.errors import NoSecretKey
from pilothouse_server.domain.notifications.channels import Secrets
from pilothouse_server.services.channels import SealBroken

SETTING: Final = "PILOTHOUSE_SECRET_KEY"
KEY_FILE: Final = "secret.key"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = "1"


def new_key() -> str:
    """A new key, as the setting takes it."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def keys_of(text: str) -> list[bytes]:
    """The keys of the setting. Raises ValueError, which does not repeat them."""
    keys: list[bytes] = []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for position, part in enumerate(parts, start=1):
        plain = part.translate(str.maketrans("-_", "+/"))
        try:
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(
                f"key {position} is not {KEY_BYTES} bytes in base64; make one by `pilothouse-server new-secret-key`"
            )
        keys.append(key)
    return keys


class Sealer:
    """Seals and opens. `file` is where a key may be made when none is set."""

    def __init__(self, keys: Iterable[bytes] = (), file: Path | None = None) -> None:
        self._set = list(keys)
        self._file = file
        self._read: Sequence[bytes] = ()
        """What was read from the file; read again when a key is wanted that is not there."""

    def seal(self, channel_id: str, hidden: Secrets) -> str:
        """Encrypts. Raises NoSecretKey."""
        keys = self._keys()
        if not keys and self._file is not None:
            keys = [_made(self._file)]
        if not keys:
            raise NoSecretKey(SETTING)
        nonce = os.urandom(_NONCE_BYTES)
        plain = json.dumps(
            {
                "url": hidden.url,
                "secret": hidden.secret,
                "headers": dict(hidden.headers),
                "urls": list(hidden.urls),
            }
        )
        text = AESGCM(keys[0]).encrypt(nonce, plain.encode(), channel_id.encode())
        return f"{_VERSION}.{_name(keys[0])}.{base64.b64encode(nonce + text).decode()}"

    def open(self, channel_id: str, sealed: str) -> Secrets:
        """Decrypts. Raises SealBroken."""
        if not sealed:
            return Secrets()
        _, _, rest = sealed.partition(".")
        name, _, text = rest.partition(".")
        key = next((each for each in self._keys(name) if _name(each) == name), None)
        if key is None:
            where = (
                f"{SETTING} has not"
                if self._file is None
                else f"neither {SETTING} nor {self._file} has"
            )
            raise SealBroken(
                f"its secrets were encrypted with the key {name}, which {where}:"
                " put that key back, or set the secrets anew"
            )
        try:
            both = base64.b64decode(text, validate=True)
            plain = AESGCM(key).decrypt(
                both[:_NONCE_BYTES], both[_NONCE_BYTES:], channel_id.encode()
            )
            found = json.loads(plain)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("its secrets are damaged in the database: set them anew") from error
        return Secrets(found["url"], found["secret"], found["headers"], tuple(found["urls"]))

    def _keys(self, wanted: str = "") -> Sequence[bytes]:
        """All keys, the first one first."""
        known = any(_name(each) == wanted for each in (*self._set, *self._read))
        if self._file is not None and not known:
            with contextlib.suppress(FileNotFoundError, ValueError):
                self._read = keys_of(self._file.read_text("ascii"))
        return [*self._set, *self._read]


def _name(key: bytes) -> str:
    """What a key is called; tells nothing of it."""
    return hashlib.sha256(b"pilothouse secret key" + key).hexdigest()[:8]


def _made(file: Path) -> bytes:
    """A new key in the file, which is there before anything is encrypted with it."""
    text = new_key()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o600)
    except OSError as error:
        # One that is there and cannot be read is somebody's, and perhaps only in the wrong place.
        raise NoSecretKey(SETTING, f"{file} holds no key: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(f"{text}\n")
        stream.flush()
        os.fsync(stream.fileno())
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return keys_of(text)[0]
