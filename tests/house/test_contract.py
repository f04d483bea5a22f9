"""The contract as it is generated: importable beside others' code, and lean in the browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.api import annotations_pb2

from pilothouse._vendor.buf.validate import validate_pb2

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web" / "src" / "gen"
VERSIONED = ROOT / "clients" / "python" / "pilothouse" / "v1"


def test_generated_modules_import_without_a_top_level_package_buf() -> None:
    modules = sorted(path.stem for path in VERSIONED.glob("*_pb2*.py"))
    assert modules
    program = "\n".join(
        [
            "import sys",
            *(f"import pilothouse.v1.{name}" for name in modules),
            "assert 'buf' not in sys.modules, 'a generated module imports the package buf'",
        ]
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_rules_and_paths_are_readable_from_the_descriptors() -> None:
    assert validate_pb2.field.full_name == "buf.validate.field"
    assert annotations_pb2.http.full_name == "google.api.http"


def test_a_file_without_a_service_has_no_grpc_module() -> None:
    for path in VERSIONED.glob("*_pb2_grpc.py"):
        assert "Servicer" in path.read_text("utf-8"), path.name


def test_the_browser_does_not_load_the_descriptors_of_validation_and_http() -> None:
    generated = [path.read_text("utf-8") for path in WEB.rglob("*.ts")]
    assert generated
    assert not any("buf/validate" in text or "google/api" in text for text in generated)
