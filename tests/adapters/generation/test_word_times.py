"""Times of tokens inside Whisper's generate: transformers' own, alone and in a batch, or a batch's as of rows alone."""

import pytest
import torch

from afterlogits.adapters.generation.install import generate
from afterlogits.adapters.generation.needed_attentions import needed_attentions_only
from afterlogits.adapters.generation.word_times import _frames, _sliced, rows_timed_alone
from tests.builders.audio_models import noise, whisper

SOUNDS = [noise(seconds, seed) for seed, seconds in enumerate((5.0, 2.0, 9.0))]


def inputs():
    _, _, extractor = whisper(longest=24)
    return [extractor(sound, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True) for sound in SOUNDS]


def call(run, rows, **options):
    features = torch.cat([row["input_features"] for row in rows])
    masks = torch.cat([row["attention_mask"] for row in rows])
    output = run(
        input_features=features,
        attention_mask=masks,
        return_timestamps=True,
        return_token_timestamps=True,
        return_segments=True,
        **options,
    )
    return [torch.cat([segment["token_timestamps"] for segment in row]) for row in output["segments"]]


# Both are raised inside transformers: of a window without a token left, and by numpy of tensors.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}], ids=str)
def test_times_have_the_same_bits(options):
    """Windows that a random model puts beyond the end of the sound are among these."""
    model, *_ = whisper(longest=24)
    rows = inputs()
    alone = [call(model.generate, [row], **options)[0] for row in rows]
    together = call(model.generate, rows, **options)

    def ours(**given):
        return generate(model, **given)

    for row, want in zip(rows, alone, strict=True):
        assert torch.equal(call(ours, [row], **options)[0], want)
    assert all(map(torch.equal, call(ours, rows, **options), together))
    with rows_timed_alone():
        assert all(map(torch.equal, call(ours, rows, **options), alone))
    assert not all(one.shape == two.shape and torch.equal(one, two) for one, two in zip(alone, together, strict=True))


def test_frames_are_sliced_as_a_list_is():
    """-3 // 2 is -2: of 10 positions 8 are left, and of those 6."""
    assert [_sliced(10, end) for end in (4, 12, -2, -12)] == [4, 10, 8, 0]
    assert _frames(torch.tensor([-3, -3]), 2, 10, alone=False) == [6, 6]
    assert _frames(torch.tensor([-3, 8]), 2, 10, alone=False) == [8, 4]
    assert _frames(torch.tensor([-3, 8]), 4, 10, alone=True) == [6, 6, 4, 4]
    assert (_frames(None, 2, 10, alone=False), _frames(9, 2, 10, alone=False)) == (None, 4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3}], ids=str)
def test_attentions_that_align_are_enough(options):
    """The same bits with no attention kept beside those of the alignment heads, and none handed on."""
    model, *_ = whisper(longest=24)
    rows = inputs()

    def ours(**given):
        return generate(model, **given)

    usual = call(ours, rows, **options)
    with needed_attentions_only():
        assert all(map(torch.equal, call(ours, rows, **options), usual))
        features = torch.cat([row["input_features"] for row in rows])
        masks = torch.cat([row["attention_mask"] for row in rows])
        output = generate(
            model,
            input_features=features,
            attention_mask=masks,
            return_timestamps=True,
            return_token_timestamps=True,
            return_segments=True,
            **options,
        )
    held = [segment["result"] for row in output["segments"] for segment in row]
    assert held and not any("attentions" in name for result in held for name in result)
