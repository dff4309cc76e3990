"""Labels of sounds: torch's softmax and torch's order, as the pipeline has them."""

from types import SimpleNamespace

import pytest
import torch
from transformers.pipelines.audio_classification import AudioClassificationPipeline

from afterlogits.postprocess.top_labels import choose_audio_function, top_labels

NAMES = [f"sound {i}" for i in range(527)]


def pipeline_answers(logits, top_k, function):
    """transformers' own postprocess, one row at a time."""
    config = SimpleNamespace(id2label=dict(enumerate(NAMES)), problem_type=None)
    this = SimpleNamespace(model=SimpleNamespace(config=config))
    post = AudioClassificationPipeline.postprocess
    return [post(this, SimpleNamespace(logits=row[None]), top_k, function) for row in logits]


# golden


def test_softmax_of_three():
    """exp 0, exp ln 3 and exp 0 over their sum: 1/5, 3/5, 1/5."""
    found = top_labels(torch.tensor([[1.0, 3.0, 1.0]]).log(), 1)
    torch.testing.assert_close(found.scores, torch.tensor([[0.6]]))
    assert found.records(["a", "b", "c"]) == [[{"score": pytest.approx(0.6), "label": "b"}]]


@pytest.mark.parametrize(
    ("problem_type", "asked", "expected"),
    [
        (None, None, "softmax"),
        ("regression", None, "none"),
        ("multi_label_classification", None, "sigmoid"),
        ("single_label_classification", None, "softmax"),
        ("regression", "softmax", "softmax"),
    ],
)
def test_activation(problem_type, asked, expected):
    assert choose_audio_function(problem_type, asked) == expected


# parity


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_same_as_transformers(function):
    """Sharp, flat and tied rows of every count of labels: 2,100 rows, labels and scores equal bit for bit."""
    generator = torch.Generator().manual_seed(0)
    for draw in range(100):
        count = int(torch.randint(1, 528, (), generator=generator))
        logits = torch.randn(7, count, generator=generator) * 4
        if draw % 3 == 0:
            logits = logits.round()
        top_k = (count, min(5, count), 1)[draw % 3]
        assert top_labels(logits, top_k, function_to_apply=function).records(NAMES) == pipeline_answers(
            logits, top_k, function
        )


@pytest.mark.parametrize(("rows", "threads"), [(9, 1), (16, 2), (17, 2), (30, 3), (31, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_few_sigmoids_of_many_labels(dtype, rows, threads):
    """Labels and bits of each row's own sigmoid and topk, wherever the largest stand: in the last ones of a row, which
    torch computes by other instructions, in rows of near ties and in rows whose sigmoids are all 1; of as many rows as
    threads share out whole, and of one more, which would part a row."""
    before, generator = torch.get_num_threads(), torch.Generator().manual_seed(0)
    drawn = 2 + torch.rand(3000, generator=generator)
    told_apart = drawn[drawn.sigmoid() != torch.stack([value.sigmoid() for value in drawn])]  # alone: the last of a row
    torch.set_num_threads(threads)
    try:
        for draw in range(9):
            count = int(torch.randint(2200, 2700, (), generator=generator))
            logits = torch.randn(rows, count, generator=generator) * (1, 4, 9)[draw % 3]
            logits[0] *= 30  # sigmoids of 1, all equal
            logits[1] = logits[1].round()
            logits[2, -31:] += 3.0  # the last ones are the largest
            logits[3] = 6 + torch.rand(count, generator=generator) * 1e-5  # nearer than rounding can tell apart
            logits[4, -1] = logits[4].max() + 1
            share = -(-rows * count // threads)  # where one thread's share ends and the next begins
            logits[(share - 1) // count].clamp_(max=1)
            around = logits.view(-1)[share - 16 : share + 16]
            around[:] = told_apart[torch.randint(len(told_apart), (len(around),), generator=generator)]
            given = logits.to(dtype)
            top_k = (1, 5, 7)[draw % 3]
            found = top_labels(given, top_k, function_to_apply="sigmoid")
            for row, labels, scores in zip(given, found.labels, found.scores, strict=True):
                wanted = row.sigmoid().topk(top_k)
                assert torch.equal(labels, wanted.indices) and torch.equal(scores, wanted.values)
    finally:
        torch.set_num_threads(before)


# errors


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("count", [3, 200, 3000])
def test_a_nan_is_found_however_few_labels_are_kept(function, count):
    """At any place, by each of the ways to rank."""
    logits = torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    logits[1, count // 2] = torch.nan
    for top_k in {1, min(70, count)}:
        with pytest.raises(ValueError, match="logits must not be NaN; got NaN in row 1"):
            top_labels(logits, top_k, function_to_apply=function)


@pytest.mark.parametrize(
    ("logits", "options", "message"),
    [
        (torch.zeros(3), {}, "logits must be [B, C]; got shape [3]"),
        (torch.zeros(2, 3), {"top_k": 0}, "top_k must be at least 1; got 0"),
        (torch.tensor([[0.0], [torch.nan]]), {}, "logits must not be NaN; got NaN in row 1"),
        (
            torch.zeros(2, 3),
            {"function_to_apply": "tanh"},
            "function_to_apply must be one of softmax, sigmoid, none; got 'tanh'",
        ),
    ],
)
def test_errors(logits, options, message):
    with pytest.raises(ValueError) as caught:
        top_labels(logits, **options)
    assert str(caught.value) == message
