"""Depth maps at the size of their images, and as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Sizes, size_pairs

PADDING_FACTOR = 3  # ZoeDepth pads by sqrt(side / 2) times this


def depth_maps(predicted: Tensor, *, sizes: Sizes | None = None, compat: bool = True) -> list[Tensor]:
    """Depth of every image at its own size, bicubic without aligned corners (DPT, GLPN, Depth Anything).

    predicted: [B, h, w] float. sizes: (height, width) of each image; None keeps the size of the model.
    compat=True drops axes of length 1 from resized maps, as transformers' DPT does; compat=False keeps [H, W], as its
    GLPN does.
    """
    _check(predicted)
    pairs = size_pairs(sizes, len(predicted))
    if pairs is None:
        return [*predicted]
    maps = [_bicubic(depth[None], size)[0] for depth, size in zip(predicted, pairs, strict=True)]
    return [depth.squeeze() for depth in maps] if compat else maps


def unpadded_depth_maps(
    predicted: Tensor,
    *,
    source_sizes: Sizes | None = None,
    sizes: Sizes | None = None,
    flipped: Tensor | None = None,
    remove_padding: bool = True,
) -> list[Tensor]:
    """ZoeDepth's maps: resized to the padded source, its padding cut off, then resized to the size asked for.

    predicted: [B, h, w] float. source_sizes: (height, width) of each image as the processor got it; None leaves padding
    and size alone. sizes: as in `depth_maps`. flipped: depth of the mirrored images, averaged in.
    """
    _check(predicted)
    if flipped is not None:
        if flipped.shape != predicted.shape:
            raise ValueError(f"flipped must be {list(predicted.shape)}; got shape {list(flipped.shape)}")
        predicted = (predicted + torch.flip(flipped, dims=[-1])) / 2
    sources, targets = (size_pairs(given, len(predicted)) for given in (source_sizes, sizes))
    maps = []
    for index, depth in enumerate(predicted[:, None]):
        if sources is not None:
            depth = _without_padding(depth, sources[index], remove_padding)
        if targets is not None:
            depth = _bicubic(depth, targets[index])
        maps.append(depth[0])
    return maps


def _without_padding(depth: Tensor, source: tuple[int, int], remove_padding: bool) -> Tensor:
    high, wide = (int(math.sqrt(side / 2) * PADDING_FACTOR) if remove_padding else 0 for side in source)
    whole = (source[0] + 2 * high, source[1] + 2 * wide)
    return _bicubic(depth, whole)[:, high : whole[0] - high, wide : whole[1] - wide]


def inverse_depth_maps(
    predicted: Tensor, *, sizes: Sizes | None = None, field_of_view: Tensor | None = None, mode: str = "bilinear"
) -> list[tuple[Tensor, Tensor | None]]:
    """DepthPro's maps: depth in metres, the inverse of what the model predicts, and the focal length in pixels.

    predicted: [B, h, w] float. field_of_view: [B] degrees; with sizes it gives the focal length, and scales the maps.
    mode: interpolation. Depth lies in 1e-4 .. 1e4. Axes of length 1 are dropped from resized maps, as there.
    """
    _check(predicted)
    pairs = size_pairs(sizes, len(predicted))
    found = []
    for index, inverse in enumerate(predicted):
        focal_length = None
        if pairs is not None:
            if field_of_view is not None:
                width = pairs[index][1]
                focal_length = 0.5 * width / torch.tan(0.5 * torch.deg2rad(field_of_view[index]))
                inverse = inverse * width / focal_length
            inverse = F.interpolate(inverse[None, None], size=pairs[index], mode=mode).squeeze()
        found.append((1.0 / torch.clamp(inverse, min=1e-4, max=1e4), focal_length))
    return found


def depth_pictures(maps: Sequence[Tensor]) -> list[Tensor]:
    """Each map from its smallest (0) to its largest value (255), uint8, cut off rather than rounded.

    A constant map is black; transformers divides by zero there and casts what comes of it.
    >>> depth_pictures([torch.tensor([[1.0, 2.0, 3.0]])])[0].tolist()
    [[0, 127, 255]]
    """
    pictures = []
    for depth in maps:
        low, high = depth.aminmax()
        picture = (depth - low).div_(high - low).mul_(255)
        pictures.append(picture.masked_fill_(~(high > low), 0).to(torch.uint8))
    return pictures


def _bicubic(planes: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(planes.shape[1:]) == size:
        return planes  # every weight is 0 or 1
    return F.interpolate(planes[None], size=size, mode="bicubic", align_corners=False)[0]


def _check(predicted: Tensor) -> None:
    if predicted.dim() != 3:
        raise ValueError(f"predicted must be [B, h, w]; got shape {list(predicted.shape)}")
