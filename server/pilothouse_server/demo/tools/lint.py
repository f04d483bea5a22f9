"""Validation, second half: a few rules of good code, judged on the syntax tree.

unused import; mutable default argument; bare except; public function without docstring; name assigned and never read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pilothouse_server.demo.tools.report import done, failed, sources

Finding = tuple[int, str]
"""(line, what is wrong)."""


def main(arguments: list[str]) -> int:
    """FOLDER."""
    (folder,) = arguments
    findings: dict[str, list[Finding]] = {}
    lines = 0
    paths = sources(folder)
    for path in paths:
        with open(f"{folder}/{path}", encoding="utf-8") as file:
            text = file.read()
        lines += text.count("\n")
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            findings[path] = [(error.lineno or 0, error.msg)]
            continue
        is_test = path.startswith("tests/")
        found = sorted(
            finding for finding in judge(tree) if not (is_test and "docstring" in finding[1])
        )
        if found:
            findings[path] = found
    if findings:
        words = [
            f"{path}:{line} {what}" for path, found in findings.items() for line, what in found
        ]
        return failed("LINT_FINDINGS", "; ".join(words), list(findings))
    return done(f"{lines} lines in {len(paths)} files keep to the rules")


def judge(tree: ast.Module) -> Iterator[Finding]:
    """All findings in one module."""
    yield from _unused_imports(tree)
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=None):
                yield node.lineno, "bare except"
            case ast.FunctionDef():
                yield from _function(node)
            case _:
                pass


def _unused_imports(tree: ast.Module) -> Iterator[Finding]:
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    exported = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = (alias.asname or alias.name).partition(".")[0]
                if name not in used and name not in exported:
                    yield node.lineno, f"{name} is imported and never used"


def _function(node: ast.FunctionDef) -> Iterator[Finding]:
    for default in [*node.args.defaults, *(one for one in node.args.kw_defaults if one)]:
        if isinstance(default, ast.List | ast.Dict | ast.Set):
            yield default.lineno, f"{node.name} has a mutable default"
    if (
        not node.name.startswith("_")
        and not node.name.startswith("do_")
        and not ast.get_docstring(node)
    ):
        yield node.lineno, f"{node.name} has no docstring"
    stored: dict[str, int] = {}
    read: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            if isinstance(inner.ctx, ast.Store):
                stored.setdefault(inner.id, inner.lineno)
            else:
                read.add(inner.id)
    for name, line in stored.items():
        if name not in read and not name.startswith("_"):
            yield line, f"{name} is assigned and never read"
