"""CTC: collapse, characters and words with their frames, against transformers' tokenizer."""

import gc
import itertools
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess.audio import collapse_chunks, collapse_ctc, ctc_alphabet, frame_ids
from tests.postprocess.audio.ctc_cases import alphabet_of, ctc_tokenizer, draw_ids

ALPHABET = ctc_alphabet(["_", "|", *"abehlo"], blank="_")


def frames(text):
    """Characters stand for frames."""
    place = {token: index for index, token in enumerate(["_", "|", *"abehlo"])}
    return torch.tensor([[place.get(char, 90) for char in text]])


def offsets(records, key):
    return [(item[key], item["start_offset"], item["end_offset"]) for item in records]


# golden


def test_a_blank_separates_equal_letters():
    """h h e _ l l _ l l o: the blank at 3 and at 6 end runs; the word spans all of it."""
    found = collapse_ctc(frames("hhe_ll_llo"), ALPHABET)
    assert found.texts() == ["hello"]
    assert offsets(found.characters()[0], "char") == [("h", 0, 2), ("e", 2, 3), ("l", 4, 6), ("l", 7, 9), ("o", 9, 10)]
    assert offsets(found.words()[0], "word") == [("hello", 0, 10)]


def test_two_delimiters_are_two_spaces():
    """A blank between two delimiters keeps both."""
    found = collapse_ctc(frames("aa_|_|bb"), ALPHABET)
    assert found.texts() == ["a  b"]
    assert offsets(found.words()[0], "word") == [("a", 0, 2), ("b", 6, 8)]


def test_text_is_stripped_and_offsets_are_not():
    found = collapse_ctc(frames("|a|"), ALPHABET)
    assert found.texts() == ["a"]
    assert offsets(found.characters()[0], "char") == [(" ", 0, 1), ("a", 1, 2), (" ", 2, 3)]
    assert offsets(found.words()[0], "word") == [("a", 1, 2)]


def test_two_unknown_ids_are_one_symbol():
    """Equal strings are grouped, not equal ids."""
    found = collapse_ctc(torch.tensor([[99, 98, 2]]), ALPHABET)
    assert found.texts() == ["<unk>a"]
    assert offsets(found.characters()[0], "char") == [("<unk>", 0, 2), ("a", 2, 3)]


def test_seconds():
    """Frames 2 to 4 of 320 samples at 16,000 a second: 0.04 to 0.08."""
    found = collapse_ctc(frames("__aa"), ALPHABET)
    assert found.times("word", 320, 16000) == [[{"text": "a", "timestamp": (0.04, 0.08)}]]


def test_nothing():
    """No frames, no rows, only blanks."""
    assert collapse_ctc(torch.zeros(2, 0).long(), ALPHABET).texts() == ["", ""]
    assert collapse_ctc(torch.zeros(0, 5).long(), ALPHABET).characters() == []
    found = collapse_ctc(torch.zeros(2, 5).long(), ALPHABET)
    assert found.texts() == ["", ""]
    assert found.words() == [[], []]


def test_lengths_cut_the_padding():
    """Row 0 has two frames of its own; the letters after them are padding."""
    ids = torch.cat([frames("abll"), frames("hell")])
    found = collapse_ctc(ids, ALPHABET, lengths=torch.tensor([2, 4]))
    assert found.texts() == ["ab", "hel"]
    assert found.ends.tolist() == [1, 2, 1, 2, 4]


def test_symbols_that_hold_the_fill_character():
    """Strings of several widths are gathered padded with the null character; one that holds it is joined instead."""
    alphabet = ctc_alphabet(["_", "a\0", "bc"], blank="_")
    found = collapse_ctc(torch.tensor([[1, 2, 0, 1]]), alphabet)
    assert found.texts() == ["a\0bca\0"]
    assert [item["word"] for item in found.words()[0]] == ["a\0bca\0"]


@pytest.mark.parametrize(
    "symbols",
    [["\u00e9t\u00e9", "b", "cdefghij"], ["", "bc", "d"], ["<a long symbol>", "b", "cd"], ["\u4e2d\u6587", "b", "c"]],
)
def test_symbols_of_any_width_are_written(symbols):
    """Packed in eight bytes or not, empty ones among them: texts, characters and words are joined symbols."""
    alphabet = ctc_alphabet(["_", "|", *symbols], blank="_")
    ids = torch.randint(0, 6, (20, 30), generator=torch.Generator().manual_seed(0))  # 5 is unknown
    found = collapse_ctc(ids, alphabet)
    for row, text, characters, words in zip(ids, found.texts(), found.characters(), found.words(), strict=True):
        runs = by_hand(row.tolist(), alphabet)
        assert offsets(characters, "char") == runs
        assert text == "".join(symbol for symbol, *_ in runs).strip()
        groups = [list(group) for space, group in itertools.groupby(runs, lambda run: run[0] == " ") if not space]
        assert offsets(words, "word") == [("".join(r[0] for r in g), g[0][1], g[-1][2]) for g in groups]


@pytest.mark.parametrize("blank", ["_", None, "elsewhere"])
def test_ids_outside_the_vocabulary(blank):
    """Negative and large ids are unknown symbols, with a blank and without."""
    alphabet = ctc_alphabet(["_", "a", "b"], blank=blank)
    ids = torch.randint(-3, 6, (20, 30), generator=torch.Generator().manual_seed(0))
    for each in (ids, ids.int(), ids.clamp(0, 2)):
        found = collapse_ctc(each, alphabet)
        for row, characters in zip(each, found.characters(), strict=True):
            assert offsets(characters, "char") == by_hand(row.tolist(), alphabet)


def test_the_best_id_of_a_frame_is_argmax():
    logits = torch.randint(0, 4, (3, 50, 40), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(frame_ids(logits), logits.argmax(-1))


@pytest.mark.parametrize("size", [512, 519, 1000, 5003])
@pytest.mark.parametrize("kind", ["drawn", "of few values", "NaN and infinity", "of one value"])
def test_the_best_id_of_many_is_argmax(size, kind):
    """Ties within groups of neighbours and between them, in the columns left over, and frames of NaN."""
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(2, 40, size, generator=generator)
    if kind == "of few values":
        logits = logits.mul(40).round()
        logits[0, ::3, -1] = logits[0].max()  # the last of all, alone or beside another
    elif kind == "NaN and infinity":
        drawn = torch.rand(logits.shape, generator=generator)
        logits[drawn < 0.5 / size] = torch.nan
        logits[drawn > 1 - 0.5 / size] = torch.inf
        logits[0, 7] = -torch.inf
    elif kind == "of one value":
        logits.zero_()
    for each in (logits, logits.double(), logits.bfloat16(), logits.transpose(0, 1), logits[..., : size - 3]):
        assert torch.equal(frame_ids(each), each.argmax(-1))
    assert frame_ids(logits[:0]).shape == (0, 40)


# property


def by_hand(ids, alphabet):
    """One row, frame by frame."""
    symbols = [
        int(alphabet.symbol_of_id[i] if 0 <= i < len(alphabet.symbol_of_id) - 1 else alphabet.symbol_of_id[-1])
        for i in ids
    ]
    out, place = [], 0
    for symbol, run in itertools.groupby(symbols):
        count = len(list(run))
        if symbol != alphabet.blank:
            out.append((alphabet.symbols[symbol], place, place + count))
        place += count
    return out


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_rows_of_a_batch_are_what_they_are_alone(seed):
    """Every row by hand, with lengths; and the row alone."""
    ids = draw_ids(seed, size=8)
    lengths = torch.randint(0, ids.shape[1] + 1, (len(ids),), generator=torch.Generator().manual_seed(seed))
    found = collapse_ctc(ids, ALPHABET, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        cut = ids[row : row + 1, :length]
        expected = by_hand(cut[0].tolist(), ALPHABET)
        assert offsets(found.characters()[row], "char") == expected
        alone = collapse_ctc(cut, ALPHABET)
        assert (alone.texts()[0], alone.words()[0]) == (found.texts()[row], found.words()[row])


@pytest.mark.parametrize(("rows", "shared"), [(40, True), (1, False)])
def test_seconds_of_many_rows_share_their_pairs(rows, shared):
    """The same numbers as frame by frame; equal pairs of many rows are one object, those of a lone row may be two."""
    ids = torch.randint(0, 8, (rows, 60), generator=torch.Generator().manual_seed(0))
    found = collapse_ctc(ids, ALPHABET)
    for kind, key in (("char", "char"), ("word", "word")):
        offsets_of = found.characters() if kind == "char" else found.words()
        expected = [
            [
                {"text": c[key], "timestamp": (c["start_offset"] * 320 / 16000, c["end_offset"] * 320 / 16000)}
                for c in row
            ]
            for row in offsets_of
        ]
        assert found.times(kind, 320, 16000) == expected
    times = [chunk["timestamp"] for row in found.times("char", 320, 16000) for chunk in row]
    assert (len({id(pair) for pair in times}) == len(set(times)) < len(times)) == shared


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 keeps tuples on the collector's books")
def test_the_collector_need_not_walk_over_many_records():
    ids = torch.randint(0, 8, (40, 100), generator=torch.Generator().manual_seed(0))
    records = collapse_ctc(ids, ALPHABET).times("char", 320, 16000)
    assert not any(gc.is_tracked(record) for row in records for record in row)
    assert gc.isenabled()


def test_chunks_join_before_they_collapse():
    """ "a a" ends the first chunk's frames and "a" begins the second's: one run of three frames."""
    chunks = [frames("_baa")[0], frames("haab")[0], frames("lo")[0]]
    found = collapse_chunks(chunks, [(4, 0, 0), (4, 1, 1), None], [0, 0, 1], ALPHABET)
    assert found.texts() == ["ba", "lo"]
    assert offsets(found.characters()[0], "char") == [("b", 1, 2), ("a", 2, 6)]


# parity


def assert_same_as_transformers(tokenizer, alphabet, ids):
    found = collapse_ctc(ids, alphabet)
    theirs = tokenizer.batch_decode(ids, output_char_offsets=True, output_word_offsets=True)
    assert found.texts() == theirs["text"]
    assert found.characters() == theirs["char_offsets"]
    assert found.words() == theirs["word_offsets"]


@pytest.mark.parametrize("size", [32, 40])
def test_same_as_transformers(size):
    """1,000 drawn batches for each vocabulary, one with strings of several characters."""
    tokenizer = ctc_tokenizer(size)
    alphabet = alphabet_of(tokenizer)
    for seed in range(1000):
        assert_same_as_transformers(tokenizer, alphabet, draw_ids(seed, size=size))


def test_special_tokens_dropped_and_no_grouping_as_transformers():
    """``skip_special_tokens`` and ``group_tokens``."""
    tokenizer = ctc_tokenizer()
    alphabet = alphabet_of(tokenizer)
    special = set(tokenizer.all_special_tokens) - {tokenizer.word_delimiter_token}
    dropped = torch.tensor([symbol in special for symbol in alphabet.symbols])
    for seed, group, skip in itertools.product(range(100), (True, False), (True, False)):
        ids = draw_ids(seed)
        found = collapse_ctc(ids, alphabet, group=group, dropped=dropped if skip else None)
        options = {"skip_special_tokens": skip, "group_tokens": group}
        # batch_decode itself stops with a KeyError where the first row is empty and another is not.
        theirs = [tokenizer.decode(row, output_char_offsets=True, **options) for row in ids]
        assert found.texts() == [row["text"] for row in theirs]
        assert found.characters() == [row["char_offsets"] for row in theirs]


# errors


def test_errors():
    with pytest.raises(ValueError, match=r"^ids must be \[B, T\]; got shape \[3\]$"):
        collapse_ctc(torch.zeros(3).long(), ALPHABET)
    with pytest.raises(ValueError, match=r"^lengths must be \[2\]; got shape \[3\]$"):
        collapse_ctc(torch.zeros(2, 4).long(), ALPHABET, lengths=torch.zeros(3).long())
