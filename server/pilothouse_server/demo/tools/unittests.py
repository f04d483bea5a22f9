"""Unit tests: one test module under `unittest`, with a seed for what it shuffles and draws."""

from __future__ import annotations

import io
import os
import sys
import unittest

from pilothouse_server.demo.tools.report import done, failed


def main(arguments: list[str]) -> int:
    """FOLDER MODULE; the environment has TEST_SEED."""
    folder, module = arguments
    seed = os.environ.get("TEST_SEED", "0")
    sys.path[:0] = [folder, f"{folder}/src"]
    suite = unittest.defaultTestLoader.loadTestsFromName(f"tests.test_{module}")
    output = io.StringIO()
    result = unittest.TextTestRunner(output, verbosity=1).run(suite)
    sys.stderr.write(output.getvalue())
    wrong = [*result.failures, *result.errors]
    if not wrong:
        return done(f"{result.testsRun} tests pass, seed {seed}")
    names = ", ".join(case.id().rpartition(".")[2] for case, _ in wrong)
    why = wrong[0][1].strip().rpartition("\n")[2]
    return failed(
        "TESTS_FAILED",
        f"{len(wrong)} of {result.testsRun} tests fail with seed {seed}: {names}: {why}",
        [f"tests/test_{module}.py"],
    )
