"""Entities: the five strategies against transformers' pipeline methods, schemes against the CoNLL reading."""

import json
import math
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess import (
    entity_words,
    group_entities,
    infer_scheme,
    merge_overlaps,
    read_labels,
    space_index,
    subwords_by_length,
    subwords_by_space,
)
from tests.builders.versions import rule_of_five
from tests.oracles.entities import chunks, label_of_word
from tests.postprocess.text.entity_cases import STRATEGIES, UNKNOWN, draw_sentences, library_entities

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def logits_of(*labels, names=BIO, sharp=4.0):
    """[1, T, C]: each token's own label at ``sharp``, the others at 0."""
    return sharp * torch.nn.functional.one_hot(torch.tensor([[names.index(x) for x in labels]]), len(names)).float()


def grouped(entities):
    """(name, first token, last token) of every entity."""
    names = entities.scheme.names
    columns = (entities.name.tolist(), entities.first_token.tolist(), entities.last_token.tolist())
    return [(names[i], a, b) for i, a, b in zip(*columns, strict=True)]


def subwords(case):
    """Transformers' heuristic for the drawn tokenizer."""
    unknown = case.token_ids == UNKNOWN
    if case.word_piece:
        lengths = torch.tensor([[len(case.tokenizer.strings[i]) for i in row] for row in case.token_ids.tolist()])
        return subwords_by_length(lengths, case.offsets, unknown)
    return subwords_by_space(case.offsets, *space_index(case.texts), unknown)


def our_entities(case, strategy, **options):
    keep = case.real & ~case.special
    return group_entities(
        case.logits,
        keep,
        read_labels(case.labels),
        aggregation_strategy=strategy,
        offsets=case.offsets,
        is_subword=None if strategy in ("none", "simple") else subwords(case),
        ignore_labels=case.ignore_labels,
        **options,
    )


def our_words(case, entities):
    """Texts of the entities, from the tokens that count; an unknown one is its piece of text."""
    tokens = []
    for item, row in enumerate((case.real & ~case.special).tolist()):
        for position in (i for i, kept in enumerate(row) if kept):
            token_id, (a, b) = int(case.token_ids[item, position]), case.offsets[item, position].tolist()
            tokens.append(case.texts[item][a:b] if token_id == UNKNOWN else case.tokenizer.strings[token_id])
    return entity_words(entities, tokens, case.tokenizer.convert_tokens_to_string)


# golden


def test_simple_groups_and_scores():
    """B-PER I-PER O B-LOC with logits 4 against 0 four times: each score is e^4 / (e^4 + 4)."""
    logits = logits_of("B-PER", "I-PER", "O", "B-LOC")
    offsets = torch.tensor([[[0, 2], [3, 5], [6, 8], [9, 11]]])
    found = group_entities(logits, torch.ones(1, 4).bool(), read_labels(BIO), offsets=offsets)
    score = math.exp(4) / (math.exp(4) + 4)
    expected = [("PER", 0, 5), ("LOC", 9, 11)]
    records = found.records(["a b", "c"])
    assert [(r["entity_group"], r["start"], r["end"]) for r in records[0]] == expected
    assert [r["word"] for r in records[0]] == ["a b", "c"]
    assert all(math.isclose(r["score"], score, rel_tol=1e-6) for r in records[0])
    assert json.loads(json.dumps(records)) == records


@pytest.mark.parametrize(
    ("strategy", "label", "score"), [("first", "LOC", 0.6), ("max", "PER", 0.7), ("average", "ORG", 0.425)]
)
def test_word_strategies_disagree(strategy, label, score):
    """One word of two tokens, labels LOC PER ORG: (.6, 0, .4) and (0, .7, .3).

    The first token says LOC .6, the most certain PER .7. With (0, .55, .45) as the second token the means are
    LOC .3, PER .275, ORG .425: a label that neither token has on top.
    """
    second = [0.0, 0.55, 0.45] if strategy == "average" else [0.0, 0.7, 0.3]
    probs = torch.tensor([[[0.6, 0.0, 0.4], second]])
    scheme = read_labels(("LOC", "PER", "ORG"))
    found = group_entities(
        probs.log(),
        torch.ones(1, 2).bool(),
        scheme,
        aggregation_strategy=strategy,
        is_subword=torch.tensor([[False, True]]),
    )
    assert grouped(found) == [(label, 0, 1)]
    assert math.isclose(found.scores.item(), score, rel_tol=1e-5)


def test_none_has_positions_and_no_offsets():
    """ "none" counts special tokens in ``index`` and gives None for characters it does not have."""
    logits = logits_of("O", "B-PER", "O")
    found = group_entities(logits, torch.tensor([[False, True, True]]), read_labels(BIO), aggregation_strategy="none")
    record = found.records(["x"])[0][0]
    assert (record["entity"], record["index"], record["start"], record["end"]) == ("B-PER", 1, None, None)


def test_date_time_keeps_its_name_without_compat():
    """Transformers cuts a label at its first dash, whatever stands before it."""
    logits = logits_of("date-time", "date-time", names=("O", "date-time"))
    keep = torch.ones(1, 2).bool()
    assert grouped(group_entities(logits, keep, read_labels(("O", "date-time")))) == [("time", 0, 1)]
    corrected = read_labels(("O", "date-time"), compat=False)
    assert grouped(group_entities(logits, keep, corrected, compat=False)) == [("date-time", 0, 1)]


def test_bioes_stays_whole_without_compat():
    """B-PER I-PER E-PER S-PER is two entities; transformers reads three."""
    names = ("O", "B-PER", "I-PER", "E-PER", "S-PER")
    logits, keep = logits_of(*names[1:], names=names), torch.ones(1, 4).bool()
    assert grouped(group_entities(logits, keep, read_labels(names))) == [("PER", 0, 1), ("PER", 2, 2), ("PER", 3, 3)]
    for options in ({"compat": False}, {"scheme": "bioes"}):
        assert grouped(group_entities(logits, keep, read_labels(names, **options))) == [("PER", 0, 2), ("PER", 3, 3)]


def test_b_o_is_dropped_only_in_compat():
    """A label "B-O" becomes the group "O", which transformers ignores."""
    names = ("O", "B-O")
    logits, keep = logits_of("B-O", "O", names=names), torch.ones(1, 2).bool()
    assert grouped(group_entities(logits, keep, read_labels(names))) == []
    corrected = group_entities(logits, keep, read_labels(names, compat=False), compat=False)
    assert grouped(corrected) == [("O", 0, 0)]


def test_word_ids_instead_of_the_heuristic():
    """Tokens of one word id are one word; a token without a word stands alone."""
    logits = logits_of("B-PER", "I-LOC", "B-LOC", "B-LOC", "B-LOC")
    found = group_entities(
        logits,
        torch.ones(1, 5).bool(),
        read_labels(BIO),
        aggregation_strategy="first",
        word_ids=torch.tensor([[0, 0, -1, -1, 1]]),
    )
    assert grouped(found) == [("PER", 0, 1), ("LOC", 2, 2), ("LOC", 3, 3), ("LOC", 4, 4)]


def test_rows_of_one_token():
    """Five items of a single token each: every entity is its own item's, at position 0, a word of its own."""
    logits = torch.cat([logits_of("B-PER")] * 5)
    for strategy in ("none", "simple"):
        found = group_entities(logits, torch.ones(5, 1).bool(), read_labels(BIO), aggregation_strategy=strategy)
        assert found.item.tolist() == [0, 1, 2, 3, 4]
        assert found.first_token.tolist() == found.last_token.tolist() == [0] * 5
        assert found.word_starts.tolist() == [True] * 5
        assert found.start.tolist() == found.end.tolist() == [-1] * 5


def test_records_without_words_and_with_some_offsets():
    """Characters from offsets of any integer type; where a token has none (-1) both ends are None."""
    logits = logits_of("B-PER", "B-LOC", "B-PER")
    offsets = torch.tensor([[[0, 2], [-1, -1], [3, 5]]], dtype=torch.int32)
    found = group_entities(logits, torch.ones(1, 3).bool(), read_labels(BIO), offsets=offsets)
    assert found.start.dtype == found.end.dtype == torch.int64
    records = found.records()[0]
    assert [list(record) for record in records] == [["entity_group", "score", "start", "end"]] * 3
    assert [(record["start"], record["end"]) for record in records] == [(0, 2), (None, None), (3, 5)]


def test_subwords_as_integers():
    """0 and 1 mean what False and True mean."""
    logits, keep, scheme = logits_of("B-PER", "B-LOC", "B-LOC"), torch.ones(1, 3).bool(), read_labels(BIO)
    options = {"aggregation_strategy": "first", "is_subword": torch.tensor([[0, 1, 0]])}
    assert grouped(group_entities(logits, keep, scheme, **options)) == [("PER", 0, 1), ("LOC", 2, 2)]


def test_an_ignored_type_leaves_its_groups_out_without_compat():
    """ "PER" is no label but the type of two, "O" is a label."""
    logits, keep = logits_of("B-PER", "I-PER", "O", "B-LOC"), torch.ones(1, 4).bool()
    options = {"ignore_labels": ["PER", "O"], "compat": False}
    assert grouped(group_entities(logits, keep, read_labels(BIO, compat=False), **options)) == [("LOC", 3, 3)]


def test_chosen_entities_keep_their_probabilities():
    """Rows 2 and 0 of three, in that order; without probabilities there are none to keep."""
    logits, keep = logits_of("B-PER", "B-LOC", "I-PER"), torch.ones(1, 3).bool()
    found = group_entities(logits, keep, read_labels(BIO), label_probs=True)
    chosen = found.select(torch.tensor([2, 0]))
    assert grouped(chosen) == [("PER", 2, 2), ("PER", 0, 0)]
    assert torch.equal(chosen.label_probs, found.label_probs[[2, 0]])
    assert group_entities(logits, keep, read_labels(BIO)).select(torch.tensor([1])).label_probs is None


def test_equal_labels_are_listed_by_lower_id():
    """Two hundred labels of one probability but for every seventh: an unstable sort would mix them up."""
    names = tuple(f"x{i}" for i in range(200))
    logits = torch.zeros(1, 1, 200)
    logits[..., ::7] = 1.0
    found = group_entities(logits, torch.ones(1, 1).bool(), read_labels(names, scheme="plain"), label_probs=True)
    assert found.best_labels(200)[0].tolist() == [[*range(0, 200, 7), *(i for i in range(200) if i % 7)]]


def test_offsets_beyond_a_text_hold_no_characters():
    """Text "a c": a piece of characters 2 to 9 is one character long; from 5 on there is neither text nor space."""
    offsets = torch.tensor([[[0, 1], [0, 1], [1, 2], [2, 9], [3, 4], [4, 5], [5, 9], [6, 4]]])
    lengths = torch.tensor([[1, 2, 1, 1, 0, 1, 0, 0]])
    by_length = subwords_by_length(lengths, offsets, text_lengths=torch.tensor([3]))
    assert by_length.tolist() == [[False, True, False, False, False, True, False, False]]
    # The second text begins with spaces, which are none of the first one's: characters 0 and 1 to 3 touch its space.
    texts = ["a c", "   "]
    expected = [[i > 0 and " " not in text[i - 1 : i + 1] for i in offsets[0, :, 0].tolist()] for text in texts]
    assert expected[0] == [False, False, False, False, True, True, True, True]
    assert subwords_by_space(offsets.expand(2, 8, 2), *space_index(texts)).tolist() == expected


def test_best_labels_add_up_prefixes():
    """PER is B-PER and I-PER together: probabilities (.1, .3, .2, .3, .1) give PER .5, LOC .4, O .1."""
    logits = torch.tensor([[[0.1, 0.3, 0.2, 0.3, 0.1]]]).log()
    found = group_entities(logits, torch.ones(1, 1).bool(), read_labels(BIO), label_probs=True)
    ids, probs = found.best_labels(2)
    assert [found.scheme.names[i] for i in ids[0]] == ["PER", "LOC"]
    torch.testing.assert_close(probs, torch.tensor([[0.5, 0.4]]))


def test_empty_items():
    """An item whose tokens are all special, an empty batch, a batch of no tokens: no entities, and a list each."""
    scheme = read_labels(BIO)
    for batch, time in ((2, 3), (0, 3), (2, 0), (0, 0)):
        for strategy in STRATEGIES:
            found = group_entities(
                torch.zeros(batch, time, 5),
                torch.zeros(batch, time).bool(),
                scheme,
                aggregation_strategy=strategy,
                offsets=torch.zeros(batch, time, 2).long(),
                is_subword=torch.zeros(batch, time).bool(),
                label_probs=True,
            )
            assert found.records([]) == [[]] * batch
    middle = torch.tensor([[True, True], [False, False], [True, True]])
    found = group_entities(logits_of("B-PER", "O").expand(3, 2, 5), middle, scheme)
    assert [len(rows) for rows in found.records()] == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-X", "I-X"], "iob2"),
        (["O", "I-X"], "iob2"),
        (["B-X", "I-X", "E-X", "S-X"], "bioes"),
        (["O-X", "B-X", "I-X", "E-X", "S-X"], "bioes"),
        (["B-X", "I-X", "L-X", "U-X"], "bilou"),
        (["O-X", "B-X", "I-X", "L-X", "U-X"], "bilou"),
        (["S-X", "Q-X"], "plain"),
        (["Q-X", "B-X"], "iob2"),
        (["L-X", "Q-X"], "plain"),
        (["B-", "I-"], "plain"),
        (["PER", "LOC"], "plain"),
    ],
)
def test_the_scheme_that_labels_use(labels, scheme):
    """A prefix is one letter and a dash before a name; a letter of no scheme rules out the closed ones."""
    assert infer_scheme(labels) == scheme


# property


@settings(max_examples=120, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), scheme=st.sampled_from(["iob1", "iob2", "bioes", "bilou", "plain"]))
def test_schemes_read_chunks_as_conll_does(seed, scheme):
    """Any label sequence, valid or not, in every scheme."""
    rng = np.random.default_rng(seed)
    letters = {"iob1": "BI", "iob2": "BI", "bioes": "BIES", "bilou": "BILU", "plain": ""}[scheme]
    names = ("O", *(f"{x}-{kind}" for x in letters for kind in ("a", "b-c")), "a", "x-y")
    labels = rng.choice(names, int(rng.integers(1, 12)))
    found = group_entities(
        logits_of(*labels, names=names),
        torch.ones(1, len(labels)).bool(),
        read_labels(names, scheme=scheme),
        ignore_labels=[],
        compat=False,
    )
    assert grouped(found) == chunks(list(labels), scheme)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), strategy=st.sampled_from(["first", "average", "max"]))
def test_words_are_labelled_as_the_oracle_does(seed, strategy):
    """Words from random word ids, with the probabilities of each token in float64."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 12))
    word_ids = np.sort(rng.integers(0, 6, length))
    probs = torch.from_numpy(rng.dirichlet(np.ones(3), length))
    found = group_entities(
        probs.log()[None],
        torch.ones(1, length).bool(),
        read_labels(("A", "B", "C"), scheme="plain"),
        aggregation_strategy=strategy,
        word_ids=torch.from_numpy(word_ids)[None],
    )
    places = [np.flatnonzero(word_ids == word).tolist() for word in np.unique(word_ids)]
    labelled = [label_of_word([probs[i].tolist() for i in word], strategy) for word in places]
    groups = chunks(["ABC"[label] for label, _ in labelled], "plain")
    assert grouped(found) == [(name, places[a][0], places[b][-1]) for name, a, b in groups]
    expected = [np.mean([score for _, score in labelled[a : b + 1]]) for _, a, b in groups]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), strategy=st.sampled_from(STRATEGIES))
def test_an_item_alone_equals_the_item_in_a_batch(seed, strategy):
    """Batch and padding change nothing."""
    case = draw_sentences(seed)
    together = our_entities(case, strategy).records()
    is_subword = subwords(case)
    for i in range(len(case.texts)):
        n = int(case.real[i].sum())
        alone = group_entities(
            case.logits[i : i + 1, :n],
            (case.real & ~case.special)[i : i + 1, :n],
            read_labels(case.labels),
            aggregation_strategy=strategy,
            offsets=case.offsets[i : i + 1, :n],
            is_subword=is_subword[i : i + 1, :n],
            ignore_labels=case.ignore_labels,
        )
        assert alone.records() == [together[i]]


# parity


def assert_same_as_library(case, strategy):
    """Every field of every entity; scores within 1e-6. Returns how many entities were compared."""
    entities = our_entities(case, strategy)
    ours, theirs = entities.records(our_words(case, entities)), library_entities(case, strategy)
    assert_same_records(ours, theirs)
    return len(entities.item)


def assert_same_records(ours, theirs):
    assert [len(rows) for rows in ours] == [len(rows) for rows in theirs]
    for row, other in zip(chain(*ours), chain(*theirs), strict=True):
        assert list(row) == list(other)
        assert math.isclose(row["score"], other["score"], rel_tol=1e-6)
        assert {**row, "score": 0} == {**other, "score": 0}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), strategy=st.sampled_from(STRATEGIES))
@rule_of_five
def test_same_as_library(seed, strategy):
    """Random texts and tokens, words included, in every strategy and with every kind of label."""
    assert_same_as_library(draw_sentences(seed), strategy)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), strategy=st.sampled_from(STRATEGIES[1:]), items=st.integers(1, 4))
@rule_of_five
def test_same_as_library_over_chunks(seed, strategy, items):
    """Overlapping chunks of one text, merged by transformers' rule."""
    case = draw_sentences(seed, items=items, same_text=True)
    merged = merge_overlaps(our_entities(case, strategy), torch.zeros(items, dtype=torch.long), num_documents=1)
    assert_same_records(merged.records(our_words(case, merged)), [library_entities(case, strategy, rows="chunks")])


@pytest.mark.slow
def test_same_as_library_thousands():
    """1,500 drawn batches in each strategy; counts are printed."""
    for strategy in STRATEGIES:
        entities = sum(assert_same_as_library(draw_sentences(10**6 + seed), strategy) for seed in range(1500))
        print(f"token classification, {strategy}: {entities} entities in 1500 batches equal to transformers'")


# errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"aggregation_strategy": "mean"},
            "aggregation_strategy must be one of none, simple, first, average, max; got 'mean'",
        ),
        (
            {"aggregation_strategy": "first"},
            "exactly one of is_subword and word_ids must be given for 'first'; got neither",
        ),
        (
            {
                "aggregation_strategy": "max",
                "is_subword": torch.zeros(1, 2).bool(),
                "word_ids": torch.zeros(1, 2).long(),
            },
            "exactly one of is_subword and word_ids must be given for 'max'; got both",
        ),
        (
            {
                "logits": torch.stack([torch.zeros(2, 5), torch.tensor([[0.0] * 5, [0.0, math.inf, 0.0, 0.0, 0.0]])]),
                "keep": torch.ones(2, 2).bool(),
            },
            "logits must be numbers, one of them finite, for every token; got NaN or infinities in item 1",
        ),
        ({"keep": torch.ones(2, 3).bool()}, "keep must be [1, 2]; got shape [2, 3]"),
        ({"offsets": torch.ones(1, 2)}, "offsets must be [1, 2, 2]; got shape [1, 2]"),
        ({"logits": torch.zeros(1, 2, 4)}, "logits must be [B, T, 5]; got shape [1, 2, 4]"),
        (
            {"logits": torch.full((1, 2, 5), math.nan)},
            "logits must be numbers, one of them finite, for every token; got NaN or infinities in item 0",
        ),
    ],
)
def test_errors(change, message):
    """What is wrong, what was wanted, what came."""
    arguments = {"logits": torch.zeros(1, 2, 5), "keep": torch.ones(1, 2).bool(), "scheme": read_labels(BIO), **change}
    with pytest.raises(ValueError) as caught:
        group_entities(**arguments)
    assert str(caught.value) == message


def test_nan_outside_the_tokens_does_not_matter():
    """Padding and special tokens may hold anything."""
    logits = logits_of("B-PER", "O")
    logits[0, 1] = math.nan
    found = group_entities(logits, torch.tensor([[True, False]]), read_labels(BIO))
    assert grouped(found) == [("PER", 0, 0)]


def test_offsets_of_another_shape():
    """One row of offsets does not serve two rows of tokens."""
    with pytest.raises(ValueError) as caught:
        subwords_by_length(torch.ones(2, 3).long(), torch.ones(1, 3, 2).long())
    assert str(caught.value) == "offsets must be [2, 3, 2]; got shape [1, 3, 2]"


def test_unknown_scheme():
    """The schemes are named in the error."""
    with pytest.raises(ValueError) as caught:
        read_labels(BIO, scheme="bio")
    assert str(caught.value) == "scheme must be one of iob1, iob2, bioes, bilou, plain; got 'bio'"


def test_best_labels_without_probabilities():
    """The error names the option to pass."""
    found = group_entities(logits_of("B-PER"), torch.ones(1, 1).bool(), read_labels(BIO))
    with pytest.raises(ValueError) as caught:
        found.best_labels(1)
    assert str(caught.value) == "best_labels must follow group_entities(..., label_probs=True); got no probabilities"
