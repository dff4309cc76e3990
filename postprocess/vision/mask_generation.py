"""Masks of "segment everything" (SAM, SAM2): which of a model's masks are good, as run lengths, and one of each.

Masks are filtered by their predicted quality first, then upsampled a few at a time; kept is what their run lengths
take, never a stack of masks at the size of the image. No torchvision is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..transfers import received, sent
from ..triton_kernels.mask_levels import levels_run, mask_levels
from .nms import nms
from .run_lengths import MaskChanges, RunLengths, encode_masks, join_run_lengths
from .upsampling import CHUNK_BYTES, DEVICE_CHUNK_BYTES

EDGE = 20.0  # pixels from the edge of a crop at which an object counts as cut off


@dataclass(frozen=True)
class MaskCandidates:
    """Masks that passed, in the order of the model. K masks."""

    runs: RunLengths  # at the size of the image
    scores: Tensor  # [K], the quality that the model predicts
    boxes: Tensor  # [K, 4] int64 left, top, right, bottom, the last two included; float32 where no mask passed

    def on(self, device: torch.device) -> MaskCandidates:
        """The same with scores and boxes on ``device``."""
        return MaskCandidates(self.runs, sent(self.scores, device), sent(self.boxes, device))

    def records(self, *, runs: bool = False, boxes: bool = False, masks: bool = True) -> dict[str, Any]:
        """``{masks, scores}`` and, where asked for, ``rle_mask`` and ``bounding_boxes``, as the pipeline returns them.

        Masks are numpy arrays of bool, views of column-major memory, as there; without ``masks`` none are made.
        """
        found: dict[str, Any] = {"masks": [*self.runs.decode().numpy()]} if masks else {}
        found["scores"] = self.scores
        if runs:
            found["rle_mask"] = self.runs.records()
        if boxes:
            found["bounding_boxes"] = self.boxes
        return found


def upscaled_masks(
    logits: Tensor,
    size: tuple[int, int],
    *,
    pad_size: tuple[int, int] | None = None,
    input_size: tuple[int, int] | None = None,
    index: Tensor | None = None,
) -> Iterator[Tensor]:
    """Mask logits at the size of their image, a few at a time: [c, H, W] each, bit for bit as transformers has them.

    logits: [P, M, h, w], M masks of each of P prompts. pad_size: the square that the model saw, to which masks are
    resized first; input_size: the part of it that is image. None for models that saw the image alone (SAM2).
    index: places in P * M of the masks wanted, ascending; None means all.
    """
    channels = logits.shape[1]
    flat = logits.flatten(0, 1)
    wanted = torch.arange(len(flat), device=flat.device) if index is None else index
    largest = max((height * width for height, width in (size, pad_size or size)), default=1)
    budget = CHUNK_BYTES if logits.device.type == "cpu" else DEVICE_CHUNK_BYTES
    step = channels * max(1, budget // (largest * 4 * channels))
    for first in range(0, len(wanted), step):
        chosen = wanted[first : first + step]
        # torch's last bits depend on how many masks a prompt has: others fill the last prompt up.
        short = -len(chosen) % channels
        filled = torch.cat((chosen, chosen[-1:].expand(short))) if short else chosen
        masks = flat.index_select(0, filled).view(-1, channels, *flat.shape[1:])
        yield _resized(masks, size, pad_size, input_size).flatten(0, 1)[: len(chosen)]


def _resized(
    masks: Tensor, size: tuple[int, int], pad_size: tuple[int, int] | None, input_size: tuple[int, int] | None
) -> Tensor:
    if pad_size is not None:
        masks = F.interpolate(masks, pad_size, mode="bilinear", align_corners=False)
    if input_size is not None:
        masks = masks[..., : input_size[0], : input_size[1]]
    if masks.shape[2:] == size:
        return masks  # a resize to the same size multiplies by 1 and adds 0
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)


def filter_masks(
    masks: Tensor,
    iou_scores: Tensor,
    *,
    image_size: tuple[int, int],
    crop_box: Sequence[float] | Tensor | None = None,
    pred_iou_thresh: float = 0.88,
    stability_score_thresh: float = 0.95,
    mask_threshold: float = 0.0,
    stability_score_offset: float = 1.0,
) -> MaskCandidates:
    """The masks that are good enough, from logits at the size of their crop.

    masks: [P, M, H, W] or [N, H, W] float. iou_scores: [P, M] or [N]. image_size: (height, width) of the whole image.
    crop_box: left, top, right, bottom of the crop; None means the whole. Kept, in that order: predicted quality above
    ``pred_iou_thresh`` (0 or less: all), stability above ``stability_score_thresh`` (0 or less: all), and a box that
    does not end within 20 pixels of an edge of the crop which is no edge of the image. Stability is the area at
    ``mask_threshold + offset`` over that at ``mask_threshold - offset``; an empty mask has none and goes.
    """
    flat, scores = masks.reshape(-1, *masks.shape[-2:]), iou_scores.reshape(-1).to(masks.device)
    if len(flat) != len(scores):
        raise ValueError(f"iou_scores must be one of each of {len(flat)} masks; got {len(scores)}")
    index = _by_quality(scores, pred_iou_thresh)
    parts = (flat.index_select(0, index[first : first + 1]) for first in range(len(index)))
    options = (stability_score_thresh, mask_threshold, stability_score_offset)
    found = _candidates(parts, scores.index_select(0, index), image_size, crop_box, options)
    return found.on(masks.device)


def generate_masks(
    logits: Tensor,
    iou_scores: Tensor,
    *,
    image_size: tuple[int, int],
    crop_box: Sequence[float] | Tensor | None = None,
    pad_size: tuple[int, int] | None = None,
    input_size: tuple[int, int] | None = None,
    pred_iou_thresh: float = 0.88,
    stability_score_thresh: float = 0.95,
    mask_threshold: float = 0.0,
    stability_score_offset: float = 1.0,
) -> MaskCandidates:
    """`filter_masks` of `upscaled_masks`, where only masks of sufficient predicted quality are upscaled.

    logits: [P, M, h, w] as the model gives them. iou_scores: [P, M]. Other options as in the two.
    """
    found = masks_on_host(
        logits,
        iou_scores,
        image_size=image_size,
        crop_box=crop_box,
        pad_size=pad_size,
        input_size=input_size,
        pred_iou_thresh=pred_iou_thresh,
        stability_score_thresh=stability_score_thresh,
        mask_threshold=mask_threshold,
        stability_score_offset=stability_score_offset,
    )
    return on_host(found).on(logits.device)


def masks_on_host(
    logits: Tensor,
    iou_scores: Tensor,
    *,
    image_size: tuple[int, int],
    crop_box: Sequence[float] | Tensor | None,
    pad_size: tuple[int, int] | None,
    input_size: tuple[int, int] | None,
    pred_iou_thresh: float,
    stability_score_thresh: float,
    mask_threshold: float,
    stability_score_offset: float,
    room: int | None = None,
) -> MaskCandidates | LaunchedMasks:
    """`generate_masks` with scores and boxes on the host, where run lengths are anyway.

    On a device it waits for which masks are good enough, and makes those; where ``room`` says how many these may be, so
    many are upscaled and nothing is waited for.
    """
    scores = iou_scores.reshape(-1).to(logits.device)
    if len(scores) != logits.shape[0] * logits.shape[1]:
        raise ValueError(
            f"iou_scores must be one of each of {logits.shape[0] * logits.shape[1]} masks; got {len(scores)}"
        )
    left, top, right, bottom = _corners_of(crop_box, image_size)
    size = (bottom - top, right - left)
    options = (stability_score_thresh, mask_threshold, stability_score_offset)

    def of(index: Tensor, count: Tensor | None = None) -> MaskCandidates | LaunchedMasks:
        parts = upscaled_masks(logits, size, pad_size=pad_size, input_size=input_size, index=index)
        own = scores.index_select(0, index)
        if scores.device.type == "cpu":
            return _candidates(parts, own, image_size, crop_box, options)
        launched = _launched(parts, own, image_size, crop_box, options, count)
        return launched if count is None else replace(launched, again=lambda: of(_by_quality(scores, pred_iou_thresh)))

    if room is None or not len(scores) or scores.device.type == "cpu" or pred_iou_thresh <= 0.0:
        return of(_by_quality(scores, pred_iou_thresh))
    good = scores > pred_iou_thresh
    # The good ones first; an entry of the room beyond their number is one of them again, and does not pass.
    order, count = (~good).to(torch.uint8).argsort(stable=True)[:room], good.sum()
    return of(torch.where(torch.arange(len(order), device=good.device) < count, order, order[:1]), count)


def _by_quality(scores: Tensor, threshold: float) -> Tensor:
    """The places of scores above ``threshold``, where they lie; on a device their number is what is waited for."""
    if threshold > 0.0:
        (good,) = received(scores > threshold)
        return sent(good.nonzero()[:, 0], scores.device)
    return torch.arange(len(scores), device=scores.device)


def _corners_of(crop_box: Sequence[float] | Tensor | None, image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    if crop_box is None:
        return 0, 0, image_size[1], image_size[0]
    values = crop_box.tolist() if isinstance(crop_box, Tensor) else crop_box
    left, top, right, bottom = (int(value) for value in values)
    return left, top, right, bottom


def _candidates(
    parts: Iterator[Tensor],
    scores: Tensor,
    image_size: tuple[int, int],
    crop_box: Sequence[float] | Tensor | None,
    options: tuple[float, float, float],
) -> MaskCandidates:
    """The masks that are stable and do not touch the crop's edge, as run lengths, with their scores and boxes.

    parts: mask logits [n, H, W] one after another, so that no more than a part is ever held. options: the least
    stability, the level of a mask, the offset at which its stability is judged.
    """
    if scores.device.type != "cpu":
        return on_host(_launched(parts, scores, image_size, crop_box, options))
    least, level, offset = options
    corners = _corners_of(crop_box, image_size)
    runs, boxes, kept, stable, first = [], [], [], 0, 0
    for part in parts:
        places = torch.arange(first, first + len(part), device=part.device)
        first += len(part)
        if least > 0.0:
            good = _stability(part, level, offset) > least
            part, places = part[good], places[good]
        if not len(part):
            continue
        stable += len(part)
        found = part > level
        box = mask_boxes(found)
        inside = ~_near_crop_edge(box, corners, image_size)
        found, box, places = found[inside], box[inside], places[inside]
        runs.append(encode_masks(_padded(found, corners, image_size)))
        boxes.append(box + torch.tensor([corners[0], corners[1]] * 2, device=box.device))
        kept.append(places)
    if not stable:
        return MaskCandidates(join_run_lengths([], image_size), scores[:0], torch.zeros(0, 4, device=scores.device))
    return MaskCandidates(join_run_lengths(runs, image_size), scores[torch.cat(kept)], torch.cat(boxes))


@dataclass(frozen=True)
class LaunchedMasks:
    """Masks of a device, made there and not waited for. K of them were upscaled."""

    parts: Sequence[tuple[MaskChanges, list[Tensor]]]  # with which are stable, which passed, their boxes and scores
    image_size: tuple[int, int]
    room: int  # K
    dtype: torch.dtype  # of scores
    count: Tensor | None = None  # [] int64, how many masks are good enough, where that was not asked before
    again: Callable[[], MaskCandidates | LaunchedMasks] | None = None  # makes all of them, with a wait

    def tensors(self) -> list[Tensor]:
        """What is to be sent to the host."""
        found = [] if self.count is None else [self.count]
        return found + [each for changes, beside in self.parts for each in (*changes.tensors(), *beside)]

    def held(self) -> int:
        """The bytes of the device that they take until they are read."""
        return sum(changes.differ.numel() for changes, _ in self.parts) + sum(each.nbytes for each in self.tensors())

    def candidates(self, read: Sequence[Tensor]) -> tuple[MaskCandidates, int]:
        """Scores and boxes on the host, from ``tensors`` there, and how many masks were good enough."""
        values = iter(read)
        count = self.room if self.count is None else int(next(values))
        if count > self.room and self.again is not None:
            return on_host(self.again()), count
        runs, boxes, kept, stable = [], [], [], 0
        for changes, beside in self.parts:
            lengths = changes.runs([next(values) for _ in changes.tensors()])
            good, passed, box, own = (next(values) for _ in beside)
            chosen = passed.nonzero()[:, 0]
            stable += int(good.sum())
            runs.append(lengths.select(chosen.tolist()))
            boxes.append(box[chosen])
            kept.append(own[chosen])
        if not stable:
            empty = torch.zeros(0, dtype=self.dtype, device="cpu")
            return MaskCandidates(join_run_lengths([], self.image_size), empty, torch.zeros(0, 4, device="cpu")), count
        return MaskCandidates(join_run_lengths(runs, self.image_size), torch.cat(kept), torch.cat(boxes)), count


def on_host(found: MaskCandidates | LaunchedMasks) -> MaskCandidates:
    """The candidates, waited for once where they are on a device."""
    return found.candidates(received(*found.tensors()))[0] if isinstance(found, LaunchedMasks) else found


def _launched(
    parts: Iterator[Tensor],
    scores: Tensor,
    image_size: tuple[int, int],
    crop_box: Sequence[float] | Tensor | None,
    options: tuple[float, float, float],
    count: Tensor | None = None,
) -> LaunchedMasks:
    """`_candidates` on a device, begun. Masks that do not pass are read as empty ones.

    count: [] int64, how many of the masks are good enough, those first; None: all.
    """
    least, level, offset = options
    corners = _corners_of(crop_box, image_size)
    shift = sent(torch.tensor([corners[0], corners[1]] * 2, device="cpu"), scores.device)
    filled = None if count is None else torch.arange(len(scores), device=scores.device) < count
    begun, first = [], 0
    for part in parts:
        places = slice(first, first + len(part))
        first += len(part)
        found, stability, box = _levels(part, level, offset)
        good = stability > least if least > 0.0 else torch.ones_like(found[:, 0, 0])
        good = good if filled is None else good & filled[places]
        passed = good & ~_near_crop_edge(box, corners, image_size)
        shown = _padded(found & passed[:, None, None], corners, image_size)
        begun.append((MaskChanges.of(shown), [good, passed, box + shift, scores[places]]))
    return LaunchedMasks(begun, image_size, len(scores), scores.dtype, count)


def _levels(logits: Tensor, level: float, offset: float) -> tuple[Tensor, Tensor, Tensor]:
    """The masks of logits [N, H, W] of a device, their stability [N] and boxes [N, 4]: one read by triton's kernel."""
    if levels_run(logits):
        found = mask_levels(logits, level, offset)
        return found.masks, found.high / found.low, found.boxes
    masks = logits > level
    return masks, _stability(logits, level, offset), mask_boxes(masks)


def _stability(masks: Tensor, level: float, offset: float) -> Tensor:
    """Area at the higher level over area at the lower, [N] float32; 0 / 0 is NaN and passes nothing."""
    high, low = ((masks > level + step).flatten(1).sum(dim=1, dtype=torch.int32) for step in (offset, -offset))
    return high / low


def mask_boxes(masks: Tensor) -> Tensor:
    """The box of each mask [N, H, W] bool: left, top, right, bottom, all included; [N, 4] int64, zeros if empty."""
    columns, rows = masks.any(dim=1), masks.any(dim=2)
    edges = []
    for line in (columns, rows):
        ints = line.to(torch.uint8)
        edges.append((ints.argmax(dim=1), line.shape[1] - 1 - ints.flip(1).argmax(dim=1)))
    (left, right), (top, bottom) = edges
    return torch.stack((left, top, right, bottom), dim=1) * rows.any(dim=1)[:, None]


def _near_crop_edge(boxes: Tensor, corners: tuple[int, int, int, int], image_size: tuple[int, int]) -> Tensor:
    """[N] bool: a side of the box lies within 20 pixels of the same side of the crop, and not of the image's."""
    placed = (boxes + sent(torch.tensor([corners[0], corners[1]] * 2, device="cpu"), boxes.device)).float()
    crop, image = (
        sent(torch.tensor(values, dtype=torch.float32, device="cpu"), boxes.device)
        for values in (corners, (0, 0, image_size[1], image_size[0]))
    )
    near = ((placed - crop).abs() <= EDGE) & ~((placed - image).abs() <= EDGE)
    return near.any(dim=1)


def _padded(masks: Tensor, corners: tuple[int, int, int, int], image_size: tuple[int, int]) -> Tensor:
    left, top, right, bottom = corners
    if (left, top, right, bottom) == (0, 0, image_size[1], image_size[0]):
        return masks
    return F.pad(masks, (left, image_size[1] - right, top, image_size[0] - bottom), value=False)


def merge_candidates(parts: Sequence[MaskCandidates], *, iou_threshold: float = 0.7) -> MaskCandidates:
    """One mask of each object, best first, from what the points and crops of an image gave.

    Masks whose boxes overlap a better one's by more than ``iou_threshold`` go. Ties: as they come.
    """
    if not parts:
        raise ValueError("parts must hold the candidates of at least one run; got none")
    scores, boxes = torch.cat([part.scores for part in parts]), torch.cat([part.boxes for part in parts])
    kept = nms(boxes.float(), scores, iou_threshold=iou_threshold)
    runs = join_run_lengths([part.runs for part in parts], parts[0].runs.size)
    (places,) = received(kept)
    return MaskCandidates(runs.select(places.tolist()), scores[kept], boxes[kept])


def without_overlap(logits: Tensor) -> Tensor:
    """Mask logits [N, M, H, W] in which every pixel stays with the best of the N: the others are at most -10 (SAM2)."""
    if logits.shape[0] == 1:
        return logits
    best = logits.argmax(dim=0, keepdim=True)
    mine = torch.arange(logits.shape[0], device=logits.device)[:, None, None, None] == best
    return torch.where(mine, logits, logits.clamp(max=-10.0))
