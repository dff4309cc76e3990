"""From candidate spans to answers: whole words, the merge over windows, and transformers' pipeline as a whole."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess import (
    LocatedSpans,
    SpanCandidates,
    locate_spans,
    merge_answers,
    position_keys,
    select_spans,
    text_keys,
    word_bounds,
)
from tests.oracles.answer_merge import merged
from tests.postprocess.text.word_piece import build_tokenizer, draw_text

VERSION_4 = transformers.__version__.startswith("4.")
TOKENIZER = build_tokenizer()


def spans_of(rows):
    """LocatedSpans of (window, start, end, score) rows."""
    window, start, end, score = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    longs = (torch.tensor(column, dtype=torch.long) for column in (window, start, end))
    return LocatedSpans(*longs, torch.tensor(score, dtype=torch.float32))


# golden


def test_equal_texts_add_up_and_can_pass_one():
    """ "Ann" twice and "ann" once at 0.7 each: 2.1 where the first of them stands; "Bob" 0.2 behind."""
    context = "Ann and Bob and ann"
    spans = spans_of([(0, 0, 3, 0.75), (0, 8, 11, 0.25), (1, 0, 3, 0.75), (1, 16, 19, 0.75)])
    question = torch.tensor([0, 0])
    keys = text_keys(spans, question, [context])
    found = merge_answers(spans, question, keys, num_questions=1, top_k=2).records([context])
    assert found == [
        [
            {"score": 2.25, "start": 0, "end": 3, "answer": "Ann"},
            {"score": 0.25, "start": 8, "end": 11, "answer": "Bob"},
        ]
    ]


def test_by_position_the_best_stays():
    """The same characters in two windows are one answer with the better score; another "ann" is another answer."""
    context = "Ann and ann"
    spans = spans_of([(0, 0, 3, 0.5), (1, 0, 3, 0.75), (1, 8, 11, 0.25)])
    found = merge_answers(
        spans, torch.tensor([0, 0]), position_keys(spans), num_questions=1, top_k=5, combine="max"
    ).records([context])
    assert [(a["score"], a["start"]) for a in found[0]] == [(0.75, 0), (0.25, 8)]


def test_no_answer_joins_last_among_equals():
    """The lowest null score of the windows, behind an answer of the same score."""
    spans = spans_of([(0, 0, 1, 0.5)])
    options = {"num_questions": 2, "top_k": 3, "null_scores": torch.tensor([0.5, 0.9, 0.3])}
    found = merge_answers(spans, torch.tensor([0, 0, 1]), torch.zeros(1), **options)
    assert found.question.tolist() == [0, 0, 1]
    assert found.is_null.tolist() == [False, True, True]
    assert found.records(["x", "y"])[0][1] == {"score": 0.5, "start": 0, "end": 0, "answer": ""}


def test_top_k_of_each_question():
    """One cut per question; a question without windows gets an empty list."""
    spans = spans_of([(0, 0, 1, 0.5), (0, 1, 2, 0.4), (1, 0, 1, 0.3), (1, 1, 2, 0.2)])
    found = merge_answers(
        spans, torch.tensor([0, 2]), position_keys(spans), num_questions=3, top_k=torch.tensor([1, 5, 2])
    )
    assert [len(rows) for rows in found.records(["ab", "", "cd"])] == [1, 0, 2]


def test_each_answer_names_the_first_of_its_spans():
    """Spans 0 and 2 share a key, span 1 stands alone, "no answer" has none."""
    spans = spans_of([(0, 0, 3, 0.2), (0, 4, 6, 0.3), (1, 7, 9, 0.4)])
    found = merge_answers(
        spans,
        torch.tensor([0, 0]),
        torch.tensor([5, 6, 5]),
        num_questions=1,
        top_k=3,
        null_scores=torch.tensor([0.9, 0.1]),
    )
    assert found.span.tolist() == [0, 1, -1]
    assert found.start.tolist() == [0, 4, 0]


def test_one_missing_word_keeps_the_tokens_at_both_ends():
    """The first token has no word: the span keeps the characters of its tokens at both ends."""
    candidates = SpanCandidates(
        torch.tensor([[0, 1]]), torch.tensor([[2, 2]]), torch.ones(1, 2), torch.ones(1, 2).bool(), torch.zeros(1), 0
    )
    offsets = torch.tensor([[[0, 2], [2, 4], [4, 6]]])
    words = word_bounds(torch.tensor([[-1, 5, 5]]), torch.tensor([[[0, 2], [1, 4], [4, 9]]]))
    found = locate_spans(candidates, offsets, words=words)
    assert list(zip(found.start.tolist(), found.end.tolist(), strict=True)) == [(0, 6), (1, 9)]


def test_a_word_at_the_first_character_is_a_word():
    """The second piece of the first word alone: the span grows back to character 0."""
    candidates = SpanCandidates(
        torch.tensor([[1]]), torch.tensor([[1]]), torch.ones(1, 1), torch.ones(1, 1).bool(), torch.zeros(1), 0
    )
    offsets = torch.tensor([[[0, 2], [2, 5], [6, 9]]])
    found = locate_spans(candidates, offsets, words=word_bounds(torch.tensor([[0, 0, 1]]), offsets))
    assert (found.start.tolist(), found.end.tolist()) == ([0], [5])


def test_words_are_counted_within_their_window():
    """Words 1,000,000 and on of a long text: the table of words is as wide as the window, and word 0 of the question,
    which the window does not hold, has no bounds."""
    words = torch.tensor([[-1, 0, 1_000_001, -1, 1_000_000, 1_000_001, 1_000_001]], dtype=torch.int32)
    offsets = torch.tensor([[[0, 0], [0, 3], [4, 6], [0, 0], [70, 73], [74, 76], [76, 79]]])
    context = torch.tensor([[False] * 4 + [True] * 3])
    starts, ends = word_bounds(words, offsets, context)
    assert starts.tolist() == [[-1, -1, 74, -1, 70, 74, 74]]
    assert ends.tolist() == [[-1, -1, 79, -1, 73, 79, 79]]


# property


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), combine=st.sampled_from(["sum", "max"]))
def test_merge_equals_one_after_the_other(seed, combine):
    """Several questions with windows in any order, scores with ties."""
    rng = np.random.default_rng(seed)
    contexts = ["".join(rng.choice(list("aAb B"), 8)) for _ in range(int(rng.integers(1, 4)))]
    question = rng.integers(0, len(contexts), int(rng.integers(1, 5)))
    rows = []
    for window in range(len(question)):
        for _ in range(int(rng.integers(0, 6))):
            start = int(rng.integers(0, 7))
            rows.append((window, start, start + int(rng.integers(0, 3)), float(rng.integers(0, 5)) / 4))
    spans, owner = spans_of(rows), torch.from_numpy(question)
    nulls = torch.from_numpy(rng.random(len(question)).astype(np.float32)) if rng.random() < 0.5 else None
    top_k = int(rng.integers(1, 6))
    found = merge_answers(
        spans,
        owner,
        text_keys(spans, owner, contexts),
        num_questions=len(contexts),
        top_k=top_k,
        null_scores=nulls,
        combine=combine,
    )
    candidates = [(int(question[w]), score, start, end) for w, start, end, score in rows]
    of_question = None
    if nulls is not None:
        values = list(zip(question, nulls.tolist(), strict=True))
        of_question = [[value for owner, value in values if owner == i] for i in range(len(contexts))]
    expected = merged(candidates, contexts, top_k, of_question, combine)
    got = [[tuple(answer.values()) for answer in answers] for answers in found.records(contexts)]
    assert got == expected


# parity


def encode(question, context, max_length=40, stride=10):
    return TOKENIZER(
        question,
        context,
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )


def columns_of(encoding):
    """word_ids, offsets, in-context flags and lengths of the windows, padded to the longest."""
    windows = len(encoding["input_ids"])
    lengths = torch.tensor([len(ids) for ids in encoding["input_ids"]])
    longest = int(lengths.max())
    words = torch.full((windows, longest), -1)
    offsets = torch.zeros(windows, longest, 2, dtype=torch.long)
    context = torch.zeros(windows, longest, dtype=torch.bool)
    for i in range(windows):
        n = int(lengths[i])
        words[i, :n] = torch.tensor([-1 if w is None else w for w in encoding.word_ids(i)])
        offsets[i, :n] = torch.tensor(encoding["offset_mapping"][i])
        context[i, :n] = torch.tensor([s == 1 for s in encoding.sequence_ids(i)])
    return words, offsets, context, lengths


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_words_are_those_of_the_encoding(seed):
    """token_to_word and word_to_chars of every context and special token of every window."""
    rng = np.random.default_rng(seed)
    encoding = encode(draw_text(rng, 5), draw_text(rng))
    words, offsets, context, lengths = columns_of(encoding)
    starts, ends = word_bounds(words, offsets, context)
    for window, found in enumerate(encoding.encodings):
        for token in range(int(lengths[window])):
            word = found.token_to_word(token)
            if word is not None and not context[window, token]:
                continue
            chars = None if word is None else found.word_to_chars(word, sequence_index=1)
            got = (starts[window, token].item(), ends[window, token].item())
            assert got == ((-1, -1) if chars is None else tuple(chars))


def pipeline_answers(rng, options):
    """(ours, theirs) of one question: transformers' preprocess and postprocess around drawn logits."""
    from transformers import QuestionAnsweringPipeline
    from transformers.data.processors.squad import SquadExample

    pipeline = QuestionAnsweringPipeline.__new__(QuestionAnsweringPipeline)
    pipeline.tokenizer, pipeline.framework = TOKENIZER, "pt"
    question, context = draw_text(rng, 5) + "x", draw_text(rng) + " an"
    example = SquadExample(None, question, context, None, None, None)
    features = list(pipeline.preprocess(example, max_seq_len=40, doc_stride=10))
    scale = float(rng.choice([1.0, 5.0, 40.0]))
    outputs = []
    for feature in features:
        n = feature["input_ids"].shape[1]
        logits = [torch.from_numpy(rng.normal(0, scale, (1, n)).astype(np.float32)) for _ in range(2)]
        if options["coarse"]:
            logits = [x.bfloat16() for x in logits]
        outputs.append({**feature, "start": logits[0], "end": logits[1]})
    theirs = pipeline.postprocess(
        outputs,
        top_k=options["top_k"],
        handle_impossible_answer=options["impossible"],
        max_answer_len=options["max_answer_len"],
        align_to_words=options["align"],
    )
    words, offsets, in_context, lengths = columns_of(encode(question, context))
    allowed = in_context.clone()
    allowed[:, 0] = True
    padded = [torch.nn.utils.rnn.pad_sequence([o[k][0] for o in outputs], batch_first=True) for k in ("start", "end")]
    candidates = select_spans(
        *padded,
        allowed,
        top_k=2 * options["top_k"] + 10 if options["align"] else options["top_k"],
        max_answer_len=options["max_answer_len"],
        lengths=lengths,
    )
    bounds = word_bounds(words, offsets, in_context) if options["align"] else None
    spans = locate_spans(candidates, offsets, words=bounds)
    owner = torch.zeros(len(outputs), dtype=torch.long)
    found = merge_answers(
        spans,
        owner,
        text_keys(spans, owner, [context]),
        num_questions=1,
        top_k=options["top_k"],
        null_scores=candidates.null_scores if options["impossible"] else None,
    ).records([context])[0]
    return found, [theirs] if isinstance(theirs, dict) else theirs


def draw_options(rng):
    return {
        "top_k": int(rng.choice([1, 2, 3, 8])),
        "impossible": bool(rng.random() < 0.5),
        "max_answer_len": int(rng.choice([1, 3, 15])),
        "align": bool(rng.random() < 0.7),
        "coarse": bool(rng.random() < 0.3),
    }


needs_pipeline = pytest.mark.skipif(
    not VERSION_4, reason="the question-answering pipeline left transformers with version 5"
)


@pytest.mark.v4
@needs_pipeline
@settings(max_examples=120, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_same_as_the_pipeline(seed):
    """Answers, characters, order and scores of 4.57.6's pipeline, ties included."""
    rng = np.random.default_rng(seed)
    ours, theirs = pipeline_answers(rng, draw_options(rng))
    assert ours == theirs


@pytest.mark.v4
@pytest.mark.slow
@needs_pipeline
def test_same_as_the_pipeline_thousands():
    """2,000 drawn questions; counts are printed."""
    answers = 0
    for seed in range(2000):
        rng = np.random.default_rng(10**6 + seed)
        ours, theirs = pipeline_answers(rng, draw_options(rng))
        assert ours == theirs
        answers += len(ours)
    print(f"question answering: {answers} answers to 2000 questions equal to the pipeline's")


# errors


def test_errors():
    """Shapes and the combination are checked."""
    spans = spans_of([(0, 0, 1, 0.5)])
    with pytest.raises(ValueError) as caught:
        merge_answers(spans, torch.tensor([0]), torch.zeros(2), num_questions=1)
    assert str(caught.value) == "keys must be [1]; got shape [2]"
    with pytest.raises(ValueError) as caught:
        merge_answers(spans, torch.tensor([0]), torch.zeros(1), num_questions=1, combine="mean")
    assert str(caught.value) == "combine must be 'sum' or 'max'; got 'mean'"
    with pytest.raises(ValueError) as caught:
        word_bounds(torch.zeros(1, 2).long(), torch.zeros(1, 3, 2).long())
    assert str(caught.value) == "offsets must be [1, 2, 2]; got shape [1, 3, 2]"
