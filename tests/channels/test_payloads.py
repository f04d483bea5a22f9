"""Payloads as values: fingerprints, texts for people, and URLs as they may be shown."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.notifications.endpoints import hides, shown_url
from pilothouse_server.domain.notifications.fingerprints import label_fingerprint
from pilothouse_server.domain.notifications.payloads import MOST_TITLE, body, time_text, title
from tests.channels.build import alert, notification

SECRET = "9f86d081884c7d659a2feaa0c55ad015"


@pytest.mark.parametrize(
    ("labels", "fingerprint"),
    [
        # From TestMetricToFingerprint of prometheus/common, model/signature_test.go.
        ({}, "cbf29ce484222325"),
        ({"name": "garland, briggs", "fear": "love is not enough"}, "507a62d79ee76c9a"),
    ],
)
def test_a_fingerprint_is_alertmanagers(labels: dict[str, str], fingerprint: str) -> None:
    assert label_fingerprint(labels) == fingerprint


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000, "1970-01-01T00:00:01.5Z"),
        (1_700_000_000_000_001, "2023-11-14T22:13:20.000001Z"),
    ],
)
def test_a_time_is_written_as_go_writes_it(us: int, text: str) -> None:
    assert time_text(us) == text


def test_a_message_to_people_begins_with_what_matters() -> None:
    told = notification(alert(agent="a1"), alert("Queue", status="resolved"))

    assert title(told) == "[1 FIRING, 1 RESOLVED] ErrorRate, Queue"
    text = body(told, "https://pilothouse.example")
    assert text.startswith("FIRING: ErrorRate (critical)\nErrorRate is high\nClears when: it is")
    assert "agent=a1" in text
    assert "from 2023-11-14T22:12:20Z to 2023-11-14T22:13:20Z" in text


def test_the_title_of_a_message_is_one_line() -> None:
    told = notification(alert("Depth\r\nBcc: all@example.com"), alert("x" * 500))
    said = title(told)
    assert said.startswith("[2 FIRING] Depth Bcc: all@example.com, xxx")
    assert len(said) == MOST_TITLE


def test_a_message_to_people_is_bounded() -> None:
    told = notification(*(alert(f"Alert{number:03}") for number in range(500)))

    assert title(told) == "[500 FIRING] Alert000, Alert001, Alert002 and 497 more"
    assert body(told, "").count("FIRING:") == 20
    assert body(told, "").endswith("… and 480 more")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/hook", "https://example.com/hook"),
        ("https://example.com:8443/a/v1/alerts", "https://example.com:8443/a/v1/alerts"),
        ("https://me:pass@example.com/", "https://***@example.com/"),
        ("https://token@example.com/", "https://***@example.com/"),
        ("https://a@b@example.com/", "https://***@example.com/"),
        ("https://example.com/x?key=1&b=2", "https://example.com/x?key=***&b=***"),
        ("https://example.com/x?justakey", "https://example.com/x?***"),
        (f"https://example.com/services/T01/{SECRET}", "https://example.com/services/T01/***"),
        ("https://example.com/x#part", "https://example.com/x#***"),
    ],
)
def test_a_url_is_shown_without_what_could_be_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert hides(url) == (url != shown)
    assert shown_url(shown) == shown
