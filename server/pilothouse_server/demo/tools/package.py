"""Deployment, first step: a zipped application and a source archive, with their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import zipapp

from pilothouse_server.demo.tools.report import done, load_project, write_atomically


def main(arguments: list[str]) -> int:
    """FOLDER."""
    (folder,) = arguments
    project = load_project(folder)
    name = f"{project['package']}-{project['version']}"
    dist = f"{folder}/dist"
    zipapp.create_archive(
        f"{folder}/src",
        f"{dist}/{name}.pyz",
        compressed=True,
    )
    with tarfile.open(f"{dist}/{name}.tar.gz", "w:gz") as archive:
        for entry in ("pyproject.toml", "src", "tests"):
            archive.add(f"{folder}/{entry}", f"{name}/{entry}")
    sums = {file: _sha256(f"{dist}/{file}") for file in (f"{name}.pyz", f"{name}.tar.gz")}
    write_atomically(f"{dist}/SHA256SUMS.json", json.dumps(sums, indent=2) + "\n")
    sizes = ", ".join(f"{file} {os.path.getsize(f'{dist}/{file}')} bytes" for file in sums)
    return done(sizes)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
