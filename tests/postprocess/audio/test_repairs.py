"""Repairs of chunks: what each one changes, and what always holds afterwards."""

import random

import pytest

from afterlogits.postprocess.audio import cut_chunk_loops, cut_loops, repair_chunks


def chunk(text, start, end):
    return {"text": text, "timestamp": (start, end)}


# golden


def test_missing_times_are_filled():
    """The first end is the next start, the last end the recording's."""
    found = repair_chunks([chunk(" a", None, None), chunk(" b", 2.0, None)], seconds=5.0)
    assert found == [chunk(" a", 0.0, 2.0), chunk(" b", 2.0, 5.0)]


def test_times_that_run_backwards():
    """As a random model gave them: the second begins where the first ended, and ends within the 28 seconds."""
    found = repair_chunks([chunk(" a", 23.48, 26.42), chunk(" b", 23.77, 30.15)], seconds=28.0)
    assert found == [chunk(" a", 23.48, 26.42), chunk(" b", 26.42, 28.0)]


def test_empty_chunks_go():
    assert repair_chunks([chunk("", 0.0, 1.0), chunk(" a", 1.0, 2.0)]) == [chunk(" a", 1.0, 2.0)]
    assert len(repair_chunks([chunk(" ", 0.0, 1.0)], drop_empty=False)) == 1


def test_echoes_go():
    """A word said again while it is still being said is a chunk border's; said again later it is the speaker's."""
    echo = [chunk(" then,", 8.0, 9.0), chunk(" Then", 8.6, 9.2)]
    assert repair_chunks(echo) == echo[:1]
    assert len(repair_chunks([echo[0], chunk(" Then", 9.4, 9.8)])) == 2
    assert len(repair_chunks(echo, drop_echoes=False)) == 2


def test_other_keys_stay_and_nothing_is_changed():
    given = [chunk(" a", None, 1.0) | {"language": "english"}]
    assert repair_chunks(given)[0]["language"] == "english"
    assert given[0]["timestamp"] == (None, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b b b b c", "a b c"),
        ("a b b b c", "a b b b c"),  # three times is allowed
        ("go on and on and on and on and on", "go on and on"),  # "on and" four times, then "on"
        ("", ""),
        ("x x x x x", "x"),
    ],
)
def test_loops_are_cut(text, expected):
    words = text.split()
    assert " ".join(words[i] for i in cut_loops(words)) == expected


def test_loops_of_chunks_and_in_them():
    """Four chunks of one text are one; within it, four times a word are one."""
    found = cut_chunk_loops([chunk(" no no no no!", t, t + 1) for t in range(4)] + [chunk(" yes", 4, 5)])
    assert found == [chunk(" no", 0, 1), chunk(" yes", 4, 5)]


def test_most_repeats():
    with pytest.raises(ValueError, match=r"^most_repeats must be at least 1; got 0$"):
        cut_loops([1, 2], most_repeats=0)


# property


def test_times_are_always_in_order():
    """1,000 drawn lists with missing, negative, late and backward times."""
    for seed in range(1000):
        draw = random.Random(seed)

        def time(draw=draw):
            return draw.choice([None, round(draw.uniform(-1, 12), 2)])

        chunks = [chunk(draw.choice(["", " a", " b"]), time(), time()) for _ in range(draw.randint(0, 6))]
        found = repair_chunks(chunks, seconds=10.0)
        times = [t for item in found for t in item["timestamp"]]
        assert times == sorted(times) and all(0 <= t <= 10 for t in times)
        assert repair_chunks(found, seconds=10.0) == found


def test_cut_loops_leaves_no_loop():
    """500 drawn sequences of few symbols: cut once more, nothing goes; the first of each symbol stays."""
    for seed in range(500):
        draw = random.Random(seed)
        items = draw.choices("ab", k=draw.randint(0, 30))
        kept = cut_loops(items, most_repeats=2, longest=3)
        assert kept == sorted(set(kept))
        assert {items[i] for i in kept} == set(items)
