"""The fingerprint of a label set as Prometheus and Alertmanager compute it, so that receivers which know alerts of
theirs by it know ours as well.

Source: `labelSetToFingerprint` in github.com/prometheus/common, model/signature.go: FNV-1a of 64 bits over each name
and value in the order of the names, each followed by the byte 0xFF; no labels are the offset basis alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_OFFSET: Final = 14695981039346656037
_PRIME: Final = 1099511628211
_MASK: Final = (1 << 64) - 1


def label_fingerprint(labels: Mapping[str, str]) -> str:
    """Sixteen hexadecimal digits."""
    sum_ = _OFFSET
    for name in sorted(labels, key=str.encode):
        for byte in b"%b\xff%b\xff" % (name.encode(), labels[name].encode()):
            sum_ = ((sum_ ^ byte) * _PRIME) & _MASK
    return f"{sum_:016x}"
