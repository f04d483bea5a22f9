"""Path templates: the grammar, and that what is built from values gives the values back."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.bridge.bindings import load_bindings, load_calls
from pilothouse_server.bridge.templates import parse

texts = (
    st.text(min_size=1)
    .filter(lambda text: text.isprintable() or True)
    .map(lambda text: text.encode("utf-8", "replace").decode("utf-8"))
)


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("/v1/things", "/v1/things", {}),
        ("/v1/things", "/v1/things/", None),
        ("/v1/things/{id}", "/v1/things/a", {"id": "a"}),
        ("/v1/things/{id}", "/v1/things/a/b", None),
        ("/v1/things/{id}", "/v1/things/", None),
        ("/v1/things/{id}", "/v1/things/a%2Fb", {"id": "a/b"}),
        ("/v1/things/{id}:go", "/v1/things/a:b:go", {"id": "a:b"}),
        ("/v1/things/{id}:go", "/v1/things/a%3Ago", None),
        ("/v1/{name=shelves/*/books/*}", "/v1/shelves/1/books/2", {"name": "shelves/1/books/2"}),
        ("/v1/{name=shelves/*}", "/v1/shelves/1/books", None),
        ("/v1/{name=**}", "/v1/a/b%2Fc/d%20e", {"name": "a/b%2Fc/d e"}),
        ("/v1/*/{a.b}", "/v1/anything/x", {"a.b": "x"}),
        ("/v1/a.c", "/v1/abc", None),
    ],
)
def test_a_template_matches_what_its_grammar_says(
    template: str, path: str, values: dict[str, str] | None
) -> None:
    assert parse(template).match(path) == values


@pytest.mark.parametrize(
    "wrong",
    ["", "v1", "/", "/{", "/{}", "/{A}", "/{a=}", "/a:", "/{a={b}}", "/{a}/{a}", "/a}b", "//"],
)
def test_a_wrong_template_is_refused_when_the_bridge_starts(wrong: str) -> None:
    with pytest.raises(ValueError, match="path template"):
        parse(wrong)


def test_bytes_that_are_no_text_are_an_error_and_not_a_guess() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        parse("/v1/{id}").match("/v1/%ff")


@given(texts, texts)
def test_any_values_come_back_as_they_went_in(first: str, second: str) -> None:
    path = f"/v1/{quote(first, safe='')}/x/{quote(second, safe='')}:go"
    assert parse("/v1/{a}/x/{b}:go").match(path) == {"a": first, "b": second}


@given(st.text(alphabet="/v1{a}b:%*.-2Fé", max_size=12))
def test_any_path_either_matches_or_does_not(path: str) -> None:
    found = parse("/v1/{a}").match(path)
    assert found is None or (path.startswith("/v1/") and "/" not in path[4:])


def test_every_unary_method_with_a_path_has_its_own() -> None:
    calls = load_calls()
    bindings = load_bindings(calls)
    keys = [(binding.verb, binding.template.text) for binding in bindings]
    assert len(set(keys)) == len(keys) > 15
    assert ("POST", "/api/v1/workflows/{workflow_id}/control") in keys
    assert calls["/pilothouse.v1.EventService/WatchEvents"].streaming
