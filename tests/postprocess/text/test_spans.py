"""Answer spans: the banded search against enumeration and against transformers' own function."""

import itertools
import math

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits.postprocess import select_spans
from afterlogits.postprocess.text.bands import _on_device, banded_top_k
from tests.oracles.qa_spans import corrected_spans
from tests.postprocess.text.span_cases import draw_windows, library_spans

VERSION_4 = transformers.__version__.startswith("4.")
if VERSION_4:
    from transformers.pipelines.question_answering import select_starts_ends
else:  # version 5 keeps a copy for documents; only the case of exactly top_k products differs
    from transformers.pipelines.document_question_answering import select_starts_ends


def search(case, **options):
    return select_spans(
        case.start,
        case.end,
        case.allowed,
        top_k=case.top_k,
        max_answer_len=case.max_answer_len,
        lengths=case.lengths,
        **options,
    )


def listed(found, row):
    keep = found.valid[row]
    columns = (found.first_token[row], found.last_token[row], found.scores[row])
    return [column[keep].tolist() for column in columns]


# golden


def test_probabilities_multiply():
    """Starts 0, ln 2, 0 and ends 0, 0, ln 2 over three tokens: softmaxes 1/4, 1/2, 1/4 and 1/4, 1/4, 1/2."""
    start, end = torch.tensor([[0.0, math.log(2), 0.0]]), torch.tensor([[0.0, 0.0, math.log(2)]])
    found = select_spans(start, end, torch.ones(1, 3).bool(), top_k=3)
    # (1, 2): 1/2 * 1/2; (1, 1): 1/2 * 1/4 and (2, 2): 1/4 * 1/2 tie. Position 0 never answers.
    assert (found.first_token[0, 0].item(), found.last_token[0, 0].item()) == (1, 2)
    torch.testing.assert_close(found.scores, torch.tensor([[0.25, 0.125, 0.125]]))
    torch.testing.assert_close(found.null_scores, torch.tensor([1 / 16]))
    assert found.searched_whole == 1  # because of the tie


def test_max_answer_len_counts_tokens():
    """With the best start at 1 and the best end at 3, two tokens are not enough and three are."""
    start, end = torch.tensor([[0.0, 9, 0, 0, 0]]), torch.tensor([[0.0, 0, 0, 9, 0]])
    allowed = torch.ones(1, 5).bool()
    for width, expected in ((2, False), (3, True)):
        found = select_spans(start, end, allowed, max_answer_len=width)
        assert ((found.first_token.item(), found.last_token.item()) == (1, 3)) is expected


@pytest.mark.skipif(np.__version__ < "2", reason="numpy 1.26 chooses others among equal scores")
def test_zero_score_spans_fill_up_only_in_compat():
    """One allowed token, three answers asked for: transformers adds zero-score spans through token 0."""
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    allowed = torch.tensor([[False, False, True]])
    compat = select_spans(logits, logits, allowed, top_k=3)
    # Blocked tokens have probability 0, so of nine products only (2, 2) is not zero; (0, 0) passes the filter.
    assert listed(compat, 0)[0][0] == 2
    assert (0, 0) in zip(*listed(compat, 0)[:2], strict=True)
    corrected = select_spans(logits, logits, allowed, top_k=3, compat=False)
    assert listed(corrected, 0)[:2] == [[2], [2]]


def test_window_without_context():
    """Only CLS allowed: "no answer" has all of the mass, and nothing but zero-score leaks is found."""
    logits = torch.tensor([[1.0, 5.0, 5.0]])
    allowed = torch.tensor([[True, False, False]])
    for compat in (True, False):
        found = select_spans(logits, logits, allowed, compat=compat)
        assert found.null_scores.item() == 1.0
        assert found.scores.item() == 0.0
        assert found.valid.item() is compat


def test_nothing_allowed_and_no_windows():
    """A window with nothing allowed has no candidates; no windows give no rows."""
    logits = torch.zeros(2, 4)
    for compat in (True, False):
        assert not select_spans(logits, logits, torch.zeros(2, 4).bool(), top_k=3, compat=compat).valid.any()
        assert select_spans(logits[:0], logits[:0], logits[:0].bool(), compat=compat).first_token.shape == (0, 1)
        assert not select_spans(logits[:, :0], logits[:, :0], logits[:, :0].bool(), compat=compat).valid.any()


def test_exactly_top_k_products():
    """Four tokens and sixteen candidates, where 4.57.6 stops with "kth(=16) out of bounds (16)", answer normally."""
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    found = select_spans(logits, logits, torch.ones(1, 4).bool(), top_k=16)
    assert (found.first_token[0, 0].item(), found.last_token[0, 0].item()) == (3, 3)


# property


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_corrected_search_equals_enumeration(seed):
    """compat=False against every allowed span of the band; scores tie only within rounding."""
    case = draw_windows(seed, longest=20)
    found = search(case, compat=False)
    for row in range(case.start.shape[0]):
        n = int(case.lengths[row])
        start, end, allowed = (x[row, :n].tolist() for x in (case.start.float(), case.end.float(), case.allowed))
        spans, null = corrected_spans(start, end, allowed, case.top_k, case.max_answer_len)
        first, last, scores = listed(found, row)
        assert len(first) == len(spans)
        np.testing.assert_allclose(scores, [span[2] for span in spans], rtol=2e-5, atol=1e-37)
        assert math.isclose(found.null_scores[row].item(), null, rel_tol=2e-5, abs_tol=1e-37)
        assert len(set(zip(first, last, strict=True))) == len(first)
        assert all(
            allowed[i] and allowed[j] and 0 <= j - i < case.max_answer_len for i, j in zip(first, last, strict=True)
        )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), compat=st.booleans())
def test_a_window_alone_equals_the_window_in_a_batch(seed, compat):
    """Neither the batch nor its padding changes a window."""
    case = draw_windows(seed)
    found = search(case, compat=compat)
    for row in range(case.start.shape[0]):
        n = int(case.lengths[row])
        part = [x[row : row + 1, :n] for x in (case.start, case.end, case.allowed)]
        alone = select_spans(*part, top_k=case.top_k, max_answer_len=case.max_answer_len, compat=compat)
        if compat:
            assert listed(alone, 0) == listed(found, row)
        else:  # torch's softmax depends on the width in the last bit
            torch.testing.assert_close(listed(alone, 0)[2], listed(found, row)[2], rtol=1e-5, atol=1e-37)


def test_inputs_are_not_changed():
    """Logits and mask are read only."""
    case = draw_windows(5)
    before = [x.clone() for x in (case.start, case.end, case.allowed)]
    search(case)
    search(case, compat=False)
    assert all(torch.equal(a, b) for a, b in zip(before, (case.start, case.end, case.allowed), strict=True))


def test_many_windows_go_through_in_chunks(monkeypatch):
    """The chunks of a long document, two or more of them, join to what one pass gives."""
    case = next(case for case in map(draw_windows, range(100)) if case.start.shape[0] > 4)
    whole, windows = search(case), case.start.shape[0]
    for size in (1, 2, windows - 1, windows):
        monkeypatch.setattr("afterlogits.postprocess.text.spans.WINDOWS_AT_ONCE", size)
        parts = search(case)
        for name in ("first_token", "last_token", "scores", "valid", "null_scores"):
            assert torch.equal(getattr(whole, name), getattr(parts, name))
        assert whole.searched_whole == parts.searched_whole


@pytest.mark.parametrize("seed", range(20))
def test_starts_and_ends_together_are_what_they_are_apart(monkeypatch, seed):
    """Few logits go through the softmax together, many apart: the same bits."""
    case = draw_windows(seed)
    together = search(case)
    monkeypatch.setattr("afterlogits.postprocess.text.spans.FEW_LOGITS", 0)
    apart = search(case)
    for name in ("first_token", "last_token", "scores", "valid", "null_scores"):
        assert torch.equal(getattr(together, name), getattr(apart, name))


def test_banded_top_k_reports_doubt():
    """Certain where the best K + 1 products differ; not where two are equal or a zero is among the best."""
    starts = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    ends = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    *_, certain = banded_top_k(starts, ends, 2, 3)
    assert certain.tolist() == [True, False, False]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), coarse=st.booleans())
def test_the_search_of_other_devices_is_the_same(seed, coarse):
    """The torch form of the banded search finds numpy's products, and its places wherever they are certain."""
    generator = torch.Generator().manual_seed(seed)
    starts, ends = (torch.rand(5, 1 + seed % 30, generator=generator) for _ in range(2))
    if coarse:
        starts, ends = (starts * 4).floor() / 4, (ends * 4).floor() / 4
    for top_k, width in itertools.product((1, 3, 12, 40), (1, 2, 7, 15)):
        scores, first, last, certain = banded_top_k(starts, ends, top_k, width)
        found = _on_device(starts, ends, top_k, min(width, starts.shape[1]))
        there = [column[:, :top_k] for column in found]
        assert torch.equal(scores, there[0])
        assert top_k > 1 or torch.equal(torch.stack([first, last]), torch.stack(there[1:]))
        assert torch.equal(first[certain], there[1][certain]) and torch.equal(last[certain], there[2][certain])


def test_windows_in_blocks_are_the_windows(monkeypatch):
    """Rows searched a few at a time, as the cache asks, give what they give together."""
    case = draw_windows(11)
    whole = search(case)
    monkeypatch.setattr("afterlogits.postprocess.probabilities.IN_CACHE", 1)
    parts = search(case)
    assert torch.equal(whole.first_token, parts.first_token) and torch.equal(whole.scores, parts.scores)
    assert torch.equal(whole.last_token, parts.last_token) and torch.equal(whole.null_scores, parts.null_scores)


# parity


def assert_same_as_library(case):
    """Every window's spans, order and scores are transformers', bit for bit."""
    found = search(case)
    for row in range(case.start.shape[0]):
        n = int(case.lengths[row])
        if VERSION_4 and n * n == case.top_k > 1:
            continue  # 4.57.6 stops here
        starts, ends, scores, null = library_spans(select_starts_ends, case, row)
        assert listed(found, row) == [starts, ends, scores], (case.kind, row)
        assert found.null_scores[row].item() == null


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_same_as_library(seed):
    """Ties, masks, half precision and missing candidates included."""
    assert_same_as_library(draw_windows(seed))


def test_same_as_library_at_full_length():
    """Windows of 384 tokens, plain and on a coarse grid of logits."""
    generator = torch.Generator().manual_seed(0)
    for coarse, top_k in itertools.product((False, True), (1, 12, 20)):
        case = draw_windows(0)
        case.start, case.end = (torch.randn(4, 384, generator=generator) * 4 for _ in range(2))
        if coarse:
            case.start, case.end = case.start.bfloat16().float(), case.end.bfloat16().float()
        case.allowed = torch.arange(384).expand(4, 384) >= 20
        case.lengths, case.top_k, case.max_answer_len, case.kind = torch.full((4,), 384), top_k, 15, "plain"
        assert_same_as_library(case)


@pytest.mark.v4
@pytest.mark.skipif(not VERSION_4, reason="the question-answering pipeline left transformers with version 5")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_same_as_library_version_4(seed):
    """The same against 4.57.6's own function."""
    assert_same_as_library(draw_windows(seed))


@pytest.mark.slow
def test_same_as_library_thousands():
    """6,000 drawn batches; the count of windows and of whole searches is printed."""
    windows = whole = 0
    for seed in range(6000):
        case = draw_windows(10**6 + seed)
        assert_same_as_library(case)
        windows += case.start.shape[0]
        whole += search(case).searched_whole
    print(f"span search: {windows} windows equal to transformers', {whole} of them searched whole because of a tie")


# errors


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"top_k": 0}, ValueError, "top_k must be at least 1; got 0"),
        ({"top_k": 1.5}, TypeError, "top_k must be an integer; got 1.5"),
        ({"max_answer_len": -3}, ValueError, "max_answer_len must be at least 1; got -3"),
        ({"end_logits": torch.zeros(2, 3)}, ValueError, "end_logits must be [2, 4]; got shape [2, 3]"),
        ({"allowed": torch.zeros(4).bool()}, ValueError, "allowed must be [2, 4]; got shape [4]"),
        ({"lengths": torch.zeros(3)}, ValueError, "lengths must be [2]; got shape [3]"),
        (
            {"start_logits": torch.tensor([[0.0] * 4, [0.0, math.nan, 0, 0]])},
            ValueError,
            "start_logits must not be NaN; got NaN in window 1",
        ),
        (
            {"start_logits": torch.zeros(2, 4).long(), "end_logits": torch.zeros(2, 4).long()},
            TypeError,
            "logits must be floating point; got torch.int64",
        ),
        (
            {"end_logits": torch.zeros(2, 4).half()},
            TypeError,
            "end_logits must be torch.float32 as start_logits are; got torch.float16",
        ),
    ],
)
def test_errors(change, error, message):
    """What is wrong, what was wanted, what came."""
    arguments = {
        "start_logits": torch.zeros(2, 4),
        "end_logits": torch.zeros(2, 4),
        "allowed": torch.ones(2, 4).bool(),
        **change,
    }
    with pytest.raises(error) as caught:
        select_spans(**arguments)
    assert str(caught.value) == message
