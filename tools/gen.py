"""Generates what is made from `protos/` and committed: Python, its stubs, TypeScript, the API reference.

One command for all of them, because the outputs are committed and must come from the same contract.
Code is generated into a temporary folder first. Then either the checkout is brought up to date, or
(`--check`) the difference is reported; so the check works in a dirty tree and needs no git.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from tools import node

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PYTHON = Path("clients/python/pilothouse")
WEB = Path("web/src/gen")
VENDORED = "pilothouse._vendor"

REFERENCE = Path("docs/reference")

OUTPUTS = (PYTHON / "v1", PYTHON / "_vendor" / "buf", WEB, REFERENCE)
"""Folders that hold generated code only: what is there and not generated is deleted."""

SOURCES = {
    "v1": "protos/pilothouse/v1",
    "_vendor/buf": "protos/buf",
    "_vendor/buf/validate": "protos/buf/validate",
}
DOCSTRING = '"""Generated from {source} by `make gen`: do not edit."""\n'


def generate(out: Path) -> None:
    """Write all generated code below `out`, laid out as in the repository."""
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("pilothouse/**/*.proto"))
    if not ours:
        raise SystemExit("no protos/pilothouse/**/*.proto to generate from")
    _generate_python(out, ours)
    _generate_reference(out, ours)
    if (node.WEB / "package.json").exists():
        _generate_typescript(out, ours)


def _generate_python(out: Path, ours: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        flat = Path(scratch)
        vendored = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("buf/**/*.proto"))
        _protoc([f"--python_out={flat}", f"--mypy_out=quiet:{flat}"], [*ours, *vendored])
        _protoc([f"--grpc_python_out={flat}", f"--mypy_grpc_out=quiet:{flat}"], ours)
        for path in flat.rglob("*_pb2_grpc.py*"):
            # The plugins write an empty module for a file without a service.
            if not _has_service(PROTOS / path.relative_to(flat)):
                path.unlink()
        for path in flat.rglob("*.py*"):
            path.write_text(_vendor_imports(path.read_text("utf-8")), "utf-8")
        shutil.copytree(flat / "pilothouse" / "v1", out / PYTHON / "v1")
        shutil.copytree(flat / "buf", out / PYTHON / "_vendor" / "buf")
    # A program's own descriptors have no comments; the command line's help is made of them.
    comments = out / PYTHON / "v1" / "descriptors.binpb"
    _protoc(["--include_source_info", f"--descriptor_set_out={comments}"], ours)
    for folder, source in SOURCES.items():
        (out / PYTHON / folder / "__init__.py").write_text(DOCSTRING.format(source=source), "utf-8")


def _has_service(module: Path) -> bool:
    proto = module.with_name(module.name.split("_pb2_grpc.")[0] + ".proto")
    return re.search(r"^service\s", proto.read_text("utf-8"), re.MULTILINE) is not None


def _vendor_imports(text: str) -> str:
    """A top-level package `buf` would clash with anybody else's, so its import lines move."""
    text = re.sub(r"^(\s*)from buf\.", rf"\1from {VENDORED}.buf.", text, flags=re.MULTILINE)
    return re.sub(r"^(\s*)import buf\.", rf"\1import {VENDORED}.buf.", text, flags=re.MULTILINE)


def _generate_reference(out: Path, ours: list[str]) -> None:
    """Write the API reference. Its maker knows our options, so it is a process of its own."""
    (out / REFERENCE).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        _protoc(["--include_source_info", f"--descriptor_set_out={image}"], ours)
        page = out / REFERENCE / "api.md"
        command = [sys.executable, "-m", "tools.reference", str(image), str(page)]
        subprocess.run(command, check=True, cwd=ROOT)


def _generate_typescript(out: Path, ours: list[str]) -> None:
    """Run protoc-gen-es on the contract without its options: a browser checks no rules and needs no paths.

    With them, every page would load the descriptors of protovalidate and google.api as well.
    """
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        _protoc(
            ["--include_imports", "--include_source_info", f"--descriptor_set_out={image}"], ours
        )
        files = FileDescriptorSet.FromString(image.read_bytes()).file
    plain = list(_without_options(files))
    request = plugin_pb2.CodeGeneratorRequest(
        parameter="target=ts,json_types=true", proto_file=plain
    )
    request.file_to_generate.extend(file.name for file in plain if file.name in ours)
    answer = plugin_pb2.CodeGeneratorResponse.FromString(
        _protoc_gen_es(request.SerializeToString())
    )
    if answer.error:
        raise SystemExit(f"protoc-gen-es: {answer.error}")
    for file in answer.file:
        target = out / WEB / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.content, "utf-8")


def _protoc_gen_es(request: bytes) -> bytes:
    if not (node.WEB / "node_modules" / ".bin" / "protoc-gen-es").exists():
        raise SystemExit("web/node_modules is not installed: run `make gen`, which does that first")
    found = node.find()
    command = found.command(["protoc-gen-es"])
    done = subprocess.run(
        command, input=request, env=found.environment(), stdout=subprocess.PIPE, check=True
    )
    return done.stdout


def _without_options(files: Iterable[FileDescriptorProto]) -> Iterator[FileDescriptorProto]:
    """The same files without custom options, their extensions and the imports only those needed."""
    plain: list[FileDescriptorProto] = []
    home: dict[str, str] = {}
    for original in files:
        file = FileDescriptorProto()
        file.CopyFrom(original)
        # No extension is registered in this process, so every custom option is an unknown field.
        file.DiscardUnknownFields()
        del file.extension[:]
        home.update({f".{file.package}.{message.name}": file.name for message in file.message_type})
        home.update({f".{file.package}.{enum.name}": file.name for enum in file.enum_type})
        plain.append(file)
    needed = {
        file.name: {home[_top_level(name, home)] for name in _types_used(file)} for file in plain
    }
    wanted = {file.name for file in plain if file.package.startswith("pilothouse.")}
    while missing := {name for each in wanted for name in needed[each]} - wanted:
        wanted |= missing
    for file in plain:
        if file.name in wanted:
            del file.dependency[:]
            file.dependency.extend(sorted(needed[file.name] - {file.name}))
            yield file


def _types_used(file: FileDescriptorProto) -> Iterator[str]:
    def in_message(message: DescriptorProto) -> Iterator[str]:
        yield from (field.type_name for field in message.field if field.type_name)
        for nested in message.nested_type:
            yield from in_message(nested)

    for message in file.message_type:
        yield from in_message(message)
    for service in file.service:
        for method in service.method:
            yield method.input_type
            yield method.output_type


def _top_level(name: str, home: dict[str, str]) -> str:
    """`.pkg.Outer` for `.pkg.Outer.Inner`: the name under which its file is known."""
    while name not in home:
        name = name.rpartition(".")[0]
    return name


def _protoc(outputs: list[str], files: list[str]) -> None:
    includes = [f"-I{PROTOS}", f"-I{_package_folder('grpc_tools') / '_proto'}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *outputs, *files]
    # The mypy plugins are scripts beside this interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode != 0:
        raise SystemExit("protoc refused the contract")


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{name} is not installed: run this through `make gen`")
    return Path(next(iter(spec.submodule_search_locations)))


def _files(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


def _differences(fresh: Path) -> Iterator[tuple[str, Path, bytes | None]]:
    """What to do with which file of the checkout, and its new content."""
    for output in OUTPUTS:
        new, old = _files(fresh / output), _files(ROOT / output)
        for name in sorted(new.keys() | old.keys()):
            if name not in new:
                yield "delete", output / name, None
            elif new[name] != old.get(name):
                yield "change" if name in old else "add", output / name, new[name]


def main() -> None:
    """Bring the generated code up to date, or with `--check` say what is out of date and fail."""
    parser = argparse.ArgumentParser(prog="python -m tools.gen", description=main.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when something would change"
    )
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        differences = list(_differences(Path(scratch)))
    for action, path, content in differences:
        print(f"{action:6} {path}")
        if check:
            continue
        if content is None:
            (ROOT / path).unlink()
        else:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_bytes(content)
    if check and differences:
        raise SystemExit(
            "generated code is not what the contract says: run `make gen` and commit the result"
        )


if __name__ == "__main__":
    main()
