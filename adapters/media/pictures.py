"""Pictures by Pillow, upright and in RGB as transformers' pipelines see them; arrays and tensors beside files."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..running.batching import WINDOW_WEIGHT
from ..running.extras import need
from .sources import is_file, is_web_address, read_bytes, shown

CHANNELS = (1, 3, 4)
WINDOW_PIXELS = 1 << 26  # of the pictures read ahead at once, 200 MB of RGB
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def read_picture(
    source: Any,
    *,
    allow_urls: bool = False,
    timeout: float | None = None,
    input_data_format: str | None = None,
    compat: bool = True,
) -> Any:
    """``source`` as a PIL image in RGB.

    source: a PIL image; a path, bytes, base64, data URL, open file or (``allow_urls``) web address of a picture in any
    format that Pillow reads; a numpy array or tensor [H, W], [H, W, C] or [C, H, W] of 1, 3 or 4 channels, uint8 or
    uint16, bool, or floats in [0, 1]. ``input_data_format`` ("channels_last", "channels_first") is needed where both
    fit the shape. The EXIF orientation is applied; a palette becomes its colours; alpha is dropped; of an animation the
    first frame is taken. 16-bit grey is cut at 255, as Pillow and so transformers do it; with ``compat=False`` it is
    scaled to 8 bits. A picture that is upright RGB already is returned itself: it is not to be changed.
    Raises ValueError (or TypeError) naming a source that is no picture, is cut short or too large.
    """
    need("PIL", "vision", "reading a picture")
    from PIL import Image

    if isinstance(source, np.ndarray | torch.Tensor):
        return from_array(source, input_data_format=input_data_format)
    if isinstance(source, Image.Image):
        return _rgb(source, source, compat)
    content = read_bytes("image", source, allow_urls=allow_urls, timeout=timeout)
    try:
        picture = Image.open(io.BytesIO(content))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = f": {error}" if isinstance(error, Image.DecompressionBombError) else ""
        expected = "a picture that Pillow can open"
        if isinstance(source, str) and not is_file(source) and not is_web_address(source):
            expected = "a file that exists, or base64 or a data URL of a picture"
        raise ValueError(f"image must be {expected}; got {shown(source)}{reason}") from None
    return _rgb(picture, source, compat)


def from_array(array: Any, *, input_data_format: str | None = None) -> Any:
    """A numpy array or tensor as a PIL image in RGB; see ``read_picture`` for what it may hold."""
    from PIL import Image

    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        values = (array.float() if array.dtype == torch.bfloat16 else array).numpy()  # numpy has no bfloat16
    else:
        values = array
    if values.dtype.kind not in "biuf":
        raise TypeError(f"image must be an array of numbers; got dtype {values.dtype}")
    if values.size == 0:
        raise ValueError(f"image must have pixels; got shape {tuple(array.shape)}")
    if values.ndim == 2:
        values = values[..., None]
    elif values.ndim != 3:
        raise ValueError(f"image must be an array of 2 or 3 axes; got shape {tuple(array.shape)}")
    elif _channels_first(values.shape, input_data_format):
        values = values.transpose(1, 2, 0)
    eight_bit = _eight_bit(values)
    colours = np.repeat(eight_bit, 3, axis=2) if eight_bit.shape[2] == 1 else eight_bit[..., :3]
    return Image.fromarray(np.ascontiguousarray(colours))


def weigh_picture(item: Any) -> int:
    """How much of a look-ahead window a picture takes (``Task.weigh``); a file's size is told once it is opened."""
    return pixels_of(item) * WINDOW_WEIGHT // WINDOW_PIXELS


def pixels_of(item: Any) -> int:
    """The pixels of a picture or of all in a list or dict, roughly: a file counts as two megapixels."""
    if isinstance(item, Mapping):
        return sum(map(pixels_of, item.values()))
    if isinstance(item, list | tuple):
        return sum(map(pixels_of, item))
    if isinstance(item, np.ndarray | torch.Tensor):
        return int(np.prod(item.shape)) // 3
    size = getattr(item, "size", None)
    return size[0] * size[1] if isinstance(size, tuple) else 2_000_000


def _rgb(picture: Any, source: Any, compat: bool) -> Any:
    """The picture as transformers' pipelines see it: turned as its camera says, RGB; not compat: 16 bits stay."""
    try:
        picture.load()
        if picture.getexif().get(0x0112, 1) != 1:
            from PIL import ImageOps

            picture = ImageOps.exif_transpose(picture)
        if picture.mode == "RGB":
            return picture
        if not compat and picture.mode in _SIXTEEN_BIT:
            return from_array(np.asarray(picture).clip(0, 65535).astype(np.uint16))
        return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        name = getattr(picture, "filename", "") if source is picture else ""
        raise ValueError(f"image must be a whole picture; got {shown(name or source)}: {error}") from None


def _channels_first(shape: tuple[int, ...], input_data_format: str | None) -> bool:
    """Whether the first axis holds the channels; ValueError where the shape or the option leaves it open."""
    if input_data_format not in (None, "channels_first", "channels_last"):
        raise ValueError(f"input_data_format must be 'channels_first' or 'channels_last'; got {input_data_format!r}")
    first, last = shape[0] in CHANNELS, shape[2] in CHANNELS
    if input_data_format is not None:
        fits = first if input_data_format == "channels_first" else last
        if not fits:
            raise ValueError(f"image must have 1, 3 or 4 channels as {input_data_format}; got shape {tuple(shape)}")
        return input_data_format == "channels_first"
    if first and last:
        raise ValueError(
            f"input_data_format must be given where channels may be first or last; got an image of shape {tuple(shape)}"
        )
    if not first and not last:
        raise ValueError(f"image must have 1, 3 or 4 channels, first or last; got shape {tuple(shape)}")
    return first


def _eight_bit(values: Any) -> Any:
    """uint8 values of an array that holds a picture: 16 bits and [0, 1] scaled, whole numbers up to 255 as they are."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint16:
        return np.rint(values / 257).astype(np.uint8)
    least, most = (values.min(), values.max()) if values.size else (0, 0)
    if np.issubdtype(values.dtype, np.integer):
        if least < 0 or most > 255:
            raise ValueError(f"image must hold whole numbers in [0, 255]; got {least} to {most}")
        return values.astype(np.uint8)
    if not (least >= 0 and most <= 1):
        raise ValueError(f"image must hold floats in [0, 1]; got {least:g} to {most:g}")
    return np.rint(values * 255).astype(np.uint8)
