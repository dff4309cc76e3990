"""Image processors without their check of arguments: the same inputs, the same attributes, the same refusals."""

import pytest
import torch
import transformers

from afterlogits.adapters.tasks.vision import quick_processors
from afterlogits.adapters.tasks.vision.quick_processors import quick
from tests.builders.vision_models import parts, picture

V5 = not transformers.__version__.startswith("4.")
KINDS = ("vit", "detr", "segformer", "maskformer", "glpn", "owlv2")


def equal(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        if isinstance(values, torch.Tensor):
            assert torch.equal(found[name], values)


@pytest.mark.parametrize("name", KINDS)
def test_same_inputs_and_shared_attributes(name):
    """Of the processor's own class, and what is changed in it shows."""
    processor = parts(name)["image_processor"]
    fast = quick(processor)
    assert isinstance(fast, type(processor)) and type(fast).__name__ == type(processor).__name__
    assert (fast is processor) is not V5 and quick(processor) is fast
    equal(fast(images=[picture()], return_tensors="pt"), processor(images=[picture()], return_tensors="pt"))
    before = fast(images=picture(), return_tensors="pt")["pixel_values"]
    processor.do_rescale = False
    after = fast(images=picture(), return_tensors="pt")
    equal(after, processor(images=picture(), return_tensors="pt"))
    assert not torch.equal(after["pixel_values"], before)


@pytest.mark.skipif(not V5, reason="transformers 4 checks by other means")
def test_only_the_check_of_what_nobody_gave_is_left_out(monkeypatch):
    """Counted: with ``return_tensors`` alone the data class is not built, with another argument it is."""
    calls = []
    method = transformers.image_processing_utils.BaseImageProcessor.preprocess
    monkeypatch.setitem(method.__globals__, quick_processors.CHECK, lambda *given: calls.append(given))
    for kept in (quick_processors._base, quick_processors._unchecked):
        kept.cache_clear()
    try:
        processor = parts("vit")["image_processor"]
        quick(processor)(images=picture(), return_tensors="pt")
        assert calls == []
        quick(processor)(images=picture(), return_tensors="pt", do_normalize=False)
        processor(images=picture(), return_tensors="pt")
        assert len(calls) == 2
    finally:
        for kept in (quick_processors._base, quick_processors._unchecked):
            kept.cache_clear()


def test_a_processor_of_another_kind_is_itself():
    def processor(images, return_tensors):
        return {"pixel_values": images}

    assert quick(processor) is processor
