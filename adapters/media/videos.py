"""Chosen frames of a video: by PyAV from a file, or of a folder or list of pictures, an array or an animation."""

import io
import os
import re
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..running.extras import need
from .pictures import read_picture
from .sources import read_bytes, shown

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")


def read_frames(
    source: Any,
    indices: Sequence[int],
    *,
    allow_urls: bool = False,
    timeout: float | None = None,
    input_data_format: str | None = None,
) -> list[Any]:
    """The frames at ``indices`` (ascending; one that repeats is given once) as [H, W, 3] uint8 arrays.

    source: a path, bytes, base64, data URL or (``allow_urls``) web address of a video that PyAV decodes; a folder of
    pictures, in the order of their names (frame-9 before frame-10); a list of pictures; an array or tensor
    [T, H, W, C] or [T, C, H, W]. A video that is too short gives the frames it has.
    Raises ValueError naming a source that is no video or holds none of the frames.
    """
    wanted = set(indices)
    if isinstance(source, str | Path) and os.path.isdir(source):
        source = sorted((path for path in Path(source).iterdir() if path.suffix.lower() in PICTURES), key=_place)
    if isinstance(source, np.ndarray | torch.Tensor):
        if source.ndim != 4:
            raise ValueError(f"video must be an array of 4 axes; got shape {tuple(source.shape)}")
        source = list(source)
    if isinstance(source, list | tuple):
        chosen = [frame for number, frame in enumerate(source) if number in wanted]
        read = partial(read_picture, allow_urls=allow_urls, timeout=timeout, input_data_format=input_data_format)
        frames = [np.asarray(read(frame)) for frame in chosen]
    else:
        frames = _decoded(source, read_bytes("video", source, allow_urls=allow_urls, timeout=timeout), wanted)
    if not frames:
        raise ValueError(f"video must hold at least one frame; got none in {shown(source)}")
    return frames


def _place(path: Path) -> list[tuple[int, str]]:
    """A name in parts, its digits as the numbers they are: (number, ""), (0, text), ... by turns."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if odd else (0, part) for part, odd in zip(parts, cycle((False, True)), strict=False)]


def _decoded(source: Any, content: bytes, wanted: set[int]) -> list[Any]:
    """The frames whose numbers are wanted, RGB arrays; decoding stops after the last of them."""
    av = need("av", "vision", "reading a video")
    last, frames = max(wanted), []
    try:
        with av.open(io.BytesIO(content)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in wanted:
                    frames.append(frame.to_ndarray(format="rgb24"))
                if number >= last:
                    break
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"video must be one that PyAV can decode; got {shown(source)}: {error}") from None
    return frames
