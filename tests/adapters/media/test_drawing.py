"""Drawings put the right colours at the right places, and leave the picture alone."""

import numpy as np
import pytest
from PIL import Image

from afterlogits.adapters.media.colours import label_colours, number_colours, text_colour
from afterlogits.adapters.media.drawing import (
    _GAP,
    LEAST,
    MOST,
    beside,
    draw_boxes,
    draw_depth,
    draw_labels,
    draw_listed_boxes,
    draw_masks,
    draw_matches,
    draw_poses,
    draw_segments,
    fit,
)

GREY = Image.new("RGB", (480, 320), (128, 128, 128))


def at(picture, x, y):
    return tuple(int(value) for value in np.asarray(picture)[y, x])


def near(colour, other, tolerance=2):
    return max(abs(a - b) for a, b in zip(colour, other, strict=True)) <= tolerance


def blend(colour, ground=128, opacity=0.55):
    return tuple(int(ground * (1 - opacity) + value * opacity) for value in colour)


def lightness(colours):
    linear = np.where(colours / 255 <= 0.04045, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


def test_numbers_grow_lighter_by_equal_steps():
    """CIE lightness from 6 to 94: each of 256 steps adds 88 / 255 = 0.35, within the rounding to 8 bits."""
    found = lightness(number_colours().astype(float))
    np.testing.assert_allclose(found, np.linspace(6, 94, 256), atol=0.6)


def test_colours_of_labels_are_apart_and_in_order():
    colours = label_colours(["b", "a", "b", "c"])
    assert list(colours) == ["b", "a", "c"]
    assert label_colours(["b"])["b"] == colours["b"]
    many = list(label_colours(range(30)).values())
    gaps = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(many) for b in many[:i]]
    assert min(gaps) > 12


def test_letters_are_black_on_light_and_white_on_dark():
    assert text_colour((250, 240, 120)) == (0, 0, 0)
    assert text_colour((40, 30, 90)) == (255, 255, 255)


@pytest.mark.parametrize(("size", "expected"), [((64, 32), LEAST), ((700, 600), 700), ((4000, 3000), MOST)])
def test_pictures_come_at_a_size_to_look_at(size, expected):
    found, scale = fit(Image.new("RGB", size))
    assert max(found.size) == expected == round(max(size) * scale)


def test_a_box_is_outlined_in_the_colour_of_its_label():
    records = [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.4}]
    found = draw_boxes(GREY, records, [(100, 100, 200, 200), (400, 200, 300, 250)])
    colours = label_colours(["cat", "dog"])
    assert at(found, 150, 200) == colours["cat"] == at(found, 100, 150)
    assert at(found, 350, 250) == colours["dog"]
    assert at(found, 150, 150) == (128, 128, 128)
    assert at(found, 102, 97) == colours["cat"]  # the tag above the corner
    assert np.asarray(GREY).std() == 0


def test_segments_are_tinted_and_named():
    places = np.zeros((320, 480), int)
    places[:, 240:] = 1
    colours = label_colours(["sky", "sea"])
    found = draw_segments(GREY, places, [0, 1], ["sky", "sea"], [None, None])
    assert near(at(found, 100, 100), blend(colours["sky"]))
    assert near(at(found, 400, 100), blend(colours["sea"]))
    assert found.width > GREY.width + 40  # the legend
    assert at(found, GREY.width + 8 + 16, 14) == colours["sky"]
    assert at(found, GREY.width + 8 + 16, 38) == colours["sea"]
    objects = draw_segments(GREY, places, [0, 1], ["sea", "sea"], [0.9, 0.8])
    assert at(objects, 100, 100) != at(objects, 400, 100)


def test_of_masks_that_overlap_the_smallest_is_on_top():
    large, small = np.zeros((320, 480), bool), np.zeros((320, 480), bool)
    large[:, :300], small[100:200, 100:200] = True, True
    colours = label_colours([0, 1])
    found = draw_masks(GREY, [small, large], [0.9, 0.8])
    assert near(at(found, 150, 150), blend(colours[0]))
    assert near(at(found, 20, 20), blend(colours[1]))
    assert at(found, 400, 20) == (128, 128, 128)


def test_depth_is_dark_where_it_is_small():
    depth = np.zeros((320, 480))
    depth[:, 240:] = 5.0
    found = draw_depth(GREY, depth)
    left, right = GREY.width + 8 + 50, GREY.width + 8 + 430
    assert at(found, left, 100) == tuple(number_colours()[0])
    assert at(found, right, 100) == tuple(number_colours()[255])
    assert at(draw_depth(GREY, np.ones((4, 4))), left, 100) == tuple(number_colours()[0])


def test_matches_are_lines_between_two_pictures():
    match = {"keypoint_image_0": {"x": 100, "y": 50}, "keypoint_image_1": {"x": 200, "y": 50}, "score": 1.0}
    found = draw_matches(GREY, GREY, [match])
    assert found.width == 2 * GREY.width + 8
    assert at(found, 300, 50) == tuple(number_colours()[250])
    assert at(found, 300, 80) == (128, 128, 128)


def test_a_pose_of_17_points_has_bones():
    points = np.full((17, 2), 10.0)
    points[5], points[6] = (100, 100), (300, 100)  # the shoulders
    found = draw_poses(GREY, [points], [np.ones(17)])
    assert at(found, 200, 100) == label_colours([0])[0]
    assert at(draw_poses(GREY, [points[:16]], [np.ones(16)]), 200, 100) == (128, 128, 128)


def test_labels_are_bars_beside_the_picture():
    found = draw_labels(GREY, [{"label": "cat", "score": 1.0}, {"label": "dog", "score": 0.0}])
    assert at(found, GREY.width + 8 + 250, 30) == (147, 197, 253)
    assert at(found, GREY.width + 8 + 250, 60) == (250, 250, 250)


def test_pictures_stand_beside_each_other_from_the_top():
    found = beside(Image.new("RGB", (10, 5), "red"), Image.new("RGB", (10, 9), "blue"))
    assert found.size == (28, 9)
    assert at(found, 0, 8) == (250, 250, 250)


def test_listed_boxes_write_nothing_over_the_picture():
    """Outlines lie around the boxes in the legend's colours; what is inside stays as it was."""
    page = Image.new("RGB", (500, 400), (250, 250, 250))
    drawn = draw_listed_boxes(page, ["one", "two"], [(50, 60, 90, 80), (200, 200, 260, 230)])
    assert drawn.height == 400 and drawn.width > 520
    colours = [drawn.getpixel((49, 70)), drawn.getpixel((199, 215))]
    assert colours[0] != colours[1] and (250, 250, 250) not in colours
    assert drawn.getpixel((70, 70)) == (250, 250, 250) == drawn.getpixel((70, 56))
    legend = {drawn.getpixel((500 + _GAP + 16, top)) for top in (14, 38)}
    assert legend == set(colours)
