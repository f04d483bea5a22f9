"""An import-linter contract that import-linter lacks: a package that needs only the standard library."""

from __future__ import annotations

import sys
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class StandardLibraryOnly(Contract):
    """Every import leaving `package` must be of the standard library, but not in `not_even`, or be in `but`."""

    type_name = "standard_library_only"

    package = fields.StringField()
    not_even = fields.SetField(subfield=fields.StringField(), required=False)
    but = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Collect the imports that break the rule."""
        package = str(self.package)
        refused = cast("set[str] | None", self.not_even) or set()
        allowed = cast("set[str] | None", self.but) or set()
        broken: list[tuple[str, str]] = []
        for module in sorted({package, *graph.find_descendants(package)}):
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                top = imported.partition(".")[0]
                inside = imported == package or imported.startswith(f"{package}.")
                known = top in sys.stdlib_module_names or top in allowed
                if not inside and (not known or top in refused):
                    broken.append((module, imported))
        output.verbose_print(verbose, f"{len(broken)} imports of {package} are not allowed")
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Name each import that breaks the rule."""
        for module, imported in check.metadata["broken"]:
            output.print_error(f"{module} imports {imported}")
        output.new_line()
