"""Shorter forward passes: transformers' outputs but for rounding, and its own pass wherever anything is odd."""

import copy
import functools

import numpy as np
import pytest
import torch
import transformers as hf

from afterlogits import pipeline
from afterlogits.adapters.tasks.vision import segformer_pass, short_passes, yolos_pass
from tests.builders.vision_models import picture

SIDE = {"height": 128, "width": 128}


@pytest.fixture(scope="module")
def segformer():
    """Two layers a stage, its batch norm and biases as if trained: 1,024 places a picture, 4 * 64 by 64 fused."""
    torch.manual_seed(0)
    config = hf.SegformerConfig(decoder_hidden_size=128, num_labels=7, initializer_range=0.1)
    model = hf.SegformerForSemanticSegmentation(config).eval()
    head = model.decode_head
    for values in (head.batch_norm.running_mean, head.batch_norm.bias, head.batch_norm.weight):
        torch.nn.init.normal_(values)
    torch.nn.init.uniform_(head.batch_norm.running_var, 0.5, 2.0)
    for projection in segformer_pass._projections(head):
        torch.nn.init.normal_(projection.bias)
    return model


@pytest.fixture
def counted(monkeypatch):
    """The batches that the short pass has answered."""
    found = []

    def counting(model, pixels, findings):
        outputs = segformer_pass.segformer_pass(model, pixels, findings)
        found.append(None if outputs is None else len(pixels))
        return outputs

    monkeypatch.setitem(short_passes.PASSES, "SegformerForSemanticSegmentation", counting)
    monkeypatch.setattr(segformer_pass, "LEAST_FUSED", 1)
    return found


def test_stage_weights_by_hand():
    """One channel, stages a and b with weights 2 and 3, biases 1 and 5; fused by 10 (b, the last, is joined first) and
    100; the norm halves (variance 4) after taking 6 off and adds 7. a: 100 * 2 / 2, b: 10 * 3 / 2, and the constant
    (100 * 1 + 10 * 5 - 6) / 2 + 7 = 79."""
    config = hf.SegformerConfig(
        num_encoder_blocks=2, hidden_sizes=[1, 1], decoder_hidden_size=1, depths=[1, 1], sr_ratios=[1, 1]
    )
    head = hf.models.segformer.modeling_segformer.SegformerDecodeHead(config).eval()
    with torch.no_grad():
        for projection, weight, bias in zip(segformer_pass._projections(head), (2.0, 3.0), (1.0, 5.0), strict=True):
            projection.weight.fill_(weight)
            projection.bias.fill_(bias)
        head.linear_fuse.weight.copy_(torch.tensor([10.0, 100.0]).view(1, 2, 1, 1))
        head.batch_norm.running_mean.fill_(6.0)
        head.batch_norm.running_var.fill_(4.0 - head.batch_norm.eps)
        head.batch_norm.bias.fill_(7.0)
        (first, second), bias = segformer_pass.stage_weights(head)
    assert [first.item(), second.item(), bias.item()] == pytest.approx([100.0, 15.0, 79.0], rel=1e-6)


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (100, 132)])
def test_segformer_logits_are_transformers_but_for_rounding(segformer, size):
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = segformer(pixels).logits
        found = segformer_pass.class_logits(
            segformer.decode_head, segformer.segformer(pixels, output_hidden_states=True, return_dict=True)[-1]
        )
    assert found.shape == expected.shape and found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_infinite_numbers_are_transformers(segformer, monkeypatch):
    monkeypatch.setattr(segformer_pass, "LEAST_FUSED", 1)
    pixels = torch.randn(2, 3, 64, 64)
    pixels[1] *= torch.inf
    with torch.no_grad():
        expected, found = segformer(pixels).logits, segformer_pass.segformer_pass(segformer, pixels, {}).logits
    assert torch.equal(found[1].isnan(), expected[1].isnan()) and found[1].isnan().any()
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-5)


def test_pictures_in_company_take_it_and_one_alone_does_not(segformer, counted):
    """Maps are equal: of random weights 13 pixels in a million have two classes within rounding, here none has."""
    options = {"model": segformer, "image_processor": hf.SegformerImageProcessor(size=SIDE), "device": "cpu"}
    images = [picture(150, 100, seed) for seed in range(3)]
    own, library = pipeline("image-segmentation", **options), hf.pipeline("image-segmentation", **options)
    alone = own(images[0])
    assert counted == []
    found, expected = own(images), library(images)
    assert counted == [3]
    for one, other in zip([alone, *found], [expected[0], *expected], strict=True):
        assert [each["label"] for each in one] == [each["label"] for each in other]
        for mine, theirs in zip(one, other, strict=True):
            assert np.array_equal(np.asarray(mine["mask"]), np.asarray(theirs["mask"]))


def _hooked(model):
    model.decode_head.classifier.register_forward_hook(lambda module, given, found: found * 0)


def _replaced(model):
    model.decode_head.forward = lambda stages: stages[0][:, :7] * 0


def _subclassed(model):
    model.__class__ = type("SegformerForSemanticSegmentation", (type(model),), {})


def _trained(model):
    model.decode_head.train()


def _other_layer(model):
    model.decode_head.activation = torch.nn.GELU()


def _without_norm(model):
    model.decode_head.batch_norm = torch.nn.BatchNorm2d(128, affine=False).eval()


@pytest.mark.parametrize("change", [_hooked, _replaced, _subclassed, _trained, _other_layer, _without_norm])
def test_an_odd_model_runs_as_it_is(segformer, counted, change):
    """What the change does to the outputs is seen."""
    model = copy.deepcopy(segformer)
    options = {"model": model, "image_processor": hf.SegformerImageProcessor(size=SIDE), "device": "cpu"}
    loaded = pipeline("image-segmentation", **options)._loaded
    change(model)
    pixels, found = torch.randn(2, 3, 64, 64), []
    for call in (model, functools.partial(short_passes.run, loaded)):
        torch.manual_seed(0)  # of dropout, while the head is trained
        with torch.no_grad():
            found.append(call(pixel_values=pixels).logits)
    found, expected = found
    assert not [each for each in counted if each is not None]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_gradients_and_few_pixels_are_the_models_own(segformer, counted, monkeypatch):
    options = {"model": segformer, "image_processor": hf.SegformerImageProcessor(size=SIDE), "device": "cpu"}
    loaded = pipeline("image-segmentation", **options)._loaded
    assert short_passes.run(loaded, pixel_values=torch.randn(2, 3, 64, 64)).logits.requires_grad and not counted
    monkeypatch.setattr(segformer_pass, "LEAST_FUSED", 1 << 40)
    with torch.no_grad():
        short_passes.run(loaded, pixel_values=torch.randn(2, 3, 64, 64))
    assert counted == [None]


@pytest.fixture(scope="module", params=[True, False], ids=["middle", "first"])
def yolos(request):
    """Positions between the layers as well, or before the first alone; none of them zero."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    config = hf.YolosConfig(
        **sizes, image_size=[64, 96], num_detection_tokens=5, num_labels=4, use_mid_position_embeddings=request.param
    )
    model = hf.YolosForObjectDetection(config).eval()
    for name, values in model.named_parameters():
        if "position" in name or "token" in name:
            torch.nn.init.normal_(values)
    return model


@pytest.mark.parametrize("size", [(64, 96), (64, 80), (128, 96)])
def test_yolos_outputs_are_transformers_but_for_rounding(yolos, size, monkeypatch):
    """Twice a size: the second time with positions that are kept."""
    monkeypatch.setattr(yolos_pass, "LEAST_PIXELS", 1)
    findings = {}
    for seed in range(2):
        pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected, found = yolos(pixels), yolos_pass.yolos_pass(yolos, pixels, findings)
        torch.testing.assert_close(
            found.logits, expected.logits, rtol=0, atol=2e-6 * float(expected.logits.abs().max())
        )
        torch.testing.assert_close(found.pred_boxes, expected.pred_boxes, rtol=0, atol=2e-6)


def test_positions_are_kept_until_they_change(yolos, monkeypatch):
    """Through ``.data`` too, of which torch's versions do not tell; of more sizes than are kept each is right."""
    monkeypatch.setattr(yolos_pass, "LEAST_PIXELS", 1)
    monkeypatch.setattr(yolos_pass, "MOST_SIZES", 2)
    model, findings, asked = copy.deepcopy(yolos), {}, []
    plain = type(model.vit.embeddings.interpolation).forward
    monkeypatch.setattr(
        type(model.vit.embeddings.interpolation),
        "forward",
        lambda self, *given: asked.append(given[1]) or plain(self, *given),
    )
    table = model.vit.embeddings.position_embeddings

    def compare(height, width):
        pixels = torch.ones(2, 3, height, width)
        with torch.no_grad():
            expected = model(pixels).logits
            asked.clear()
            found = yolos_pass.yolos_pass(model, pixels, findings).logits
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))
        return len(asked)

    assert [compare(64, 80), compare(64, 80), compare(48, 48), compare(48, 48)] == [1, 0, 1, 0]
    assert [compare(80, 64), compare(80, 64)] == [1, 1]  # no room for a third
    table.data.mul_(-1)
    assert [compare(64, 80), compare(64, 80)] == [1, 0]


def test_what_yolos_is_run_as_it_is(yolos):
    """Few pixels, another attention, a layer of somebody else's."""
    pixels, model = torch.ones(2, 3, 256, 256), copy.deepcopy(yolos)
    with torch.no_grad():
        assert yolos_pass.yolos_pass(model, pixels, {}) is not None
        assert yolos_pass.yolos_pass(model, pixels[..., :64, :64], {}) is None
        model.vit.layernorm = type("Norm", (torch.nn.LayerNorm,), {"__module__": "mine"})(32)
        assert yolos_pass.yolos_pass(model, pixels, {}) is None
        other = copy.deepcopy(yolos)
        other.set_attn_implementation("eager")
        assert yolos_pass.yolos_pass(other, pixels, {}) is None


def test_detections_of_pictures_in_company_are_transformers(yolos, monkeypatch):
    calls = []
    monkeypatch.setattr(yolos_pass, "LEAST_PIXELS", 1)
    plain = yolos_pass.yolos_pass
    monkeypatch.setitem(
        short_passes.PASSES, "YolosForObjectDetection", lambda *given: calls.append(len(given[1])) or plain(*given)
    )
    processor = hf.YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    options = {"model": yolos, "image_processor": processor, "device": "cpu"}
    images = [picture(150, 100, 0), picture(90, 100, 1), picture(150, 100, 2)]
    own, library = pipeline("object-detection", **options), hf.pipeline("object-detection", **options)
    found, alone = own(images, threshold=0.1), own(images[0], threshold=0.1)
    assert sorted(calls) == [1, 2]
    for one, other in zip(
        [alone, *found], [library(each, threshold=0.1) for each in (images[0], *images)], strict=True
    ):
        assert len(one) == len(other) and len(one)
        for mine, theirs in zip(one, other, strict=True):
            assert mine == {**theirs, "score": pytest.approx(theirs["score"], abs=1e-6)}
