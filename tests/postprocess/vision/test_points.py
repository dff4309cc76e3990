"""Depth, keypoints and poses: figures worked out by hand, the corrected forms, and transformers on drawn outputs."""

import pytest
import torch

from afterlogits.postprocess import vision
from tests.postprocess.vision.drawn_points import CHECKS

CASES = 60


# golden


def test_matched_points_are_cut_toward_zero():
    """Sizes (100, 200) and (50, 60): (.5, .5) -> (100, 50), (-.01, .2) -> (-2, 20); a score of 0 is not above 0."""
    keypoints = torch.tensor([[[[0.5, 0.5], [0.999, 0.1], [-0.01, 0.2]], [[0.5, 0.5], [0.1, 0.1], [0.2, 0.2]]]])
    scores = torch.tensor([[0.5, 0.0, 0.9]])
    found = vision.match_keypoints(keypoints, torch.tensor([[0, 2, 1]]), scores, sizes=[[(100, 200), (50, 60)]])
    assert found.first.tolist() == [[100, 50], [-2, 20]]
    assert found.second.tolist() == [[30, 25], [6, 5]]
    best = found.records()[0][0]
    assert best["keypoint_image_0"] == {"x": -2, "y": 20} and best["score"] == pytest.approx(0.9)


def test_matches_count_the_points_that_are_there():
    """The second image's points 0 and 2 are there: match 1 is its third point, match 2 is beyond them."""
    keypoints = torch.tensor([[[[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]] * 2])
    mask = torch.tensor([[[1, 1, 1], [1, 0, 1]]])
    matches = torch.tensor([[1, 2, -1]])
    found = vision.match_keypoints(keypoints, matches, torch.ones(1, 3), sizes=[[(10, 10), (10, 10)]], mask=mask)
    assert found.first.tolist() == [[1, 1]]
    assert found.second.tolist() == [[3, 3]]


def test_depth_pictures_and_lost_axes():
    """1, 2, 3 are 0, 127.5 and 255, cut off; a constant map is black; a map of one row stays a map where corrected."""
    assert vision.depth_pictures([torch.tensor([[1.0, 2.0, 3.0]])])[0].tolist() == [[0, 127, 255]]
    assert vision.depth_pictures([torch.full((2, 2), 3.0)])[0].tolist() == [[0, 0], [0, 0]]
    assert vision.depth_maps(torch.rand(1, 4, 4), sizes=[(1, 7)])[0].shape == (7,)
    assert vision.depth_maps(torch.rand(1, 4, 4), sizes=[(1, 7)], compat=False)[0].shape == (1, 7)


def test_unpadded_depth_cuts_what_was_padded():
    """A source of 8 x 18: padding sqrt(4) * 3 = 6 rows and sqrt(9) * 3 = 9 columns on each side."""
    padded = torch.zeros(1, 20, 36)
    padded[:, 6:14, 9:27] = torch.arange(8 * 18).view(8, 18).float()
    found = vision.unpadded_depth_maps(padded, source_sizes=[(8, 18)])[0]
    assert torch.equal(found, torch.arange(8 * 18).view(8, 18).float())
    assert torch.equal(vision.unpadded_depth_maps(padded, flipped=padded.flip(-1))[0], padded[0])
    kept = vision.unpadded_depth_maps(padded, source_sizes=[(20, 36)], sizes=[(10, 10)], remove_padding=False)[0]
    assert kept.shape == (10, 10)


def test_inverse_depth_is_limited():
    """1 / .5 is 2 m; 0 is cut to 1e-4 and becomes 1e4 m. 90 degrees over 200 pixels: focal length 100."""
    depth, focal = vision.inverse_depth_maps(torch.tensor([[[0.5, 0.0]]]))[0]
    torch.testing.assert_close(depth, torch.tensor([[2.0, 1e4]]))
    assert focal is None
    found = vision.inverse_depth_maps(torch.ones(1, 4, 4), sizes=[(10, 200)], field_of_view=torch.tensor([90.0]))[0]
    torch.testing.assert_close(found[1], torch.tensor(100.0))
    torch.testing.assert_close(found[0], torch.full((10, 200), 0.5))


def test_a_peak_between_pixels():
    """A Gaussian around (20.25, 30.5) of a 48 x 64 map, for a box of 192 x 256 at (100, 50)."""
    y, x = torch.arange(64.0)[:, None], torch.arange(48.0)[None]
    heatmap = torch.exp(-((x - 20.25) ** 2 + (y - 30.5) ** 2) / 8)[None, None]
    heatmap = torch.cat((heatmap, heatmap), dim=1)
    boxes = torch.tensor([[100.0, 50.0, 192.0, 256.0]])
    found = vision.decode_poses(heatmap, boxes, input_size=(256, 192), compat=False)
    # The box grows by a quarter: 240 x 320 around (196, 178), over 47 and 63 steps of the heatmap.
    expected = torch.tensor([196 - 120 + 20.25 * 240 / 47, 178 - 160 + 30.5 * 320 / 63])
    torch.testing.assert_close(found.keypoints[0, 0], expected, atol=0.3, rtol=0)
    assert found.boxes.tolist() == [[100.0, 50.0, 292.0, 306.0]]
    # Centre (140, 130); 80 x 160 widened to 120 x 160, over 160: scale (.75, 1); the sums less one.
    compat = vision.decode_poses(heatmap, torch.tensor([[100.0, 50, 80, 160]]), input_size=(256, 192))
    torch.testing.assert_close(compat.boxes, torch.tensor([[140.0, 130.0, 139.75, 130.0]]))


def test_fewer_persons_than_boxes_is_an_error():
    generator = torch.Generator().manual_seed(0)
    found = vision.decode_poses(torch.rand(2, 3, 9, 9, generator=generator), torch.ones(2, 4), input_size=(64, 48))
    assert [len(persons) for persons in found.records([1, 1])] == [1, 1]
    with pytest.raises(IndexError, match="counts must add up to at most 2 persons; got 3"):
        found.records([1, 2])


# parity


@pytest.mark.parametrize("family", [*CHECKS])
def test_transformers_gives_the_same(family):
    for seed in range(CASES):
        CHECKS[family](seed)


# errors


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"predicted must be \[B, h, w\]; got shape \[2, 2\]"):
        vision.depth_maps(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"flipped must be \[1, 2, 2\]; got shape \[2, 2, 2\]"):
        vision.unpadded_depth_maps(torch.zeros(1, 2, 2), flipped=torch.zeros(2, 2, 2))
    with pytest.raises(ValueError, match=r"keypoints must be \[1, 2, N, 2\]; got shape \[1, 3, 2\]"):
        vision.match_keypoints(torch.zeros(1, 3, 2), torch.zeros(1, 3), torch.zeros(1, 3), sizes=[[(1, 1), (1, 1)]])
    wanted = r"sizes must be \(height, width\) of both images of each of 1 pairs; got shape \[1, 2\]"
    with pytest.raises(ValueError, match=wanted):
        vision.match_keypoints(torch.zeros(1, 2, 3, 2), torch.zeros(1, 3), torch.zeros(1, 3), sizes=[(1, 1)])
    with pytest.raises(ValueError, match=r"matches must be as many in both images; got \[1, 0\] in row 0"):
        matches = torch.tensor([[[0, -1], [-1, -1]]])
        vision.match_both_ways(torch.zeros(1, 2, 2, 2), matches, torch.ones(1, 2, 2), sizes=[[(1, 1), (1, 1)]])
    with pytest.raises(ValueError, match=r"boxes must be \[2, 4\]; got shape \[1, 4\]"):
        vision.decode_poses(torch.zeros(2, 1, 4, 4), torch.zeros(1, 4), input_size=(4, 4))
