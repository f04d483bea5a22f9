"""promtool is the judge of what an alerting rule of Prometheus does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.agreement import check
from tests.conformance.judges import PROMTOOL

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


@needs_promtool
@pytest.mark.parametrize("seed", range(50))
def test_promtool_and_we_see_the_same_alerts_in_every_slot(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)
