"""The import rule that we wrote ourselves finds what it is there for."""

from __future__ import annotations

from grimp import ImportGraph

from tools.import_rules import StandardLibraryOnly


def _contract() -> StandardLibraryOnly:
    return StandardLibraryOnly(
        name="pure",
        session_options={},
        contract_options={"package": "app.domain", "not_even": ["time"]},
    )


def _graph(*imports: tuple[str, str]) -> ImportGraph:
    graph = ImportGraph()
    graph.add_module("app.domain")
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    return graph


def test_the_standard_library_and_the_package_itself_are_allowed() -> None:
    graph = _graph(("app.domain.a", "app.domain.b"), ("app.domain.b", "dataclasses"))
    assert _contract().check(graph, verbose=False).kept


def test_another_package_is_refused_and_named() -> None:
    check = _contract().check(_graph(("app.domain.a", "app.services")), verbose=False)
    assert not check.kept
    assert check.metadata["broken"] == [("app.domain.a", "app.services")]


def test_a_third_party_library_is_refused() -> None:
    assert not _contract().check(_graph(("app.domain", "grpc")), verbose=False).kept


def test_a_clock_is_refused_though_it_is_in_the_standard_library() -> None:
    assert not _contract().check(_graph(("app.domain.a", "time")), verbose=False).kept
