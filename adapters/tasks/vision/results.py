"""Results of vision tasks: plain lists and dicts in every way, which know the picture they belong to."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ...running.views import label_bars


class Pictured:
    """What results have in common: the picture, read again when it is asked for."""

    source: Any = None

    def picture(self) -> Any:
        """The picture of this result as a PIL image in RGB."""
        from ...media.pictures import read_picture

        return read_picture(self.source)


class ImageLabels(list[Any], Pictured):
    """Labels of a picture or video with their scores, as bars."""

    def _repr_html_(self) -> str:
        return bars((str(each["label"]), float(each["score"])) for each in self)


class Detected(list[Any], Pictured):
    """Objects in a picture: label, score and box."""


class Segments(list[Any], Pictured):
    """Segments of a picture: label, score and mask. ``segmentation``: [H, W] int16, the map of their ``ids``."""

    segmentation: Any = None
    ids: Sequence[int] = ()


class Features(list[Any], Pictured):
    """Vectors of a picture."""


def from_mask(mask: Any) -> Any:
    """A [H, W] uint8 array as a grey PIL image over the same memory, which is copied once the image is changed."""
    from PIL import Image

    height, width = mask.shape
    return Image.frombuffer("L", (width, height), mask, "raw", "L", 0, 1)


def bars(scores: Iterable[tuple[str, float]]) -> str:
    return f'<div class="afterlogits">{label_bars(scores)}</div>'


def of_source(result: Any, source: Any) -> Any:
    """``result`` with the picture it belongs to."""
    result.source = source
    return result


def caption(record: Mapping[str, Any]) -> str:
    """Label and score of a record in one line of HTML."""
    return escape(f"{record['label']} {record['score']:.2f}")
