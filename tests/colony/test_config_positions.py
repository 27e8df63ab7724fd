"""The law of `positions`: what stands under a span is that key, or that value."""

from __future__ import annotations

import datetime
import string
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tomlkit.items import Item

from colony.config.positions import Path, Positions, Span, scan

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def spans(text: str) -> dict[str, tuple[str, str]]:
    """Dotted path → (text of the key, text of the value)."""
    found = scan(text)
    shown = {}
    for path in found:
        key, value = found.key(path), found.value(path)
        shown[".".join(map(str, path))] = (
            found.at(key) if key else "",
            found.at(value) if value else "",
        )
    return shown


def test_a_pair_at_the_top() -> None:
    found = scan('name = "x" # comment\n')
    assert found.key(("name",)) == Span(1, 1, 4)
    assert found.value(("name",)) == Span(1, 8, 3)


def test_a_table_has_its_header_as_its_value() -> None:
    assert spans('[ services . "web" ]\n  port=1\n') == {
        "services": ("services", "services"),
        "services.web": ('"web"', '[ services . "web" ]'),
        "services.web.port": ("port", "1"),
    }


def test_a_table_that_was_implied_is_placed_at_its_own_header() -> None:
    assert spans("[a.b]\n[a]\n")["a"] == ("a", "[a]")


def test_dotted_keys() -> None:
    assert spans("[t]\na . 'b'. \"c\\u0064\" = 1\na.e = 2\n") == {
        "t": ("t", "[t]"),
        "t.a": ("a", "a"),
        "t.a.b": ("'b'", "'b'"),
        "t.a.b.cd": ('"c\\u0064"', "1"),
        "t.a.e": ("e", "2"),
    }


def test_arrays_of_tables_and_their_subtables() -> None:
    text = "[[a]]\nx = 1\n[a.b]\ny = 2\n[[a]]\n[a.b]\ny = 3\n[[a.c]]\n[[a.c]]\nz = 4\n"
    assert spans(text) == {
        "a": ("a", "a"),
        "a.0": ("", "[[a]]"),
        "a.0.x": ("x", "1"),
        "a.0.b": ("b", "[a.b]"),
        "a.0.b.y": ("y", "2"),
        "a.1": ("", "[[a]]"),
        "a.1.b": ("b", "[a.b]"),
        "a.1.b.y": ("y", "3"),
        "a.1.c": ("c", "c"),
        "a.1.c.0": ("", "[[a.c]]"),
        "a.1.c.1": ("", "[[a.c]]"),
        "a.1.c.1.z": ("z", "4"),
    }
    assert scan(text).key(("a", 1, "b")) == Span(6, 4, 1)


def test_inline_tables_and_arrays_over_lines() -> None:
    text = "e = { A.x = '1', \"B\" = [\n  1, # one, ]\n  { c = 2 },\n] }\nz = 1\n"
    assert spans(text) == {
        "e": ("e", "{ A.x = '1', \"B\" = [\n  1, # one, ]\n  { c = 2 },\n] }"),
        "e.A": ("A", "A"),
        "e.A.x": ("x", "'1'"),
        "e.B": ('"B"', "[\n  1, # one, ]\n  { c = 2 },\n]"),
        "e.B.0": ("", "1"),
        "e.B.1": ("", "{ c = 2 }"),
        "e.B.1.c": ("c", "2"),
        "z": ("z", "1"),
    }
    assert scan(text).key(("e", "B", 1, "c")) == Span(3, 5, 1)


@pytest.mark.parametrize(
    "value",
    [
        '"""a\n"b" ""\\""""',
        '"""two quotes at the end"""""',
        "'''it's\n# no comment\n[no.table]'''''",
        '""',
        "''",
        '""""""',
        '"\\"#\\\\"',
        "1979-05-27 07:32:00.5-07:00",
        "1979-05-27T07:32:00Z",
        "07:32:00",
        "1979-05-27",
        "+1_000.5e-3",
        "-inf",
        "0xdead_BEEF",
        "true",
        '["]", \'[\', """,""", # ]\n [[], {}], 1979-05-27 07:32:00,]',
        "{ a = '}', b = { c = [ '#' ] } }",
    ],
)
def test_every_kind_of_value(value: str) -> None:
    text = f"before = 1\nit =\t{value} # comment\nafter = 2\n"
    found = scan(text)
    span = found.value(("it",))
    assert span is not None
    assert (found.at(span), span.line, span.column) == (value, 2, 6)
    after = found.key(("after",))
    assert after is not None
    assert after.line == 3 + value.count("\n")


def test_windows_line_ends_are_no_part_of_a_line() -> None:
    found = scan("a = 1\r\n[t]\r\nb = 2\r\n")
    assert [found.line(number) for number in range(6)] == ["", "a = 1", "[t]", "b = 2", "", ""]
    assert found.value(("t", "b")) == Span(3, 5, 1)


def test_a_missing_path_has_no_span_and_the_nearest_is_its_parent() -> None:
    found = scan("[a]\nb = 1\n")
    assert found.value(("a", "c")) is None
    assert found.key(("a", "c")) is None
    assert found.nearest(("a", "c", "d")) == Span(1, 1, 3)
    assert found.nearest(("x",)) is None


def test_a_second_definition_is_noted_and_the_first_one_stays() -> None:
    found = scan("[t]\na = 1\na = 2\n[t]\n")
    assert found.value(("t", "a")) == Span(2, 5, 1)
    assert [
        (double.path, double.first.line, double.second.line) for double in found.duplicates
    ] == [
        (("t", "a"), 2, 3),
        (("t",), 1, 4),
    ]


@pytest.mark.parametrize(
    ("text", "offset"),
    [("a = 1\n", None), ("a = \n", 4), ("a\n", 1), ("[a\n", 2), ('a = "x\n', 4), ("a = [1, \n", 9)],
)
def test_where_it_is_stuck(text: str, offset: int | None) -> None:
    assert scan(text).stuck == offset


# Random documents: built by tomlkit in every style it knows, read by tomllib, found by us.

keys = st.one_of(
    st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=6),
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=6),
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
leaves = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    texts,
    st.datetimes(datetime.datetime(1000, 1, 1)),
    st.dates(datetime.date(1000, 1, 1)),
    st.times(),
)


@st.composite
def items(draw: st.DrawFn, depth: int = 2) -> Item:
    """A value in one of its spellings."""
    kind = draw(st.sampled_from(["leaf", "string", "array", "inline"] if depth else ["leaf"]))
    if kind == "array":
        array = tomlkit.array()
        for element in draw(st.lists(items(depth - 1), max_size=3)):
            array.append(element)
        return array.multiline(draw(st.booleans()))
    if kind == "inline":
        inline = tomlkit.inline_table()
        for key, element in draw(st.dictionaries(keys, items(depth - 1), max_size=3)).items():
            inline.append(tomlkit.key(key), element)
        return inline
    if kind == "string":
        value = draw(st.text(string.ascii_letters + " #[]{}=,.", max_size=12))
        return tomlkit.string(value, literal=draw(st.booleans()), multiline=draw(st.booleans()))
    item: Item = tomlkit.item(draw(leaves))
    return item


@st.composite
def tables(draw: st.DrawFn, depth: int = 2) -> Any:
    """A table with comments, empty lines, dotted keys, sub-tables and arrays of tables."""
    table = tomlkit.table() if depth < 2 else tomlkit.document()
    for key in draw(st.lists(keys, unique=True, max_size=4)):
        if draw(st.booleans()):
            table.add(tomlkit.comment('a = "b" [c]'))
        if draw(st.booleans()):
            table.add(tomlkit.nl())
        dotted = draw(st.lists(keys, max_size=2))
        name = tomlkit.key([key, *dotted]) if dotted else tomlkit.key(key)
        table.append(name, draw(items()))
    if depth:
        for key in draw(
            st.lists(keys.filter(lambda key: key not in table), unique=True, max_size=3)
        ):
            if draw(st.booleans()):
                array = tomlkit.aot()
                for element in draw(st.lists(tables(depth - 1), min_size=1, max_size=3)):
                    array.append(element)
                table.append(tomlkit.key(key), array)
            else:
                table.append(tomlkit.key(key), draw(tables(depth - 1)))
    return table


def paths(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every path of a parsed document with its value."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*path, index))


def parsed(text: str) -> dict[str, Any] | None:
    """The document, or None: tomlkit does not always write what it can read."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def check(found: Positions, path: Path, value: object) -> None:
    """The law, for one path."""
    span = found.value(path)
    assert span is not None, path
    key = found.key(path)
    assert (key is None) == isinstance(path[-1], int)
    if key is not None:
        assert list(tomllib.loads(f"{found.at(key)} = 1")) == [path[-1]]
    written = found.at(span)
    if isinstance(value, dict) and written.startswith("["):
        names = [part for part in path if isinstance(part, str)]
        header: object = tomllib.loads(written)
        for name in names:
            header = header[0] if isinstance(header, list) else header
            assert isinstance(header, dict)
            assert list(header) == [name]
            header = header[name]
    elif span != key:  # an implied table has no text but its key's
        assert tomllib.loads(f"value = {written}") == {"value": value}


@unhurried
@given(tables())
def test_every_found_position_holds_its_key_and_its_value(document: Any) -> None:
    text = tomlkit.dumps(document)
    expected = parsed(text)
    if expected is None:
        return
    found = scan(text)
    assert found.stuck is None
    assert found.duplicates == []
    wanted = dict(paths(expected))
    assert set(found) == set(wanted)
    for path, value in wanted.items():
        check(found, path, value)


@unhurried
@given(st.text(alphabet=st.sampled_from("ab=.,[]{}\"'\\#\n\r\t 1-é"), max_size=80))
def test_scanning_never_raises_and_never_leaves_the_text(text: str) -> None:
    found = scan(text)
    lines = text.split("\n")
    for path in found:
        for span in (found.key(path), found.value(path)):
            if span is not None:
                assert 1 <= span.line <= len(lines)
                assert 1 <= span.column <= len(lines[span.line - 1]) + 1
    expected = parsed(text)
    if expected is not None:
        assert set(found) == {path for path, _ in paths(expected)}
