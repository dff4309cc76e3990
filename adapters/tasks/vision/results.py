"""Results of vision tasks: plain lists and dicts in every way, which draw themselves on the picture they belong to.

Each class subclasses ``list`` or ``dict`` (so equality, ``json.dumps`` and indexing are theirs). ``draw()`` gives a PIL
image, ``show()`` opens it, a notebook shows it; exports are in ``exports.py``.
"""

import base64
from collections.abc import Sequence
from typing import Any

from ...media import drawing
from ...media.drawn import Drawn
from ...media.pictures import read_picture
from . import exports


class Pictured(Drawn):
    """What results have in common: the picture, read again when it is asked for."""

    source: Any = None

    def picture(self) -> Any:
        """The picture of this result as a PIL image in RGB."""
        if self.source is None:
            raise ValueError("source must be a picture; got None: this result does not know its own")
        return read_picture(self.source)

    def _repr_html_(self) -> str:
        if self.source is None:
            return f"<pre>{type(self).__name__} of an unknown picture</pre>"
        text = base64.b64encode(self._repr_png_()).decode()
        return f'<img class="afterlogits" style="max-width:100%" src="data:image/png;base64,{text}">'


class ImageLabels(list[Any], Pictured):
    """Labels of a picture with their scores."""

    def draw(self) -> Any:
        return drawing.draw_labels(self.picture(), self)


class VideoLabels(list[Any], Pictured):
    """Labels of a video with their scores. ``frames``: those that the model saw."""

    frames: Sequence[Any] = ()

    def picture(self) -> Any:
        return read_picture(self.frames[len(self.frames) // 2], input_data_format="channels_last")

    def draw(self) -> Any:
        return drawing.draw_labels(self.picture(), self)


class Exported(Pictured):
    """A result in the forms that other tools read (exports.py)."""

    def coco(self, image_id: Any = 0, category_ids: Any = None) -> list[dict[str, Any]]:
        """COCO's results: a box each, and for masks their run lengths and area."""
        return exports.to_coco(self, image_id, category_ids)

    def supervision(self) -> dict[str, Any]:
        """The fields of ``supervision.Detections``: ``Detections(**result.supervision())``."""
        return exports.to_supervision(self)

    def polygons(self) -> dict[str, Any]:
        """A GeoJSON-like collection of features; coordinates are pixels, y downwards."""
        return exports.to_polygons(self)

    def numpy(self) -> dict[str, Any]:
        """Boxes, scores, labels, label ids and masks as arrays."""
        return exports.to_numpy(self)


class Detected(list[Any], Exported):
    """Objects in a picture: label, score and box. ``boxes``: [N, 4] float, xyxy, as the model gave them; ``label_ids``
    [N] int64."""

    boxes: Any = None
    label_ids: Any = None

    def draw(self) -> Any:
        known = self.boxes is not None and len(self.boxes) == len(self)
        boxes = self.boxes.tolist() if known else [list(record["box"].values()) for record in self]
        return drawing.draw_boxes(self.picture(), self, boxes)


class Segments(list[Any], Exported):
    """Segments of a picture: label, score and mask. ``segmentation``: [H, W] int16, the map of their ``ids``."""

    segmentation: Any = None
    ids: Sequence[int] = ()
    label_ids: Sequence[int] = ()

    def draw(self) -> Any:
        labels, scores = [record["label"] for record in self], [record["score"] for record in self]
        return drawing.draw_segments(self.picture(), self.segmentation, self.ids, labels, scores)

    def panoptic(self, image_id: Any = 0, file_name: str = "", category_ids: Any = None) -> tuple[Any, dict[str, Any]]:
        """COCO's panoptic form: a picture of ids in its colours, and the annotation that names them."""
        return exports.to_panoptic(self, image_id, file_name, category_ids)


class Masks(dict[str, Any], Exported):
    """Masks of everything in a picture, with their scores. ``runs``: their run lengths where there are no masks."""

    runs: Any = None

    def draw(self) -> Any:
        masks = self["masks"] if "masks" in self else [*self.runs.decode().numpy()]
        return drawing.draw_masks(self.picture(), masks, [float(score) for score in self["scores"]])


class DepthMap(dict[str, Any], Pictured):
    """The depth of a picture: ``predicted_depth`` in the model's unit, ``depth`` as a grey picture."""

    def draw(self) -> Any:
        return drawing.draw_depth(self.picture(), self["predicted_depth"])


class Reconstruction(dict[str, Any], Pictured):
    """A picture with its hidden patches filled in: ``image``, and ``masked_image`` as the model saw it."""

    def draw(self) -> Any:
        pictures = (self.picture(), self["masked_image"], self["image"])
        return drawing.beside(*(drawing.fit(each, most=drawing.LEAST)[0] for each in pictures))


class Matches(list[Any], Pictured):
    """Points of one picture found again in another; ``source`` is the pair of pictures."""

    def picture(self) -> Any:
        return drawing.beside(*(read_picture(each) for each in self.source))

    def draw(self) -> Any:
        first, second = (read_picture(each) for each in self.source)
        return drawing.draw_matches(first, second, self)


class Keypoints(dict[str, Any], Pictured):
    """Points of interest in a picture."""

    def draw(self) -> Any:
        return drawing.draw_poses(self.picture(), [self["keypoints"]], [self["scores"]], ())


class Poses(list[Any], Pictured):
    """Persons of a picture with their points."""

    def draw(self) -> Any:
        points = [person["keypoints"] for person in self]
        return drawing.draw_poses(self.picture(), points, [person["scores"] for person in self])


def from_mask(mask: Any) -> Any:
    """A [H, W] uint8 array as a grey PIL image over the same memory, which is copied once the image is changed."""
    from PIL import Image

    height, width = mask.shape
    return Image.frombuffer("L", (width, height), mask, "raw", "L", 0, 1)


def of_source(result: Any, source: Any, **known: Any) -> Any:
    """``result`` with the picture it belongs to, and what else it knows."""
    result.source = source
    for name, value in known.items():
        setattr(result, name, value)
    return result
