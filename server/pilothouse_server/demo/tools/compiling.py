"""Validation, first half: every source compiles, and a warning of the compiler is an error."""

from __future__ import annotations

import py_compile
import warnings

from pilothouse_server.demo.tools.report import done, failed, sources


def main(arguments: list[str]) -> int:
    """FOLDER."""
    (folder,) = arguments
    warnings.simplefilter("error")
    problems: dict[str, str] = {}
    paths = sources(folder)
    for path in paths:
        try:
            py_compile.compile(f"{folder}/{path}", doraise=True)
        except py_compile.PyCompileError as error:
            cause = error.exc_value
            line = cause.lineno if isinstance(cause, SyntaxError) else 0
            problems[path] = (
                f"line {line}: {cause.msg if isinstance(cause, SyntaxError) else cause}"
            )
    if problems:
        message = "; ".join(f"{path} {problem}" for path, problem in problems.items())
        return failed("COMPILE_ERROR", message, list(problems))
    return done(f"{len(paths)} files compile without a warning")
