"""Masks of everything in pictures, as the mask-generation pipeline of transformers 5.23, without torchvision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....postprocess.transfers import sent
from ....postprocess.vision.connected import clean_masks
from ....postprocess.vision.crops import plan_crops
from ....postprocess.vision.mask_generation import (
    LaunchedMasks,
    MaskCandidates,
    mask_boxes,
    masks_on_host,
    merge_candidates,
)
from ....postprocess.vision.run_lengths import encode_masks
from ...running.batching import Batch, Row
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.options import require_choice, require_count
from ...running.reading import Reading, Reads
from ...running.task import Prepared
from .families import on_torchvision
from .images import ImageOptions, Picture, encode_images, image_row, picture_task, read_images, read_one
from .results import Masks, of_source

HELD = 1 << 28  # bytes of a device that masks may take which have not been read


@dataclass(frozen=True)
class MaskGenerationOptions(ImageOptions):
    """transformers' own options and defaults. max_hole_area, max_sprinkle_area: holes and islands of up to so many
    pixels go; with ``compat`` nothing comes of them, as there. points_per_batch: None asks all points at once. masks:
    "array", as there; "none" for records without masks, which are gigabytes of JSON: run lengths and boxes say as much.
    """

    points_per_batch: int | None = 64
    points_per_crop: int = 32
    crops_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    mask_threshold: float = 0.0
    stability_score_offset: float = 1.0
    crops_nms_thresh: float = 0.7
    max_hole_area: float | None = None
    max_sprinkle_area: float | None = None
    output_rle_mask: bool = False
    output_bboxes_mask: bool = False
    masks: str = "array"

    def __post_init__(self) -> None:
        require_count("points_per_batch", self.points_per_batch, optional=True)
        require_count("points_per_crop", self.points_per_crop)
        require_count("crops_n_layers", self.crops_n_layers, least=0)
        require_count("crop_n_points_downscale_factor", self.crop_n_points_downscale_factor)
        require_choice("masks", self.masks, ("array", "none"))


def encode(loaded: Loaded, items: Sequence[Picture], options: MaskGenerationOptions) -> list[Prepared]:
    """A row a crop: the picture itself, then its parts."""
    return [Prepared(_rows(loaded, item, options), item) for item in items]


def _rows(loaded: Loaded, item: Picture, options: MaskGenerationOptions) -> list[Row]:
    """A row for each crop of the picture, with the points that it is asked about."""
    asked = loaded.image_processor.size
    crops = plan_crops(
        item.size,
        input_edge=_side(asked, "longest_edge") or _side(asked, "height"),
        layers=options.crops_n_layers,
        points_per_side=options.points_per_crop,
        downscale=options.crop_n_points_downscale_factor,
        overlap_ratio=options.crop_overlap_ratio,
    )
    parts = [item.image.crop(tuple(box)) for box in crops.boxes.tolist()]
    rows = []
    for row, box, points in zip(encode_images(loaded, parts), crops.boxes, crops.points, strict=True):
        seen = row.inputs.get("reshaped_input_sizes")
        facts = {"crop": box, "points": points, "size": item.size, "seen": None if seen is None else seen.tolist()}
        rows.append(image_row({"pixel_values": row.inputs["pixel_values"]}, **facts))
    return rows


def _side(size: Any, name: str) -> Any:
    return size.get(name) if hasattr(size, "get") else getattr(size, name, None)


def forward(loaded: Loaded, batch: Batch, options: MaskGenerationOptions) -> Reading:
    """Per crop the masks that its points give and that are good enough, a set for each group of points.

    On a device groups are read together, as many as there is memory for.
    """
    with loaded.in_pass(len(batch.rows)):
        embeddings = loaded.model.get_image_embeddings(batch.inputs["pixel_values"])
    found: list[list[MaskCandidates]] = [[] for _ in batch.rows]
    ahead: list[tuple[int, LaunchedMasks]] = []
    for number, row in enumerate(batch.rows):
        for masks in _crop_masks(loaded, row, _of_crop(embeddings, number), options):
            if isinstance(masks, MaskCandidates):
                found[number].append(masks)
                continue
            ahead.append((number, masks))
            if sum(each.held() for _, each in ahead) > HELD:  # the last one may still be at work
                yield from _settled(loaded, ahead[:-1], found)
                ahead = ahead[-1:]
    if ahead:
        yield from _settled(loaded, ahead, found)
    return found


def _settled(
    loaded: Loaded, launched: Sequence[tuple[int, LaunchedMasks]], found: list[list[MaskCandidates]]
) -> Reads[None]:
    """Read groups together, each into the list of its crop."""
    values = iter((yield [each for _, masks in launched for each in masks.tensors()]))
    for number, masks in launched:
        read = [next(values) for _ in masks.tensors()]
        candidates, loaded.findings["good_masks"] = masks.candidates(read)
        found[number].append(candidates)


def _of_crop(embeddings: Any, number: int) -> Any:
    """One crop of what the encoder gives: a tensor, or several levels of them."""
    if isinstance(embeddings, Tensor):
        return embeddings[number : number + 1]
    return type(embeddings)(_of_crop(each, number) for each in embeddings)


def _crop_masks(
    loaded: Loaded, row: Row, embeddings: Any, options: MaskGenerationOptions
) -> Iterator[MaskCandidates | LaunchedMasks]:
    """The masks of one crop, some points at a time: no more masks are held than of those."""
    # SAM-HQ's encoder gives its early layers as well, which its decoder takes by another name.
    images = (
        dict(zip(("image_embeddings", "intermediate_embeddings"), embeddings, strict=True))
        if isinstance(embeddings, tuple)
        else {"image_embeddings": embeddings}
    )
    points = sent(row.facts["points"], loaded.device)
    step = options.points_per_batch or len(points)
    pad = getattr(loaded.image_processor, "pad_size", None) if row.facts["seen"] is not None else None
    for first in range(0, len(points), step):
        asked = points[None, first : first + step, None]
        labels = torch.ones(asked.shape[:3], dtype=torch.long, device=loaded.device)
        outputs = loaded.run(input_points=asked, input_labels=labels, **images)
        yield masks_on_host(
            outputs["pred_masks"][0],
            outputs["iou_scores"][0],
            image_size=row.facts["size"],
            crop_box=row.facts["crop"],
            pad_size=None if pad is None else (_side(pad, "height"), _side(pad, "width")),
            input_size=None if row.facts["seen"] is None else tuple(row.facts["seen"]),
            pred_iou_thresh=options.pred_iou_thresh,
            stability_score_thresh=options.stability_score_thresh,
            mask_threshold=options.mask_threshold,
            stability_score_offset=options.stability_score_offset,
            room=_room(loaded, outputs["iou_scores"][0].numel()),
        )


def _room(loaded: Loaded, masks: int) -> int:
    """How many of a group's masks may be good enough without a wait: half more than of the group before, at first half.

    What is upscaled beyond those that are good is thrown away; where there are more, the host waits and all are made.
    """
    before: int | None = loaded.findings.get("good_masks")
    return masks // 2 + 1 if before is None else min(masks, before + before // 2 + 8)


def _merged(loaded: Loaded, crops: Sequence[Any], options: MaskGenerationOptions) -> MaskCandidates:
    """One mask of each object of a picture, best first."""
    found = merge_candidates([own for crop in crops for own in crop], iou_threshold=options.crops_nms_thresh)
    holes, islands = options.max_hole_area or 0, options.max_sprinkle_area or 0
    if loaded.compat or not (holes or islands) or not len(found.runs):
        return found
    masks = clean_masks(found.runs.decode(), max_hole_area=holes, max_sprinkle_area=islands)
    return MaskCandidates(encode_masks(masks), found.scores, mask_boxes(masks))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: MaskGenerationOptions
) -> list[Any]:
    """``{masks, scores}`` a picture, and where asked for ``rle_mask`` and ``bounding_boxes``.

    Masks are numpy arrays, or tensors where the image processor is torchvision's, as in transformers.
    """
    with_masks = options.masks != "none"
    asked = {"runs": options.output_rle_mask, "boxes": options.output_bboxes_mask, "masks": with_masks}
    tensors = with_masks and loaded.compat and on_torchvision(loaded.image_processor)
    finished = []
    for item, crops in zip(items, outputs, strict=True):
        found = _merged(loaded, crops, options)
        record = found.records(**asked)
        if tensors:
            record["masks"] = [torch.from_numpy(mask) for mask in record["masks"]]
        finished.append(of_source(Masks(record), item.facts.source, runs=None if with_masks else found.runs))
    return finished


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: MaskGenerationOptions
) -> Columns:
    """A row a mask: score, area, box (the last two included), and COCO's compressed run lengths."""
    found = [_merged(loaded, crops, options) for crops in outputs]
    values = {
        "score": torch.cat([each.scores for each in found]).double(),
        "area": torch.cat([each.runs.areas() for each in found]),
        "box": torch.cat([each.boxes.long() for each in found]),
        "counts": [run["counts"] for each in found for run in each.runs.compressed()],
    }
    return Columns(torch.tensor([len(each.runs) for each in found], device="cpu"), values)


TASK = picture_task(
    name="mask-generation",
    auto_classes=("AutoModelForMaskGeneration",),
    options=MaskGenerationOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
)
