"""Answers drawn on their pictures, by Pillow alone: boxes, masks with a legend, depth, matches, poses, labels.

Every function takes an RGB picture, leaves it as it is, and returns a new one of a size to look at: small pictures are
enlarged, large ones reduced.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .colours import Colour, label_colours, number_colours, text_colour
from .tags import Rectangle, place_tags

LEAST, MOST = 480, 1280  # the longer side of what is drawn
_OPACITY = 0.55
_BACKGROUND = (250, 250, 250)
_INK = (17, 17, 17)
# The bones of COCO's 17 points.
SKELETON = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10)),
    *((1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)


def fit(picture: Any, *, least: int = LEAST, most: int = MOST) -> tuple[Any, float]:
    """The picture at a size to look at, and the scale it was drawn at."""
    from PIL import Image

    longest = max(picture.size)
    scale = least / longest if longest < least else most / longest if longest > most else 1.0
    if scale == 1.0:
        return picture.copy(), scale
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC), scale


def draw_boxes(picture: Any, records: Sequence[Mapping[str, Any]], boxes: Sequence[Sequence[float]]) -> Any:
    """Boxes (xmin, ymin, xmax, ymax) with label and score; the best is on top, and its tag is placed first."""
    from PIL import ImageDraw

    canvas, scale = fit(picture)
    pen = ImageDraw.Draw(canvas)
    colours = label_colours(record["label"] for record in records)
    order = sorted(range(len(records)), key=lambda number: -records[number]["score"])
    corners = []
    for number in order:
        left, top, right, bottom = (value * scale for value in boxes[number])
        corners.append((min(left, right), min(top, bottom), max(left, right), max(top, bottom)))
    painted = [colours[records[number]["label"]] for number in order]
    for box, colour in zip(reversed(corners), reversed(painted), strict=True):
        pen.rectangle(box, outline=colour, width=_line_width(canvas))
    texts = [f"{records[number]['label']} {records[number]['score']:.2f}" for number in order]
    _tags(pen, canvas, corners, texts, painted)
    return canvas


def draw_listed_boxes(picture: Any, names: Sequence[str], boxes: Sequence[Sequence[float]]) -> Any:
    """Boxes (xmin, ymin, xmax, ymax) in colours that a legend beside the picture names: nothing is written over it."""
    from PIL import ImageDraw

    canvas, scale = fit(picture)
    pen, width = ImageDraw.Draw(canvas), _line_width(canvas)
    colours = label_colours(range(len(names)))
    for number, box in enumerate(boxes):
        left, top, right, bottom = (value * scale for value in box)
        pen.rectangle((left - width, top - width, right + width, bottom + width), outline=colours[number], width=width)
    return beside(canvas, legend([(name, colours[number]) for number, name in enumerate(names)]))


def draw_segments(
    picture: Any, segmentation: Any, ids: Sequence[int], labels: Sequence[str], scores: Sequence[float | None]
) -> Any:
    """The segments of a map [H, W] in colour, with their outlines and a legend. Segments of one label differ where they
    are objects (with scores), and share a colour where they are classes."""
    from PIL import Image

    names = [label if score is None else f"{label} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    keys = list(range(len(ids))) if any(score is not None for score in scores) else list(labels)
    colours = label_colours(keys)
    canvas, _ = fit(picture)
    small = Image.fromarray(np.asarray(segmentation, np.int32)).resize(canvas.size, Image.Resampling.NEAREST)
    places = np.asarray(small)
    table = {number: colours[key] for number, key in zip(ids, keys, strict=True)}
    return beside(
        _tinted(canvas, places, table), legend([(name, colours[k]) for name, k in zip(names, keys, strict=True)])
    )


def draw_masks(picture: Any, masks: Sequence[Any], scores: Sequence[float]) -> Any:
    """Masks [H, W] that may overlap, the smallest on top, each in a colour of its own."""
    order = sorted(range(len(masks)), key=lambda number: -int(np.count_nonzero(masks[number])))
    painted = np.full((picture.height, picture.width), -1, np.int32)
    for number in order:
        painted[np.asarray(masks[number], bool)] = number
    seen = [number for number in range(len(masks)) if (painted == number).any()]
    return draw_segments(picture, painted, seen, [f"mask {number}" for number in seen], [scores[n] for n in seen])


def draw_depth(picture: Any, depth: Any) -> Any:
    """The picture beside its depth [H, W], dark where the number is small."""
    from PIL import Image

    values = np.asarray(depth, np.float64)
    low, high = (np.nanmin(values), np.nanmax(values)) if values.size else (0.0, 0.0)
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    coloured = number_colours()[np.nan_to_num(scaled * 255).astype(np.uint8)]
    canvas, _ = fit(picture, most=MOST // 2)
    return beside(canvas, Image.fromarray(coloured).resize(canvas.size), scale_bar(low, high, canvas.height))


def draw_matches(first: Any, second: Any, matches: Sequence[Mapping[str, Any]], *, most: int = 200) -> Any:
    """Two pictures side by side and a line for each of the ``most`` best matches, as light as it is certain."""
    from PIL import ImageDraw

    left, left_scale = fit(first, least=LEAST, most=MOST // 2)
    right, right_scale = fit(second, least=LEAST, most=MOST // 2)
    canvas, gap = beside(left, right), left.width + _GAP
    pen = ImageDraw.Draw(canvas)
    shown = list(matches[:most])[::-1]
    best = max((match["score"] for match in shown), default=1.0) or 1.0
    radius = max(2, _line_width(canvas))
    for match in shown:
        colour = tuple(int(value) for value in number_colours()[90 + int(160 * min(match["score"] / best, 1.0))])
        start = tuple(match["keypoint_image_0"][axis] * left_scale for axis in "xy")
        end = (match["keypoint_image_1"]["x"] * right_scale + gap, match["keypoint_image_1"]["y"] * right_scale)
        pen.line([start, end], fill=colour, width=max(1, radius // 2))
        for x, y in (start, end):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=max(1, radius // 2))
    return canvas


def draw_poses(
    picture: Any, persons: Sequence[Any], scores: Sequence[Any], bones: Sequence[tuple[int, int]] | None = None
) -> Any:
    """Points [K, 2] of each person as a skeleton, or as points where K is not COCO's 17 and no ``bones`` are given;
    the lower the score of a point, the smaller it is."""
    from PIL import ImageDraw

    canvas, scale = fit(picture)
    pen = ImageDraw.Draw(canvas)
    colours = label_colours(range(max(len(persons), 1)))
    width = max(2, _line_width(canvas))
    for number, (points, sure) in enumerate(zip(persons, scores, strict=True)):
        places = np.asarray(points, np.float64) * scale
        linked = bones if bones is not None else SKELETON if len(places) == 17 else ()
        for a, b in linked:
            ends = [tuple(places[a]), tuple(places[b])]
            pen.line(ends, fill=_INK, width=width + 2)  # seen on a ground of its own colour too
            pen.line(ends, fill=colours[number], width=width)
        for (x, y), score in zip(places, np.asarray(sure, np.float64), strict=True):
            radius = width * (0.6 + 0.9 * float(min(max(score, 0), 1)))
            circle = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(circle, fill=colours[number], outline=text_colour(colours[number]))
    return canvas


def draw_labels(picture: Any, records: Sequence[Mapping[str, Any]], *, most: int = 10) -> Any:
    """The picture beside its labels, a bar each."""
    from PIL import Image, ImageDraw

    canvas, _ = fit(picture)
    font = font_of(16)
    shown = records[:most]
    panel = Image.new("RGB", (280, max(canvas.height, 30 * len(shown) + 10)), _BACKGROUND)
    pen = ImageDraw.Draw(panel)
    for row, record in enumerate(shown):
        top = 8 + 30 * row
        pen.rectangle((8, top, 8 + 260 * min(max(record["score"], 0), 1), top + 24), fill=(147, 197, 253))
        pen.text((12, top + 3), f"{record['score']:.3f}  {record['label']}", fill=_INK, font=font)
    return beside(canvas, panel)


def legend(entries: Sequence[tuple[str, Colour]], *, most: int = 24) -> Any:
    """A panel of colours and names."""
    from PIL import Image, ImageDraw

    font = font_of(15)
    rows = [*entries[:most], *([(f"and {len(entries) - most} more", _BACKGROUND)] if len(entries) > most else [])]
    width = max((font.getlength(name) for name, _ in rows), default=0)
    panel = Image.new("RGB", (int(width) + 42, 24 * max(len(rows), 1) + 8), _BACKGROUND)
    pen = ImageDraw.Draw(panel)
    for row, (name, colour) in enumerate(rows):
        top = 6 + 24 * row
        pen.rectangle((8, top, 24, top + 16), fill=colour)
        pen.text((32, top - 1), name, fill=_INK, font=font)
    return panel


def scale_bar(low: float, high: float, height: int) -> Any:
    """The colours of numbers from ``high`` at the top to ``low``."""
    from PIL import Image, ImageDraw

    font = font_of(13)
    ramp = number_colours()[np.linspace(255, 0, max(height, 1)).astype(int)][:, None]
    panel = Image.new("RGB", (90, height), _BACKGROUND)
    panel.paste(Image.fromarray(np.ascontiguousarray(np.repeat(ramp, 16, axis=1))), (4, 0))
    pen = ImageDraw.Draw(panel)
    pen.text((26, 2), f"{high:.4g}", fill=_INK, font=font)
    pen.text((26, height - 20), f"{low:.4g}", fill=_INK, font=font)
    return panel


_GAP = 8


def beside(*pictures: Any) -> Any:
    """Pictures in a row, from the top."""
    from PIL import Image

    width = sum(each.width for each in pictures) + _GAP * (len(pictures) - 1)
    canvas = Image.new("RGB", (width, max(each.height for each in pictures)), _BACKGROUND)
    left = 0
    for each in pictures:
        canvas.paste(each, (left, 0))
        left += each.width + _GAP
    return canvas


def _tinted(canvas: Any, places: Any, table: Mapping[int, Colour]) -> Any:
    """The canvas with the pixels of each id in its colour, and a darker line where ids meet."""
    from PIL import Image

    pixels = np.asarray(canvas, np.float32)
    for number, colour in table.items():
        inside = places == number
        pixels[inside] = pixels[inside] * (1 - _OPACITY) + np.array(colour, np.float32) * _OPACITY
    edge = np.zeros(places.shape, bool)
    edge[:, 1:] |= places[:, 1:] != places[:, :-1]
    edge[1:] |= places[1:] != places[:-1]
    pixels[edge] *= 0.35
    return Image.fromarray(pixels.astype(np.uint8))


def _tags(pen: Any, canvas: Any, boxes: Sequence[Rectangle], texts: Sequence[str], colours: Sequence[Colour]) -> None:
    """A text at each box, the first on top where there is no room for all."""
    font = font_of(max(12, min(20, canvas.width // 45)))
    inked = [font.getbbox(text) for text in texts]
    sizes = [(right - left + 8, bottom - top + 6) for left, top, right, bottom in inked]
    places = place_tags(boxes, sizes, canvas.size)
    for (x, y), (width, height), ink, text, colour in reversed(
        list(zip(places, sizes, inked, texts, colours, strict=True))
    ):
        pen.rectangle((x, y, x + width, y + height), fill=colour)
        pen.text((x + 4 - ink[0], y + 3 - ink[1]), text, fill=text_colour(colour), font=font)


def _line_width(canvas: Any) -> int:
    longest: int = max(canvas.size)
    return max(2, round(longest / 320))


def font_of(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
