"""Subtitles: the files as written, what a reader gets back, and cues that never overlap."""

import itertools
import json
import random
import re

import pytest

from afterlogits.postprocess.audio import SUBTITLES, Cue, make_cues, to_json, to_srt, to_textgrid, to_tsv, to_vtt


def chunk(text, start, end):
    return {"text": text, "timestamp": (start, end)}


CUES = (Cue(0.0, 1.5, "the sea"), Cue(3661.0005, 3662.25, "a < b & c\n--> d"))


# golden


def test_srt():
    assert to_srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,500\nthe sea\n\n2\n01:01:01,001 --> 01:01:02,250\na < b & c\n--> d\n\n"
    )


def test_vtt_escapes_marks():
    assert to_vtt(CUES) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nthe sea\n\n"
        "01:01:01.001 --> 01:01:02.250\na &lt; b &amp; c\n--&gt; d\n\n"
    )


def test_tsv_and_json():
    assert to_tsv(CUES[:1]) == "start\tend\ttext\n0\t1500\tthe sea\n"
    assert json.loads(to_json(CUES[:1])) == {
        "text": "the sea",
        "chunks": [{"start": 0.0, "end": 1.5, "text": "the sea"}],
    }


def test_textgrid_has_no_holes():
    """Silence before, between and after is written as empty intervals; quotes are doubled."""
    written = to_textgrid([("words", [Cue(0.5, 1.0, 'say "a"'), Cue(1.5, 2.0, "b")])], seconds=3.0)
    spans = re.findall(r"xmin = ([\d.]+) \n\s+xmax = ([\d.]+) \n\s+text = (\".*\")", written)
    assert [(float(a), float(b), text) for a, b, text in spans] == [
        (0.0, 0.5, '""'),
        (0.5, 1.0, '"say ""a"""'),
        (1.0, 1.5, '""'),
        (1.5, 2.0, '"b"'),
        (2.0, 3.0, '""'),
    ]
    assert 'class = "IntervalTier"' in written and "intervals: size = 5" in written


def test_long_chunks_become_cues():
    """Twelve characters a line, two lines a cue: 23 + 5 characters share 2.8 seconds."""
    found = make_cues([chunk(" one two threefour five six", 0.0, 2.8)], longest_line=12)
    assert [cue.text for cue in found] == ["one two\nthreefour", "five six"]
    # 17 and 8 characters of 25, the line break counts as one
    assert [(round(cue.start, 3), round(cue.end, 3)) for cue in found] == [(0.0, 1.904), (1.904, 2.8)]


def test_words_are_joined():
    """A pause of a second and the end of a sentence begin new cues, and so does a full line."""
    words = [(" the", 0, 0.2), (" sea.", 0.2, 0.5), (" and", 0.5, 0.8), (" then", 0.8, 1.0), (" on", 2.0, 2.2)]
    found = make_cues([chunk(*word) for word in words], join=True, longest_gap=0.9)
    assert [cue.text for cue in found] == ["the sea.", "and then", "on"]
    assert (found[1].start, found[1].end) == (0.5, 1.0)
    narrow = make_cues([chunk(*word) for word in words[2:4]], join=True, longest_line=6, most_lines=1)
    assert [cue.text for cue in narrow] == ["and", "then"]


def test_words_without_spaces_of_their_own():
    """A CTC model's words."""
    assert make_cues([chunk("the", 0, 1), chunk("sea", 1, 2)], join=True)[0].text == "the sea"


# property


def read_srt(text):
    cues = []
    for block in re.split(r"\n\n(?=\d+\n\d\d:)|\n\n$", text):
        if block.strip():
            _, times, *lines = block.split("\n")
            a, b = (
                sum(
                    int(part) * unit
                    for part, unit in zip(re.split("[:,]", time), (3600000, 60000, 1000, 1), strict=True)
                )
                for time in times.split(" --> ")
            )
            cues.append((a / 1000, b / 1000, "\n".join(lines)))
    return cues


def test_cues_never_overlap_and_files_hold_them():
    """400 drawn recognitions with bad times, all options: order, line lengths, all words; SRT read back."""
    for seed in range(400):
        draw = random.Random(seed)
        chunks = [
            chunk(
                " " + " ".join(draw.choices(["a", "bcd", "efghij.", "k"], k=draw.randint(0, 12))),
                draw.choice([None, draw.uniform(0, 9)]),
                draw.choice([None, draw.uniform(0, 12)]),
            )
            for _ in range(draw.randint(0, 6))
        ]
        longest, lines = draw.choice([None, 8, 20]), draw.randint(1, 3)
        found = make_cues(
            chunks,
            seconds=10.0,
            longest_line=longest,
            most_lines=lines,
            join=draw.random() < 0.5,
            longest_gap=draw.choice([None, 0.5]),
        )
        times = [t for cue in found for t in (cue.start, cue.end)]
        assert all(b >= a - 1e-9 for a, b in itertools.pairwise(times))
        for cue in found:
            assert cue.text and len(cue.text.split("\n")) <= lines
            assert longest is None or all(len(line) <= longest for line in cue.text.split("\n"))
        for cue, (start, end, text) in zip(found, read_srt(to_srt(found)), strict=True):
            assert (round(cue.start, 3), round(cue.end, 3)) == (
                pytest.approx(start, abs=1e-3),
                pytest.approx(end, abs=1e-3),
            )
            assert cue.text == text
        for write in SUBTITLES.values():
            assert isinstance(write(found), str)


# errors


@pytest.mark.parametrize("name", ["longest_line", "most_lines"])
def test_errors(name):
    with pytest.raises(ValueError, match=rf"^{name} must be at least 1; got 0$"):
        make_cues([], **{name: 0})
