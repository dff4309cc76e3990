"""Lines and array elements of a byte stream: bounded, in order, and what is wrong with one of them."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.adapters.jobs.lines import array_elements, bounded_lines, digest_of, parse_json


def test_a_line_beyond_the_limit_is_counted_and_not_kept():
    # 5 bytes are allowed, line ends not counted: "12345" stays, "123456" does not.
    pieces = list(bounded_lines(io.BytesIO(b'12345\r\n123456\n"2"4"6"8\n\nlast'), 5))
    assert [piece.data for piece in pieces] == [b"12345\r\n", None, None, b"\n", b"last"]
    assert [piece.size for piece in pieces] == [7, 7, 9, 1, 4]
    assert pieces[2].quotes == 4
    assert pieces[1].digest == digest_of(b"123456\n")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))), st.integers(1, 20), st.booleans())
def test_lines_are_those_of_splitting_at_line_feeds(lines, limit, ends):
    data = b"\n".join(lines) + (b"\n" if ends else b"")
    wanted = data.splitlines(keepends=True) if b"\r" not in data else list(io.BytesIO(data))
    pieces = list(bounded_lines(io.BytesIO(data), limit))
    assert [piece.size for piece in pieces] == [len(line) for line in wanted]
    assert [piece.digest for piece in pieces] == [digest_of(line) for line in wanted]
    for piece, line in zip(pieces, wanted, strict=True):
        assert piece.data == (line if len(line.rstrip(b"\r\n")) <= limit else None)


def test_a_long_line_takes_no_memory():
    class Endless(io.RawIOBase):
        """50 MB without a line end."""

        left = 50_000_000

        def readable(self):
            return True

        def readinto(self, buffer):
            count = min(len(buffer), self.left)
            buffer[:count] = b"x" * count
            self.left -= count
            return count

    tracemalloc.start()
    pieces = list(bounded_lines(io.BufferedReader(Endless()), 1_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [piece.size for piece in pieces] == [50_000_000] and peak < 6_000_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Pieces(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    step = 3

    def read(self, size=-1):
        return super().read(min(size, self.step) if size > 0 else self.step)


@settings(max_examples=300, deadline=None)
@given(st.lists(JSON, max_size=6), st.integers(1, 40), st.sampled_from([None, 0, 2]), st.booleans())
def test_the_elements_of_an_array_are_those_of_json(items, step, indent, ascii_only):
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    stream = Pieces(("  " + text + "\n ").encode("utf-8", "surrogatepass"))
    stream.step = step
    found = [piece.data.decode("utf-8", "surrogatepass") for piece in array_elements(stream, 1 << 20)]
    assert [json.loads(each) for each in found] == items


def test_an_element_beyond_the_limit_is_not_kept():
    found = list(array_elements(io.BytesIO(b'[1, "%s", 3]' % (b"x" * 100)), 20))
    assert [piece.data for piece in found] == [b"1", None, b"3"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"[1, 2", "the array does not end"),
        (b"", "the array does not end"),
        (b"[1] x", "text after the end of the array"),
    ],
)
def test_a_broken_array_is_an_error(data, text):
    with pytest.raises(ValueError, match=text):
        list(array_elements(io.BytesIO(data), 100))


def test_a_bad_element_costs_no_other():
    found = [piece.data for piece in array_elements(io.BytesIO(b'[{"a": 1}, {"a" 2}, {bad: [3, "]}"], }, 4]'), 100)]
    assert found == [b'{"a": 1}', b'{"a" 2}', b'{bad: [3, "]}"], }', b"4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "invalid JSON: Expecting property name enclosed in double quotes at column 2"),
        ("9" * 5000, "invalid JSON: a number of too many digits"),
        ("[" * 100_000, "invalid JSON: nested too deeply"),
    ],
)
def test_what_is_no_json_says_so(text, message):
    with pytest.raises(ValueError) as error:
        parse_json(text)
    assert str(error.value) == message


def test_nan_is_null():
    assert parse_json('[NaN, -Infinity, "NaN"]') == [None, None, "NaN"]
