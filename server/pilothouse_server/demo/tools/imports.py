"""Dependency check: every import resolves to the standard library, the project itself or a declared dependency."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib

from pilothouse_server.demo.tools.report import done, failed, sources


def main(arguments: list[str]) -> int:
    """FOLDER."""
    (folder,) = arguments
    with open(f"{folder}/pyproject.toml", "rb") as file:
        declared = tomllib.load(file)["project"]["dependencies"]
    known = sys.stdlib_module_names | {name_of(requirement) for requirement in declared}
    known |= {entry.removesuffix(".py") for entry in os.listdir(f"{folder}/src")} | {"tests"}
    modules = {path[len("src/") : -len(".py")].replace("/", ".") for path in sources(folder)}
    count = 0
    problems: dict[str, str] = {}
    for path in sources(folder):
        with open(f"{folder}/{path}", encoding="utf-8") as file:
            text = file.read()
        try:
            imported = imports_of(text)
        except SyntaxError as error:
            problems[path] = f"line {error.lineno} cannot be read: {error.msg}"
            continue
        count += len(imported)
        for name in imported:
            if name.partition(".")[0] not in known:
                problems[path] = f"imports {name}, which nothing declares"
            elif (
                name.startswith(f"{os.path.basename(os.path.dirname(path))}.")
                and name not in modules
            ):
                problems[path] = f"imports {name}, which is not there"
    if problems:
        message = "; ".join(f"{path} {problem}" for path, problem in problems.items())
        return failed("DEPENDENCY_UNRESOLVED", message, list(problems))
    return done(f"{count} imports resolve")


def imports_of(text: str) -> list[str]:
    """The modules that a source imports, as it names them."""
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return names


def name_of(requirement: str) -> str:
    """The import name of a requirement, as far as it can be told from its text."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].replace("-", "_").lower()
