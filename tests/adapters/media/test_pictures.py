"""Pictures of every form become the same RGB picture; what is none is refused by name."""

import base64
import io
import re
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_utils import load_image

from afterlogits.adapters.media.pictures import from_array, pixels_of, read_picture, weigh_picture
from afterlogits.adapters.running.batching import WINDOW_WEIGHT

PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2
PICTURE = Image.fromarray(PIXELS)


def encoded(picture, kind="PNG", **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def same(picture, pixels=PIXELS):
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), pixels)


def sources(folder):
    content = encoded(PICTURE)
    path = folder / "picture.png"
    path.write_bytes(content)
    text = base64.b64encode(content).decode()
    return {
        "PIL": PICTURE,
        "path": path,
        "name": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "file": io.BytesIO(content),
        "base64": text,
        "base64 in lines": "\n".join(text[i : i + 60] for i in range(0, len(text), 60)),
        "data URL": "data:image/png;base64," + text,
        "datasets' dict of bytes": {"bytes": content, "path": None},
        "datasets' dict of a path": {"bytes": None, "path": str(path)},
        "array": PIXELS,
        "channels first": PIXELS.transpose(2, 0, 1),
        "tensor": torch.tensor(PIXELS),
        "floats": torch.tensor(PIXELS).permute(2, 0, 1) / 255,
        "float64": PIXELS / 255,
        "16 bits": PIXELS.astype(np.uint16) * 257,
        "int64": PIXELS.astype(np.int64),
        "RGBA": np.concatenate([PIXELS, np.full((5, 7, 1), 9, np.uint8)], axis=2),
    }


def test_every_form_gives_the_same_picture(tmp_path):
    for name, source in sources(tmp_path).items():
        try:
            same(read_picture(source))
        except AssertionError as error:
            raise AssertionError(name) from error


def test_arrays_without_colour():
    grey = np.array([[0, 128], [255, 1]], np.uint8)
    for array in (grey, grey[None], grey[..., None]):
        same(from_array(array), np.stack([grey] * 3, axis=2))
    same(from_array(np.array([[True, False]])), np.array([[[255] * 3, [0] * 3]]))
    same(from_array(torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16)), np.array([[[0] * 3, [255] * 3]]))


def test_a_shape_that_fits_both_ways_is_told_by_name():
    array = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)
    same(from_array(array, input_data_format="channels_last"), array)
    same(from_array(array, input_data_format="channels_first"), array.transpose(1, 2, 0))
    message = "input_data_format must be given where channels may be first or last; got an image of shape (3, 4, 3)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        from_array(array)


def modes():
    drawn = np.random.default_rng(0)
    alpha = Image.fromarray(drawn.integers(0, 255, (6, 5, 4), dtype=np.uint8))
    palette = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE, colors=9)
    sixteen = Image.fromarray(drawn.integers(0, 65535, (6, 5), dtype=np.uint16))
    animation = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    yield "RGBA", encoded(alpha)
    yield "palette", encoded(palette)
    yield "palette with transparency", encoded(palette, transparency=3)
    yield "grey", encoded(PICTURE.convert("L"))
    yield "grey with alpha", encoded(alpha.convert("LA"))
    yield "one bit", encoded(PICTURE.convert("1"))
    yield "16 bits", encoded(sixteen)
    yield "CMYK", encoded(PICTURE.convert("CMYK"), "TIFF")
    yield "JPEG", encoded(PICTURE, "JPEG")
    yield "animated GIF", encoded(animation[0], "GIF", save_all=True, append_images=animation[1:])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"orientation {orientation}", encoded(PICTURE, exif=exif)


@pytest.mark.parametrize(("name", "content"), list(modes()), ids=lambda value: value if isinstance(value, str) else "")
def test_files_of_every_mode_are_read_as_transformers_reads_them(name, content, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(content)
    theirs = np.asarray(load_image(base64.b64encode(content).decode()))
    same(read_picture(path), theirs)
    with Image.open(path) as opened:
        same(read_picture(opened), theirs)


def test_sixteen_bits_are_scaled_when_corrected():
    """transformers cuts them at 255: a picture of 16 bits is nearly white."""
    grey = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    content = encoded(Image.fromarray(grey))
    np.testing.assert_array_equal(np.asarray(read_picture(content))[0, :, 0], [0, 255, 255, 255])
    np.testing.assert_array_equal(np.asarray(read_picture(content, compat=False))[0, :, 0], [0, 1, 100, 255])


def test_a_picture_that_is_ready_is_not_copied():
    assert read_picture(PICTURE) is PICTURE


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("nothing.png", ValueError, "image must be a file that exists, a data URL or base64; got 'nothing.png'"),
        ("AAAA", ValueError, "image must be a file that exists, or base64 or a data URL of a picture; got 'AAAA'"),
        (b"no picture", ValueError, "image must be a picture that Pillow can open; got 10 bytes"),
        ("data:image/png", ValueError, "image must be a whole data URL; got 'data:image/png'"),
        (
            "https://example.org/a.png",
            ValueError,
            "image must not be a web address unless allow_urls=True; got 'https://example.org/a.png'",
        ),
        (3, TypeError, "image must be a path, bytes, base64 or a data URL; got int"),
        (np.zeros(3), ValueError, "image must be an array of 2 or 3 axes; got shape (3,)"),
        (np.zeros((5, 6, 7)), ValueError, "image must have 1, 3 or 4 channels, first or last; got shape (5, 6, 7)"),
        (np.array([["a"]]), TypeError, "image must be an array of numbers; got dtype <U1"),
        (np.zeros((4, 4, 3), complex), TypeError, "image must be an array of numbers; got dtype complex128"),
        (np.full((2, 2), 1.5), ValueError, "image must hold floats in [0, 1]; got 1.5 to 1.5"),
        (np.full((2, 2), np.nan), ValueError, "image must hold floats in [0, 1]; got nan to nan"),
        (np.full((2, 2), 256), ValueError, "image must hold whole numbers in [0, 255]; got 256 to 256"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(source, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        read_picture(source)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP"])
def test_a_file_that_is_cut_short_is_refused(kind, tmp_path):
    drawn = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    path = tmp_path / "cut"
    content = encoded(Image.fromarray(drawn), kind)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"^image must be .*; got {re.escape(repr(str(path))[:60])}"):
        read_picture(path)


def test_a_picture_of_absurd_size_is_refused():
    """The header of a bitmap of 100,000 x 100,000 pixels: 30 GB from 54 bytes."""
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match=r"^image must be a picture that Pillow can open; got 54 bytes: .*exceeds"):
        read_picture(header)


def test_the_weight_of_pictures_read_ahead():
    assert pixels_of([PICTURE, {"image": PIXELS}]) == 70
    assert pixels_of("a.jpg") == 2_000_000
    assert weigh_picture(Image.new("1", (8192, 8192))) == WINDOW_WEIGHT
