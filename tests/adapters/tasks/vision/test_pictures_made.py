"""Pictures made of pictures: masked patches filled in, super-resolution without the margin, depth maps."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from afterlogits import pipeline
from tests.builders.vision_models import parts, picture

PICTURE = picture(64, 48)


def test_masked_patches_are_those_the_model_was_asked_for():
    held = parts("vit_masked")
    hidden = torch.zeros(16, dtype=torch.bool)
    hidden[[2, 7, 11]] = True
    found = pipeline("masked-image-modeling", **held, device="cpu")(PICTURE, bool_masked_pos=hidden)
    pixels = held["image_processor"](PICTURE, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        theirs = held["model"](pixels, bool_masked_pos=hidden[None]).reconstruction
    torch.testing.assert_close(found["reconstruction"][None], theirs)
    # 32 pixels in 4 x 4 patches: patch 2 is columns 16 to 23 of rows 0 to 7.
    seen, masked, filled = (
        np.asarray(each.convert("RGB")) for each in (PICTURE.resize((32, 32), 2), found["masked_image"], found["image"])
    )
    inside = np.zeros((32, 32), bool)
    inside[0:8, 16:24] = inside[8:16, 24:32] = inside[16:24, 24:32] = True
    assert np.abs(masked.astype(int) - seen)[~inside].max() <= 1
    assert (masked[inside] == masked[inside][0]).all()
    assert np.array_equal(filled[~inside], masked[~inside])
    assert max(found.draw().size) > 480


def test_patches_are_drawn_by_a_seed():
    fill = pipeline("masked-image-modeling", **parts("vit_masked"), device="cpu")
    one, same, other = (fill(PICTURE, seed=seed, mask_ratio=0.5)["bool_masked_pos"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.sum() == 8
    message = "bool_masked_pos must hold 16 patches; got 3"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fill(PICTURE, bool_masked_pos=[True] * 3)


def test_the_margin_of_super_resolution_goes_where_corrected():
    """64 x 48 is padded to 72 x 56, by 8 always: twice that is 144 x 112, of which 128 x 96 is the picture."""
    upscale = pipeline("image-to-image", **parts("swin2sr"), device="cpu")
    whole, cut = upscale(PICTURE), upscale(PICTURE, compat=False)
    assert (whole.size, cut.size) == ((144, 112), (128, 96))
    np.testing.assert_array_equal(np.asarray(whole)[:96, :128], np.asarray(cut))


def test_depth_in_columns_and_drawn():
    estimate = pipeline("depth-estimation", **parts("glpn"), device="cpu")
    found = estimate([PICTURE, picture(50, 70)])
    assert [each["predicted_depth"].shape for each in found] == [(48, 64), (70, 50)]
    assert [each["depth"].size for each in found] == [(64, 48), (50, 70)]
    assert np.asarray(found[0]["depth"]).max() == 255 and np.asarray(found[0]["depth"]).min() == 0
    columns = estimate([PICTURE], output="columns")
    assert columns["most"].item() == found[0]["predicted_depth"].max().item()
    assert found[0].draw().width > 2 * 480


@pytest.mark.parametrize(
    ("task", "model", "column", "size"),
    [
        ("depth-estimation", "glpn", "predicted_depth", (48, 64)),
        ("masked-image-modeling", "vit_masked", "image", (32, 32)),
        ("image-to-image", "swin2sr", "image", (112, 144)),
    ],
)
def test_maps_and_pictures_in_arrow(task, model, column, size):
    """Maps are lists of rows, pictures the bytes of a PNG; in columns they are what the records hold."""
    pytest.importorskip("pyarrow")
    pipe = pipeline(task, **parts(model), device="cpu")
    table = pipe([PICTURE, PICTURE], output="arrow")
    (found, _), whole = table[column].to_pylist(), pipe([PICTURE], output="columns")[column][0]
    assert table["item"].to_pylist() == [0, 1]
    if column == "image":
        decoded = np.asarray(Image.open(io.BytesIO(found))).astype(int)
        assert whole.size == size[::-1] and np.abs(decoded - whole).max() <= 1  # a batch of two rounds otherwise
    else:
        assert np.shape(found) == size
        np.testing.assert_allclose(np.array(found), whole, rtol=0, atol=1e-6)  # a batch of two rounds otherwise


def test_depth_in_bfloat16():
    """transformers stops with a TypeError: NumPy has no bfloat16."""
    estimate = pipeline("depth-estimation", **parts("glpn"), device="cpu")
    model = estimate.model.to(torch.bfloat16)
    try:
        assert estimate(PICTURE)["depth"].size == (64, 48)
    finally:
        model.float()


def test_zoedepth_without_torchvision():
    """transformers 5.23 stops there with a NameError: only sizes are looked at here,
    the arithmetic is that of tests/postprocess/vision/test_depth.py."""
    found = pipeline("depth-estimation", **parts("zoedepth"), device="cpu")([PICTURE, picture(50, 70)])
    assert [each["predicted_depth"].shape for each in found] == [(48, 64), (70, 50)]
    assert all(each["predicted_depth"].isfinite().all() for each in found)
