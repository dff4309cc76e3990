"""Image processors without their check of arguments: the same inputs, the same attributes, the same refusals."""

import copy

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
    processor = copy.deepcopy(parts(name)["image_processor"])  # which other tests share, and this one changes
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
def test_only_what_is_passed_is_checked(monkeypatch):
    """Counted: the processor's own list of arguments is checked when it is called, of the quick one the short list."""
    checked = []
    plain = transformers.image_processing_utils.validate_typed_dict
    monkeypatch.setattr(
        transformers.image_processing_utils,
        "validate_typed_dict",
        lambda schema, given: checked.append((schema, dict(given))) or plain(schema, given),
    )
    processor = parts("vit")["image_processor"]
    quick(processor)(images=picture(), return_tensors="pt")
    processor(images=picture(), return_tensors="pt")
    assert checked[0] == (quick_processors.OnlyTensors, {"return_tensors": "pt"})
    assert checked[1][0] is processor.valid_kwargs is not quick_processors.OnlyTensors


@pytest.mark.skipif(not V5, reason="transformers 4 checks by other means")
def test_other_arguments_are_the_processors_own():
    """The quick one refuses them rather than leave them unchecked."""
    with pytest.raises(TypeError, match="do_normalize"):
        quick(parts("vit")["image_processor"])(images=picture(), return_tensors="pt", do_normalize=False)


def test_a_class_of_somebody_else_stays(monkeypatch):
    """Its methods may read the list for what they like."""
    kind = type(parts("vit")["image_processor"])
    own = type("Own", (kind,), {"__module__": "somebody"})()
    assert quick(own) is own
    monkeypatch.setattr(quick_processors, "_names_are_read", lambda: False)
    processor = parts("vit")["image_processor"]
    assert quick(processor) is processor


def test_a_processor_of_another_kind_is_itself():
    def processor(images, return_tensors):
        return {"pixel_values": images}

    assert quick(processor) is processor
