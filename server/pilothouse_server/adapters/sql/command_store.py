"""Commands and executors as rows. Whatever changes a command does it in one transaction with the event that tells of it and
with the revision of its workflow, so that no watcher sees one without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import batched
from typing import Any, TypeVar
