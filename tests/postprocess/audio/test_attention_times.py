"""Token times from cross-attentions, against Whisper's own methods on drawn attentions."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.models.whisper.generation_whisper import WhisperGenerationMixin, _median_filter

from afterlogits.postprocess.audio import (
    AlignmentAttentions,
    follow_beams,
    median_filter,
    select_heads,
    smooth_attentions,
    token_times,
)


class Generated(dict):
    """Outputs of generate: attributes, and ``in`` for those that are there."""

    __getattr__ = dict.__getitem__


def draw_generation(seed, *, beams=False):
    """Steps of cross-attentions: a prompt of 1 to 4 tokens at once, then one token each."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    batch_size, layers, heads = draw.randint(1, 3), draw.randint(1, 3), draw.randint(1, 8)
    frames, prompt, steps = draw.randint(1, 40), draw.randint(1, 4), draw.randint(0, 12)
    rows = batch_size * 2 if beams else batch_size
    lengths = [prompt] + [1] * steps

    def attention(length):
        scores = torch.randn(rows, heads, length, frames, generator=generator)
        return (scores.round() if seed % 3 == 0 else scores).softmax(-1)

    attentions = tuple(tuple(attention(length) for _ in range(layers)) for length in lengths)
    chosen = [(draw.randrange(layers), draw.randrange(heads)) for _ in range(draw.randint(1, 10))]
    outputs = Generated(cross_attentions=attentions, sequences=torch.zeros(batch_size, prompt + steps + 1).long())
    if beams:
        indices = torch.randint(0, rows, (batch_size, steps + 1), generator=generator)
        ends = torch.randint(1, steps + 2, (batch_size, 1), generator=generator)
        outputs["beam_indices"] = indices.masked_fill(torch.arange(steps + 1) >= ends, -1)
    return outputs, chosen, prompt, frames


def transformers_times(outputs, heads, prompt, num_frames=None):
    config = SimpleNamespace(decoder_layers=len(outputs.cross_attentions[0]), median_filter_width=7)
    method = WhisperGenerationMixin._extract_token_timestamps
    return method(SimpleNamespace(config=config), outputs, heads, num_frames=num_frames, num_input_ids=prompt)


# golden


def test_median_of_three():
    """Reflected ends: 1 9 1 | 9 1 5 | 1 5 2 | 5 2 5."""
    assert median_filter(torch.tensor([[9.0, 1, 5, 2]]), 3).tolist() == [[1.0, 5.0, 2.0, 5.0]]


def test_tokens_where_the_attention_moves():
    """Two tokens that look at frames 0-3 and 4-7: the second starts at frame 4, the time the first ends."""
    weights = torch.full((1, 1, 2, 8), 0.01)
    weights[0, 0, 0, :4], weights[0, 0, 1, 4:] = 0.24, 0.24
    assert token_times(weights, filter_width=1).tolist() == [[0.0, pytest.approx(0.08), pytest.approx(0.08)]]


# parity


@pytest.mark.parametrize("width", [1, 3, 5, 7, 9])
def test_median_same_as_transformers(width):
    """400 drawn batches for each width, with ties, NaN and rows too short to filter."""
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(2, 3, 1 + seed % 23, generator=generator)
        values = values.round() if seed % 3 == 0 else values
        if seed % 5 == 0:
            values[torch.rand(values.shape, generator=generator) < 0.1] = torch.nan
        torch.testing.assert_close(
            median_filter(values, width), _median_filter(values, width), rtol=0, atol=0, equal_nan=True
        )


def test_smoothing_has_the_same_bits():
    """Standardised, filtered, averaged; batches together and clips of their own lengths, 1 to 24 heads."""
    for heads in (1, 2, 3, 4, 6, 10, 24):
        weights = torch.rand(heads, 3, 37, 123, generator=torch.Generator().manual_seed(heads)).permute(1, 0, 2, 3)
        for count in (123, 77, 8, 7, 6, 5, 4, 3, 2, 1):
            part = weights[..., :count]
            scaled = (part - part.mean(-2, keepdim=True)) / part.std(-2, keepdim=True, unbiased=False)
            expected = _median_filter(scaled, 7).mean(dim=1)
            assert torch.equal(smooth_attentions(weights, frames=count)[..., :count], expected)


@pytest.mark.parametrize("lengths", ["none", "one", "each"])
@pytest.mark.parametrize("beams", [False, True])
def test_times_same_as_transformers(lengths, beams):
    """350 drawn generations for each of six kinds: 2,100, every time equal bit for bit."""
    for seed in range(350):
        outputs, heads, prompt, available = draw_generation(seed, beams=beams)
        draw = random.Random(seed)
        batch_size = len(outputs.sequences)
        positions = {
            "none": None,
            "one": draw.randint(1, available),
            "each": [draw.randint(1, available) for _ in range(batch_size)],
        }[lengths]
        doubled = (
            positions if positions is None else 2 * positions if isinstance(positions, int) else np.array(positions) * 2
        )
        weights = select_heads(outputs.cross_attentions, heads)
        if beams:
            weights = follow_beams(weights, outputs.beam_indices, prompt)
        found = token_times(weights, num_input_ids=prompt, frames=positions)
        expected = transformers_times(outputs, heads, prompt, doubled)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


# property


def test_rows_that_leave_and_move():
    """``select`` in the middle of a generation: rows 2 and 0 go on."""
    generator = torch.Generator().manual_seed(0)
    steps = [[torch.rand(3, 4, 1, 6, generator=generator)] for _ in range(70)]
    collected = AlignmentAttentions([(0, 1), (0, 3)], capacity=1)
    for step in steps[:40]:
        collected.append(step)
    collected.select(torch.tensor([2, 0]))
    for step in steps[40:]:
        collected.append([step[0][[2, 0]]])
    assert torch.equal(collected.weights(), select_heads(steps, [(0, 1), (0, 3)])[[2, 0]])


# errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: median_filter(torch.zeros(1, 9), 4), "width must be odd and positive; got 4"),
        (lambda: token_times(torch.zeros(2, 3)), "weights must be [B, H, T, F]; got shape [2, 3]"),
        (
            lambda: token_times(torch.rand(2, 1, 3, 4), frames=[4]),
            "frames must be one number or [2]; got 1 numbers",
        ),
        (lambda: AlignmentAttentions([(0, 0)]).weights(), "append must be called before weights; got no step"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
