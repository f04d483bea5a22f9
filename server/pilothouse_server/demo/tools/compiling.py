"""Validation, first half: every source compiles, and a warning of the compiler is an error."""

from __future__ import annotations

import warnings

from pilothouse_server.demo.tools.report import done, failed, sources


def main(arguments: list[str]) -> int:
    """FOLDER."""
    (folder,) = arguments
    warnings.simplefilter("error")
    problems: dict[str, str] = {}
    paths = sources(folder)
    for path in paths:
        with open(f"{folder}/{path}", encoding="utf-8") as file:
            text = file.read()
        try:
            compile(text, path, "exec")
        except SyntaxError as error:
            # With warnings as errors the compiler turns its own warnings into this, too.
            problems[path] = f"line {error.lineno}: {error.msg}"
    if problems:
        message = "; ".join(f"{path} {problem}" for path, problem in problems.items())
        return failed("COMPILE_ERROR", message, list(problems))
    return done(f"{len(paths)} files compile without a warning")
