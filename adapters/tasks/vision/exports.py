"""Detections and segments in the forms that other tools read: COCO, supervision, polygons as in GeoJSON, NumPy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....postprocess.vision.boxes import convert_boxes
from ....postprocess.vision.maps import id_masks, id_statistics, mask_statistics
from ....postprocess.vision.polygons import mask_polygons
from ....postprocess.vision.run_lengths import encode_masks


def masks_of(result: Any) -> Tensor | None:
    """[N, H, W] bool masks of a result's segments, None for boxes."""
    if getattr(result, "segmentation", None) is not None:
        return id_masks(result.segmentation, list(result.ids))[1].bool()
    if isinstance(result, Mapping):
        if "masks" not in result:
            return result.runs.decode().bool()  # type: ignore[attr-defined, no-any-return]
        masks = [torch.as_tensor(np.asarray(mask)) for mask in result["masks"]]
        return torch.stack(masks).bool() if masks else torch.zeros(0, 0, 0, dtype=torch.bool, device="cpu")
    return None


def records_of(result: Any) -> list[dict[str, Any]]:
    """Label and score of everything in a result; masks of everything have no labels."""
    if isinstance(result, Mapping):
        return [{"label": "mask", "score": float(score)} for score in result["scores"]]
    return list(result)


def boxes_of(result: Any) -> Tensor:
    """[N, 4] float xyxy: as the model gave them, or around the pixels of each mask (right and bottom excluded)."""
    masks = masks_of(result)
    if masks is None:
        return torch.as_tensor(result.boxes)
    return mask_statistics(masks).boxes.float() + torch.tensor([0.0, 0.0, 1.0, 1.0], device="cpu")


def to_coco(result: Any, image_id: Any = 0, category_ids: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
    """One COCO result a record: ``image_id``, ``category_id``, ``bbox`` (left, top, width, height), ``score``, and for
    segments ``segmentation`` (run lengths, compressed as pycocotools writes them) and ``area``.

    category_ids: of labels by name; without it the model's own label ids.
    """
    records = records_of(result)
    found = [
        {"image_id": image_id, "category_id": category, "bbox": box, "score": record["score"]}
        for record, category, box in zip(
            records,
            _categories(result, records, category_ids),
            convert_boxes(boxes_of(result), "xyxy", "xywh").tolist(),
            strict=True,
        )
    ]
    masks = masks_of(result)
    if masks is not None and len(masks):
        lengths = encode_masks(masks)
        for row, segmentation, area in zip(found, lengths.compressed(), lengths.areas().tolist(), strict=True):
            row.update(segmentation=segmentation, area=area, iscrowd=0)
    return found


def to_panoptic(
    result: Any, image_id: Any = 0, file_name: str = "", category_ids: Mapping[str, int] | None = None
) -> tuple[Any, dict[str, Any]]:
    """COCO's panoptic form of a segmentation: a picture whose colours are the segments' ids (red + 256 green + 65,536
    blue; 0 is no segment), and the annotation that names them. Ids are those of the result plus 1."""
    from PIL import Image

    segmentation = np.asarray(result.segmentation, np.int64)
    ids = np.where(np.isin(segmentation, list(result.ids)), segmentation + 1, 0)
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
    statistics = id_statistics(torch.as_tensor(result.segmentation), list(result.ids))[1]
    boxes = statistics.boxes + torch.tensor([0, 0, 1, 1], device="cpu")
    segments = [
        {"id": int(number) + 1, "category_id": category, "area": area, "bbox": box, "iscrowd": 0}
        for number, category, area, box in zip(
            result.ids,
            _categories(result, records_of(result), category_ids),
            statistics.area.tolist(),
            convert_boxes(boxes, "xyxy", "xywh").tolist(),
            strict=True,
        )
    ]
    annotation = {"image_id": image_id, "file_name": file_name, "segments_info": segments}
    return Image.fromarray(colours), annotation


def to_supervision(result: Any) -> dict[str, Any]:
    """The fields of ``supervision.Detections``: ``Detections(**to_supervision(result))``."""
    records, masks = records_of(result), masks_of(result)
    scores = [record["score"] for record in records]
    return {
        "xyxy": boxes_of(result).reshape(-1, 4).float().numpy(),
        "mask": None if masks is None else masks.numpy(),
        "confidence": None if None in scores else np.array(scores, dtype=np.float32),
        "class_id": np.array(_categories(result, records, None), dtype=int),
        "data": {"class_name": np.array([record["label"] for record in records], dtype=str)},
    }


def to_polygons(result: Any) -> dict[str, Any]:
    """A GeoJSON-like collection of a feature a record, with label and score; coordinates are pixels, y downwards.

    A mask is a MultiPolygon along the edges of its pixels with its holes; a box is a Polygon. Rings are closed, outer
    ones clockwise on the screen.
    """
    records, masks = records_of(result), masks_of(result)
    if masks is None:
        shapes = [{"type": "Polygon", "coordinates": [_box_ring(box)]} for box in boxes_of(result).tolist()]
    else:
        shapes = [
            {"type": "MultiPolygon", "coordinates": [[_closed(ring) for ring in each] for each in mask_polygons(mask)]}
            for mask in masks
        ]
    features = [
        {"type": "Feature", "properties": {"label": each["label"], "score": each["score"]}, "geometry": shape}
        for each, shape in zip(records, shapes, strict=True)
    ]
    return {"type": "FeatureCollection", "features": features}


def to_numpy(result: Any) -> dict[str, Any]:
    """The columns of a result as arrays: ``boxes`` [N, 4] xyxy, ``scores``, ``labels``, ``label_ids``, and ``masks``
    [N, H, W] bool where it has some."""
    records, masks = records_of(result), masks_of(result)
    scores = [np.nan if record["score"] is None else record["score"] for record in records]
    columns = {
        "boxes": boxes_of(result).reshape(-1, 4).numpy(),
        "scores": np.array(scores, dtype=np.float64),
        "labels": np.array([record["label"] for record in records], dtype=str),
        "label_ids": np.array(_categories(result, records, None), dtype=np.int64),
    }
    return columns if masks is None else {**columns, "masks": masks.numpy()}


def _categories(result: Any, records: Sequence[Mapping[str, Any]], named: Mapping[str, int] | None) -> list[int]:
    if named is not None:
        return [named[record["label"]] for record in records]
    known = getattr(result, "label_ids", None)
    if known is None or len(known) != len(records):
        # Labels without ids (words of a text): by their first appearance.
        numbers = {label: number for number, label in enumerate(dict.fromkeys(each["label"] for each in records))}
        return [numbers[record["label"]] for record in records]
    return [int(label) for label in known]


def _box_ring(box: Sequence[float]) -> list[list[float]]:
    left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def _closed(ring: Tensor) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]
