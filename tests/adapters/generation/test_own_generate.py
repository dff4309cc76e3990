"""Models with a generate of their own: equal, or left to transformers with one warning; options per row never lost."""

import warnings
from typing import Any

import pytest
import torch
import transformers

from afterlogits.adapters import generate
from afterlogits.adapters.generation.generation_mixin import _WARNED
from tests.builders.architectures import shrunk_class_config
from tests.builders.versions import V4
from tests.programs.own_generate_parity import classes, compare

V5 = transformers.__version__.startswith("5")
IDS = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(0))


def tiny(name: str) -> Any:
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    return kind(shrunk_class_config(kind.config_class)).float().eval()


def test_the_classes_are_found() -> None:
    """Whisper, MusicGen and BLIP are among them; plain causal models are not."""
    names = {kind.__name__ for kind in classes()}
    assert names >= {"WhisperForConditionalGeneration", "MusicgenForConditionalGeneration"}
    assert "LlamaForCausalLM" not in names


@pytest.mark.parametrize(
    "name",
    [
        "BarkCoarseModel",  # a loop after the other over windows
        "DiaForConditionalGeneration",  # rows that are channels
        "MusicgenForConditionalGeneration",
        "SeamlessM4TForTextToText",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_one_loop_inside(name: str) -> None:
    """The answer is the model's own."""
    found = compare(getattr(transformers, name))
    if V4 and found.startswith("not compared: cannot be made small"):
        pytest.skip(found)
    assert found == "same"


@pytest.mark.filterwarnings("ignore")
def test_seeds_reach_the_one_loop() -> None:
    """Rows draw by their seeds, in any order."""
    model = tiny("SeamlessM4TForTextToText")
    options = {"max_new_tokens": 5, "do_sample": True, "eos_token_id": None}
    first = generate(model, input_ids=IDS, seeds=[5, 6], **options).tolist()
    assert generate(model, input_ids=IDS[[1, 0]], seeds=[6, 5], **options).tolist() == first[::-1]
    assert first[0] != first[1]


@pytest.mark.skipif(not V5, reason="the tiny BLIP is built for transformers 5")
def test_no_loop_of_its_own() -> None:
    """BLIP decodes by another model: the same answer with one warning, and options per row are refused."""
    model = tiny("BlipForConditionalGeneration")
    picture = torch.randn(2, 3, *[model.config.vision_config.image_size] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        _WARNED.clear()
        expected = model.generate(pixel_values=picture, max_new_tokens=4).tolist()
    with pytest.warns(RuntimeWarning, match="own loop") as caught:
        for _ in range(2):
            assert generate(model, pixel_values=picture, max_new_tokens=4).tolist() == expected
    assert len([one for one in caught if issubclass(one.category, RuntimeWarning)]) == 1
    with pytest.raises(ValueError) as error:
        generate(model, pixel_values=picture, max_new_tokens=4, do_sample=True, seeds=[1, 2])
    assert "must be decoded by this engine for per-row options" in str(error.value)
