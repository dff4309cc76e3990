"""Where the tags of boxes go, so that each lies at its own box and none on another where there is room."""

from collections.abc import Iterator, Sequence

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


def place_tags(
    boxes: Sequence[Rectangle], sizes: Sequence[tuple[float, float]], canvas: tuple[int, int]
) -> list[tuple[float, float]]:
    """The left upper corner of each box's tag. sizes: (width, height) of the tags. canvas: (width, height).

    Earlier boxes choose first: above the box, below it, or within it, at its left, its right or its middle, the first
    place that covers no tag so far; where every place does, the one that covers least.
    >>> place_tags([(10, 50, 90, 90), (10, 50, 90, 90)], [(40, 12), (40, 12)], (100, 100))
    [(10, 38), (50, 38)]
    """
    placed: list[Rectangle] = []
    for box, (width, height) in zip(boxes, sizes, strict=True):
        best, least = (0.0, 0.0, width, height), float("inf")
        for x, y in _places(box, width, height, canvas):
            own = (x, y, x + width, y + height)
            covered = sum(_shared(own, other) for other in placed)
            if covered < least:
                best, least = own, covered
            if not covered:
                break
        placed.append(best)
    return [(left, top) for left, top, _, _ in placed]


def _places(box: Rectangle, width: float, height: float, canvas: tuple[int, int]) -> Iterator[tuple[float, float]]:
    """Corners of a tag at its box, the most usual first, all of it on the canvas."""
    left, top, right, bottom = box
    across = (left, right - width, (left + right - width) / 2)
    within = (top, bottom - height, (top + bottom - height) / 2)
    down = (top - height, bottom, *within) if top >= height else (top, bottom, *within)
    for y in down:
        for x in across:
            # 0 first: it is the larger of it and NaN then.
            yield min(max(0, x), max(canvas[0] - width, 0)), min(max(0, y), max(canvas[1] - height, 0))


def _shared(one: Rectangle, other: Rectangle) -> float:
    """The area that two rectangles share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)
