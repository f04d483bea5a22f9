"""Secrets are encrypted where they are stored, keys can be changed, and a lost one is said to be lost."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pilothouse_server.adapters.notifying.sealing import Sealer, keys_of, new_key
from pilothouse_server.config import InvalidSettings, read_settings
from pilothouse_server.domain.errors import NoSecretKey
from pilothouse_server.domain.notifications.channels import Secrets
from pilothouse_server.services.channels import SealBroken

HIDDEN = Secrets(
    "https://u:p@example.com/x", "signs", {"Authorization": "Bearer t0ken"}, ("slack://a/b/c",)
)


def test_what_is_sealed_is_opened_and_cannot_be_read(sealer: Sealer) -> None:
    sealed = sealer.seal("ops", HIDDEN)

    assert sealer.open("ops", sealed) == HIDDEN
    assert sealed != sealer.seal("ops", HIDDEN)
    assert not any(each in sealed for each in ("signs", "t0ken", "slack", "example"))
    assert sealer.open("ops", "") == Secrets()


def test_secrets_are_not_shown_by_repr() -> None:
    assert repr(HIDDEN) == "Secrets()"


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = new_key(), new_key()
    before = Sealer(keys_of(old)).seal("ops", HIDDEN)
    both = Sealer(keys_of(f"{new}, {old}"))

    assert both.open("ops", before) == HIDDEN
    after = both.seal("ops", HIDDEN)
    assert Sealer(keys_of(new)).open("ops", after) == HIDDEN
    with pytest.raises(SealBroken, match=r"encrypted with the key [0-9a-f]{8}, which .* has not"):
        Sealer(keys_of(new)).open("ops", before)


def test_a_sealed_text_is_worth_nothing_to_another_channel(sealer: Sealer) -> None:
    sealed = sealer.seal("ops", HIDDEN)
    with pytest.raises(SealBroken, match="damaged"):
        sealer.open("mine", sealed)
    with pytest.raises(SealBroken, match="damaged"):
        sealer.open("ops", sealed[:-8] + "AAAAAAA=")
    with pytest.raises(SealBroken):
        sealer.open("ops", "nonsense")


def test_without_a_key_it_is_said_how_to_make_one() -> None:
    with pytest.raises(NoSecretKey, match="pilothouse-server new-secret-key"):
        Sealer().seal("ops", HIDDEN)


def test_a_key_file_is_made_at_first_need_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    sealer = Sealer(file=file)
    assert sealer.open("ops", "") == Secrets()
    assert not file.exists()

    sealed = sealer.seal("ops", HIDDEN)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Sealer(file=file).open("ops", sealed) == HIDDEN
    # Who moves to a key of the settings can still read what the file's encrypted.
    moved = Sealer(keys_of(new_key()), file)
    assert moved.open("ops", sealed) == HIDDEN
    file.unlink()
    with pytest.raises(SealBroken, match="put that key back"):
        Sealer(file=file).open("ops", sealed)


def test_a_key_file_that_holds_no_key_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    file.write_text("not a key")
    with pytest.raises(NoSecretKey, match=r"secret\.key"):
        Sealer(file=file).seal("ops", HIDDEN)
    assert file.read_text() == "not a key"


@pytest.mark.parametrize(
    "key",
    ["short", "A" * 44, "§", "AAAA" * 10 + "AAA=,x"],
    ids=["short", "all A", "no base64", "one of two"],
)
def test_a_wrong_key_of_the_settings_is_refused_and_not_repeated(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTHOUSE_SECRET_KEY", key)
    with pytest.raises(InvalidSettings, match=r"PILOTHOUSE_SECRET_KEY: .*32 bytes") as refused:
        read_settings()
    assert key not in str(refused.value)


def test_the_key_is_not_shown_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    monkeypatch.setenv("PILOTHOUSE_SECRET_KEY", key)
    assert key not in repr(read_settings())


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WEBHOOK_HOSTS", "10.0.0.0/40"), ("EXTERNAL_URL", "pilothouse"), ("EXTERNAL_URL", "ftp://x")],
)
def test_other_settings_of_channels_are_judged(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PILOTHOUSE_{variable}", value)
    with pytest.raises(InvalidSettings, match=f"PILOTHOUSE_{variable}"):
        read_settings()
