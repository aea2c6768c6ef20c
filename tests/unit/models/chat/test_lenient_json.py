from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhearth.models.chat.lenient_json import JsonScanner, UnreadableJsonError, loads_lenient

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON)
def test_valid_json_means_what_it_means(value: object) -> None:
    assert loads_lenient(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('{"a": 1,}', {"a": 1}),
        ('{"a": [1, 2, ], }', {"a": [1, 2]}),
        ('{"a": ",}"}', {"a": ",}"}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('{"a": """x "y"\nz"""}', {"a": 'x "y"\nz'}),
        ('{"a": """"""}', {"a": ""}),
        ('{"a": ""}', {"a": ""}),
        ('{"a": "\\d+\\n"}', {"a": "\\d+\n"}),
        ('{"a": "it\\\'s"}', {"a": "it\\'s"}),
        ('{"a": [1, {"b": 2', {"a": [1, {"b": 2}]}),
        ('{"a": 1', {"a": 1}),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud83d"', "\ufffd"),
        ('{"\\ud83d": 1}', {"\ufffd": 1}),
    ],
)
def test_the_usual_mistakes_are_mended(source: str, value: object) -> None:
    assert loads_lenient(source) == value


@pytest.mark.parametrize(
    "source",
    ["", "a", '{"a": "cut', '{"a": """cut"', "{a: 1}", "NaN", '{"a": Infinity}', pytest.param("[" * 99_999, id="deep")],
)
def test_what_cannot_be_mended_is_refused(source: str) -> None:
    with pytest.raises(UnreadableJsonError):
        loads_lenient(source)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=4) | st.lists(JSON, max_size=4), st.text(), st.data())
def test_the_scanner_finds_the_end(value: object, tail: str, data: st.DataObject) -> None:
    source = json.dumps(value)
    text = source + tail
    cut = data.draw(st.integers(0, len(text)))
    scanner = JsonScanner()
    end = scanner.feed(text[:cut])
    if not scanner.done:
        assert bool(scanner.missing) == (cut > 0)
        end = cut + scanner.feed(text[cut:])
    assert scanner.done
    assert text[:end] == source


@pytest.mark.parametrize(
    ("text", "end"),
    [('{"a": """b"}c"""} d', 17), ('{"a": "", "b": "}"} d', 19), ('{"a": "\\"}"} d', 12), ('{"a": """\\""""} d', 15)],
)
def test_the_scanner_knows_strings(text: str, end: int) -> None:
    scanner = JsonScanner()
    assert (scanner.feed(text), scanner.done) == (end, True)
