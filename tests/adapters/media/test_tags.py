"""Tags of boxes: at their own boxes, on the picture, and beside each other where there is room."""

import random

from afterlogits.adapters.media.tags import place_tags

CANVAS = (640, 480)


def rectangles(places, sizes):
    return [(x, y, x + width, y + height) for (x, y), (width, height) in zip(places, sizes, strict=True)]


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_places_by_hand():
    """Above at the left; for the same box again above at the right, then below; within where the picture ends."""
    box, size = (100, 100, 200, 300), (40, 10)
    assert place_tags([box] * 3, [(45, 10)] * 3, CANVAS) == [(100, 90), (155, 90), (100, 300)]
    assert place_tags([(100, 5, 200, 300)], [size], CANVAS) == [(100, 5)]
    assert place_tags([(630, 100, 700, 300)], [size], CANVAS) == [(600, 90)]
    assert place_tags([(0, 470, 5, 480)], [size], (20, 480)) == [(0, 460)]  # wider than the picture
    assert place_tags([], [], CANVAS) == []


def test_four_boxes_on_each_other_have_tags_apart():
    """1,000 drawn piles of four boxes that differ by up to 8 pixels, large enough for three tags above and below."""
    draw = random.Random(0)
    for _ in range(1000):
        left, top = draw.randrange(20, 300), draw.randrange(30, 200)
        width, height = draw.randrange(220, 300), draw.randrange(80, 200)
        boxes = [
            (left + draw.randrange(8), top + draw.randrange(8), left + width - draw.randrange(8), top + height)
            for _ in range(4)
        ]
        sizes = [(draw.randrange(30, 70), 18) for _ in boxes]
        tags = rectangles(place_tags(boxes, sizes, CANVAS), sizes)
        assert not any(overlap(tags[a], tags[b]) for a in range(4) for b in range(a))


def test_every_tag_touches_its_box_and_lies_on_the_picture():
    draw = random.Random(1)
    for _ in range(300):
        corners = [(draw.randrange(600), draw.randrange(440)) for _ in range(12)]
        boxes = [(x, y, min(x + draw.randrange(5, 300), 640), min(y + draw.randrange(5, 300), 480)) for x, y in corners]
        sizes = [(draw.randrange(30, 120), 18) for _ in boxes]
        for tag, box in zip(rectangles(place_tags(boxes, sizes, CANVAS), sizes), boxes, strict=True):
            assert tag[0] >= 0 and tag[1] >= 0 and tag[2] <= 640 and tag[3] <= 480
            assert tag[0] <= box[2] and box[0] <= tag[2] and tag[1] <= box[3] and box[1] <= tag[3]


def test_a_box_that_is_nowhere_has_a_tag_somewhere():
    nan = float("nan")
    assert place_tags([(nan, nan, nan, nan)], [(10, 10)], CANVAS) == [(0, 0)]
