"""The draw by kernels in Triton's interpreter: the twin's tokens, and the CPU path's for the same seeds.

A row whose flag says doubt is one where rounding might have decided; it may differ, and is counted. Where the flag
says nothing the token must be that of the CPU.
"""

import numpy as np
import pytest
import torch

from afterlogits.decoding import SamplingParams, sample
from afterlogits.decoding.kernels.counter_noise import counter_exponential
from afterlogits.decoding.sampling import kernel_draw
from afterlogits.decoding.sampling.plan import Plan
from afterlogits.decoding.triton_kernels import exact_row as exact_row_module
from afterlogits.decoding.triton_kernels.decide_and_draw import BAD, OPEN, decide_and_draw, draw_twin
from afterlogits.decoding.triton_kernels.draw import draw_rows
from afterlogits.decoding.triton_kernels.row_stats import empty_stats, row_stats
from afterlogits.decoding.triton_kernels.stream_state import StreamDraw, exponentials_at

from .cases import KINDS, OPTIONS, batch_of, compiled, fitting, interpreted, keys_of


def seeded_noise(seeds, step, vocab_size):
    return counter_exponential(keys_of(seeds, step)[:, None], torch.arange(vocab_size))


def test_the_twin_by_hand():
    """Weights 4, 2, 1, 1 of 8; top-p 0.7 keeps the first two (4 < 5.6, 6 is not); noise 8 and 1 of these: 4/8 < 2/1."""
    logits = torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log()
    noise = torch.tensor([[8.0, 1.0, 1e-9, 1e-9]]).double()
    assert draw_twin(logits, compiled({"top_p": 0.7}, 1, 4), noise).tolist() == [1]
    assert draw_twin(logits, compiled({"top_k": 1}, 1, 4), noise).tolist() == [0]
    assert draw_twin(logits, compiled({"min_p": 0.6}, 1, 4), noise).tolist() == [0]
    assert draw_twin(logits, compiled({}, 1, 4), noise).tolist() == [2]


@pytest.mark.parametrize("options", OPTIONS[:-1], ids=str)
def test_the_twin_draws_the_cpu_s_tokens(options):
    """Rows too short to be flat, so that every one is a race; with no equals, whose order is the CPU sort's own."""
    vocab_size = 2000
    logits = batch_of([kind for kind in KINDS if kind not in ("one value", "ties")] * 4, vocab_size, 1)
    seeds = list(range(len(logits)))
    expected = sample(logits, seeds=seeds, step=7, **options)
    found = draw_twin(logits, compiled(options, len(logits), vocab_size), seeded_noise(seeds, 7, vocab_size))
    assert (found == expected).sum() >= len(logits) - 1


@interpreted
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("vocab_size", [1999, 8005])
def test_seeded_tokens_are_the_cpu_s(options, vocab_size):
    logits = batch_of(KINDS, vocab_size, vocab_size, apart=3)
    seeds = [11 * i - 5 for i in range(len(logits))]
    options = fitting(options, len(logits))
    expected = sample(logits, seeds=seeds, step=3, **options)
    drawn = draw_rows(logits, compiled(options, *logits.shape), keys=keys_of(seeds, 3))
    assert drawn is not None
    sure = ~drawn.doubtful
    assert drawn.tokens[sure].tolist() == expected[sure].tolist()
    assert not drawn.bad.any()
    tied = [kind in ("ties", "one value", "tiny differences") for kind in KINDS]  # a border within equals is in doubt
    assert int((drawn.doubtful & ~torch.tensor(tied)).sum()) <= 1, drawn.doubtful
    assert not (drawn.flags & OPEN).any()


@interpreted
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits_are_read_as_they_are(dtype):
    """Rounded logits have ties everywhere; the tokens are those of the same numbers in float32."""
    kinds = [kind for kind in KINDS if kind != "huge"]
    logits = batch_of(kinds, 6001, 5, dtype)
    seeds = list(range(len(logits)))
    for options in ({"temperature": 0.9, "top_k": 30, "top_p": 0.9}, {"top_p": 0.95}):
        expected = sample(logits, seeds=seeds, **options)
        drawn = draw_rows(logits, compiled(options, *logits.shape), keys=keys_of(seeds, 0))
        sure = ~drawn.doubtful
        assert drawn.tokens[sure].tolist() == expected[sure].tolist()
        assert int(drawn.doubtful.sum()) <= 3


@interpreted
def test_a_row_alone_is_the_row_in_a_batch():
    logits = batch_of(KINDS, 5003, 9)
    seeds, options = list(range(len(logits))), {"temperature": 0.9, "top_p": 0.9}
    together = draw_rows(logits, compiled(options, *logits.shape), keys=keys_of(seeds, 1))
    for row in range(len(logits)):
        alone = draw_rows(logits[row : row + 1], compiled(options, 1, 5003), keys=keys_of(seeds[row : row + 1], 1))
        assert alone.tokens[0] == together.tokens[row]
        assert alone.flags[0] == together.flags[row]


@interpreted
def test_greedy_rows_take_the_first_of_equals():
    logits = batch_of(("ties", "one value", "wide"), 4500, 2)
    drawn = draw_rows(logits, compiled({"temperature": [0.0, 0.0, 0.0]}, 3, 4500), keys=keys_of([1, 2, 3], 0))
    assert drawn is None or drawn.tokens.tolist() == logits.argmax(1).tolist()
    mixed = {"temperature": [0.0, 0.0, 1.0]}
    drawn = draw_rows(logits, compiled(mixed, 3, 4500), keys=keys_of([1, 2, 3], 0))
    assert drawn.tokens[:2].tolist() == logits[:2].argmax(1).tolist()


@interpreted
def test_a_bad_row_is_flagged_and_moves_no_neighbour():
    logits = batch_of(("wide",) * 5, 4500, 4)
    logits[1, 17], logits[2, 4400], logits[3] = torch.nan, torch.inf, -torch.inf
    seeds = [1, 2, 3, 4, 5]
    drawn = draw_rows(logits, compiled({"top_p": 0.9}, 5, 4500), keys=keys_of(seeds, 0))
    assert drawn.flags.tolist() == [0, BAD, BAD, BAD, 0]
    torch.testing.assert_close(drawn.largest, logits.amax(1), equal_nan=True, rtol=0, atol=0)
    fine = sample(logits[[0, 4]], top_p=0.9, seeds=[1, 5])
    assert drawn.tokens[[0, 4]].tolist() == fine.tolist()


@interpreted
def test_most_rows_are_settled_by_their_lists():
    """The second kernel alone: peaked rows and short top-ks are closed, wide nuclei left open."""
    logits = batch_of(("peaked", "wide", "flat"), 8005, 6)
    for options, left in (({"top_k": 50, "top_p": 0.95}, [0, 0, 0]), ({"top_p": 0.9}, [0, 1, 1])):
        asked = compiled(options, *logits.shape)
        stats = row_stats(logits, asked.temperature, empty_stats(logits))
        tokens, flags = torch.empty(3, dtype=torch.int64), torch.empty(3, dtype=torch.int32)
        decide_and_draw(logits, stats, asked, keys_of([1, 2, 3], 0), None, tokens, flags, torch.empty(3))
        assert ((flags & OPEN) != 0).int().tolist() == left, options


@interpreted
@pytest.mark.parametrize("options", [{"top_k": 50, "top_p": 0.95}, {"top_p": 0.9}, {"temperature": 0.7}], ids=str)
def test_the_stream_s_tokens_are_those_of_its_noise(options):
    """argmax of softmax / noise over the whole vocabulary, the noise by the formula; row 2 of a batch of 9 left."""
    logits = batch_of(KINDS, 5003, 8)
    stream = StreamDraw(2**63 + 1234567, 96, 256 * 40, hardware=False)
    asked = compiled(options, *logits.shape)
    noise = exponentials_at(np.arange(logits.numel()), stream).reshape(logits.shape)
    noise = torch.from_numpy(noise.astype(np.float64))
    expected = draw_twin(logits, asked, noise)
    drawn = draw_rows(logits, asked, stream=stream)
    sure = ~drawn.doubtful
    assert drawn.tokens[sure].tolist() == expected[sure].tolist()
    assert int(drawn.doubtful.sum()) <= 2
    some = torch.tensor([4, 1])
    part = draw_rows(logits[some], asked.select_rows(some), stream=stream)
    assert part.tokens.tolist() == drawn.tokens[some].tolist()


def test_the_modules_import_without_triton():
    assert callable(exact_row_module.exact_row)


@interpreted
def test_rows_in_doubt_are_counted_until_somebody_asks(monkeypatch):
    """As many as the flags of each draw say, whatever was added up in between; rows of one value are in doubt."""
    monkeypatch.setenv("AFTERLOGITS_KERNELS", "interpreter")
    monkeypatch.setattr(kernel_draw, "_HELD", 2)
    logits, doubts, expected = batch_of(("wide", "one value", "ties", "peaked"), 4500, 4), kernel_draw.DoubtCount(), 0
    plan = Plan(SamplingParams(top_p=0.9), 4, 4500, torch.device("cpu"))
    assert doubts.read() == 0
    for step in range(5):
        drawn = kernel_draw.kernel_draw(plan, logits, keys_of([1, 2, 3, 4], step)[:, None], None, None, doubts)
        expected += int(drawn.doubtful.sum())
        if step == 3:
            assert doubts.read() == expected
    assert doubts.read() == expected > 0
