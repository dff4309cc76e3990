"""Kernels of postprocessing on a device: the CPU's answers, and how often the host waits for them."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from afterlogits.postprocess import vision
from afterlogits.postprocess.audio import CtcTranscripts, collapse_ctc, ctc_alphabet, frame_ids
from afterlogits.postprocess.transfers import received
from afterlogits.postprocess.triton_kernels.panoptic import PanopticTiles, panoptic_twin
from afterlogits.postprocess.vision import run_lengths, slots, tiled_panoptic
from afterlogits.postprocess.vision.mask_generation import masks_on_host
from afterlogits.postprocess.vision.nms import nms, soft_nms
from afterlogits.postprocess.vision.upsampling import resize
from tests.pretend_cuda.device import on_device, pretend_cuda, to_host

drawn = torch.Generator().manual_seed(0)


def _rand(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=drawn)


def _smooth(*shape: int) -> torch.Tensor:
    """Masks or planes as models give them: large spots."""
    noise = torch.randn((*shape[:-2], 4, 5), generator=drawn).flatten(0, -3)
    planes = torch.nn.functional.interpolate(noise[None], size=shape[-2:], mode="bilinear")[0]
    return 8 * planes.view(shape)


def _boxes(count: int) -> torch.Tensor:
    corner = _rand(count, 2) * 60
    return torch.cat((corner, corner + 4 + _rand(count, 2) * 40), dim=1)


SIZES = [(40, 60), (50, 30)]
CLASSES = torch.randn((2, 12, 5), generator=drawn) * 3
MASKS = _smooth(2, 12, 20, 24)
MAP = (_rand(30, 40) * 5).long() - 1
IDS = (_rand(3, 20) * 4).long()
ALPHABET = ctc_alphabet(["_", "a", "b", "|"], blank="_")
# So large that torch's last bits on the host do not depend on how many planes a call resizes.
SQUARE = {"square": (80, 96), "shown": [(80, 80), (60, 96)], "sizes": [(70, 90), (100, 60)]}
BOXES, SCORES, LABELS = _boxes(300), _rand(300), (_rand(300) * 4).long()

# What is computed, of which tensors, and how often the host waits for the device at most.
CASES: dict[str, tuple[Callable[..., Any], list[torch.Tensor], int]] = {
    "semantic maps": (lambda x: vision.semantic_maps(x, sizes=SIZES), [MASKS], 0),
    "semantic maps, many planes at once": (lambda x: vision.semantic_maps(x), [MASKS], 0),
    "panoptic maps": (lambda *x: _of_maps(vision.panoptic_maps(*x, sizes=SIZES, threshold=0.4)), [CLASSES, MASKS], 1),
    "panoptic maps, at 384": (
        lambda *x: _of_maps(vision.panoptic_maps(*x, threshold=0.4, mask_size=(30, 30), compat=False)),
        [CLASSES, MASKS],
        1,
    ),
    "panoptic maps, none kept": (lambda *x: _of_maps(vision.panoptic_maps(*x, threshold=1.0)), [CLASSES, MASKS], 1),
    # One more an image with a kept query: ids of fused classes are counted on the host.
    "panoptic maps, fused": (
        lambda *x: _of_maps(vision.panoptic_maps(*x, sizes=SIZES, threshold=0.4, fuse={0, 1})),
        [CLASSES, MASKS],
        3,
    ),
    "pair maps": (lambda *x: _of_maps(vision.pair_maps(*x, sizes=SIZES, threshold=0.2)), [CLASSES, MASKS], 1),
    "instance maps": (lambda *x: _of_instances(*x, sizes=SIZES, threshold=0.2), [CLASSES, MASKS], 1),
    "instance maps, the best on top": (
        lambda *x: _of_instances(*x, sizes=SIZES, threshold=0.2, mask_size=(30, 30), compat=False),
        [CLASSES, MASKS],
        1,
    ),
    "instance maps, none": (lambda *x: _of_instances(*x, threshold=2.0), [CLASSES, MASKS], 1),
    "letterboxed panoptic maps": (
        lambda *x: _of_maps(vision.letterboxed_panoptic_maps(*x, **SQUARE, threshold=0.4)),
        [CLASSES, MASKS],
        1,
    ),
    "letterboxed instance maps": (
        lambda *x: _of_maps(vision.letterboxed_instance_maps(*x, **SQUARE, threshold=0.3)),
        [CLASSES, MASKS],
        1,
    ),
    "ranked maps": (lambda *x: _of_maps(vision.ranked_maps(*x, sizes=SIZES)), [CLASSES, MASKS], 1),
    "nms": (lambda *x: nms(*x, iou_threshold=0.5), [BOXES, SCORES], 1),
    "nms, groups": (lambda b, s, g: nms(b, s, iou_threshold=0.3, groups=g), [BOXES, SCORES, LABELS], 1),
    "nms, no boxes": (lambda *x: nms(*x, iou_threshold=0.5), [BOXES[:0], SCORES[:0]], 1),
    "soft nms": (lambda b, s, g: soft_nms(b, s, groups=g), [BOXES, SCORES, LABELS], 1),
    "mask statistics": (lambda x: _fields(vision.mask_statistics(x)), [MASKS[0] > 0], 0),
    "ids of a map": (vision.map_ids, [MAP], 1),
    "ids of a wide map": (vision.map_ids, [MAP * 100_000], 3),
    "masks of a map": (vision.id_masks, [MAP], 1),
    "statistics of a map": (lambda x: _fields(vision.id_statistics(x)[1]), [MAP], 1),
    "run lengths": (lambda x: vision.encode_masks(x).lists(), [MASKS[0] > 0], 1),
    # More places than there is room for: they are asked for again.
    "run lengths of noise": (lambda x: vision.encode_masks(x).lists(), [_rand(3, 30, 20) > 0.5], 3),
    "CTC": (
        lambda x: _emissions(collapse_ctc(frame_ids(x), ALPHABET)),
        [torch.nn.functional.one_hot(IDS, 4).float()],
        1,
    ),
}


def _of_maps(found: list[vision.Segmentation]) -> list[Any]:
    assert found
    return [_fields(each) for each in found]


def _of_instances(*logits: torch.Tensor, **options: Any) -> list[Any]:
    found = vision.instance_maps(*logits, **options)
    return [[*_fields(each.segments), each.masks, each.full_masks()] for each in found]


def _emissions(found: CtcTranscripts) -> list[torch.Tensor]:
    return [found.symbols, found.starts, found.ends, found.row_splits]


def _fields(columns: Any) -> list[Any]:
    return list(vars(columns).values())


@pytest.mark.parametrize("name", CASES)
def test_kernels_on_a_device(name: str) -> None:
    work, tensors, most = CASES[name]
    expected = work(*tensors)
    with pretend_cuda() as counts:
        given = [on_device(each) for each in tensors]
        counts.reset()
        found = work(*given)
        waits = counts.waits.total() + counts.late
        where = {**counts.where, **counts.late_where}
    torch.testing.assert_close(to_host(found), expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert waits <= most, where


SLOTTED = ("panoptic maps", "pair maps", "letterboxed panoptic maps", "letterboxed instance maps", "ranked maps")


@pytest.mark.parametrize("name", SLOTTED)
def test_more_kept_than_slots(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two slots some images are done again, from all that is kept, and with planes too large for slots all ask
    first: the CPU's answers both times."""
    work, tensors, _ = CASES[name]
    expected = work(*tensors)
    for constant, value in (("ROOM", 2), ("DEVICE_CHUNK_BYTES", 100)):
        with pretend_cuda() as counts, monkeypatch.context() as patch:
            patch.setattr(slots, constant, value)
            given = [on_device(each) for each in tensors]
            counts.reset()
            found = work(*given)
            waits = counts.waits.total() + counts.late
        torch.testing.assert_close(to_host(found), expected, rtol=1e-6, atol=1e-6, equal_nan=True)
        assert 2 <= waits <= 4


def test_good_masks_have_room() -> None:
    """Room for too few masks of "segment everything" is another wait, room for more is none: the CPU's candidates."""
    logits, scores = _smooth(3, 3, 20, 24), torch.linspace(0.5, 1.0, 9).view(3, 3)[:, [1, 2, 0]]
    options = {
        "image_size": (100, 90),
        "crop_box": None,
        "pad_size": None,
        "input_size": None,
        "pred_iou_thresh": 0.7,
        "stability_score_thresh": 0.5,
        "mask_threshold": 0.0,
        "stability_score_offset": 1.0,
    }
    expected = masks_on_host(logits, scores, **options)
    assert len(expected.scores) > 2
    for room, most in ((None, 2), (2, 3), (6, 1), (9, 1)):
        with pretend_cuda() as counts:
            given = on_device(logits), on_device(scores)
            counts.reset()
            launched = masks_on_host(*given, **options, room=room)
            found, good = launched.candidates(received(*launched.tensors()))
            assert counts.waits.total() + counts.late <= most, {**counts.where, **counts.late_where}
        assert good == 5 and found.runs.lists() == expected.runs.lists()
        assert torch.equal(found.scores, expected.scores) and torch.equal(found.boxes, expected.boxes)


def twins_for_kernels(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let panoptic maps go the kernel's way on the pretend device, with its twin in its place; the sizes asked for."""
    asked: list[tuple[int, int]] = []

    def tiles(planes: torch.Tensor, *given: Any) -> PanopticTiles:
        scores, order, count, size, threshold = given
        asked.append(size)
        return panoptic_twin(resize(planes, size), scores, order, count, threshold)

    monkeypatch.setattr(tiled_panoptic, "tiles_run", lambda device: True)
    monkeypatch.setattr(tiled_panoptic, "panoptic_tiles", tiles)
    return asked


TILED = {
    "plain": ({"sizes": SIZES, "threshold": 0.4}, 1),
    "at 30, none kept in one": ({"sizes": SIZES, "threshold": 0.97, "mask_size": (30, 30)}, 1),
    "none kept, corrected": ({"sizes": SIZES, "threshold": 1.0, "compat": False}, 1),
    # One more an image with a kept query: ids of fused classes are counted on the host.
    "fused": ({"sizes": SIZES, "threshold": 0.4, "fuse": {0, 1}}, 3),
    "none kept": ({"sizes": SIZES, "threshold": 1.0}, 1),
}


@pytest.mark.parametrize("name", TILED)
def test_panoptic_maps_of_the_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's segments with the twin in the kernel's place: nobody asks which queries are kept."""
    options, most = TILED[name]
    expected = _of_maps(vision.panoptic_maps(CLASSES, MASKS, **options))
    asked = twins_for_kernels(monkeypatch)
    with pretend_cuda() as counts:
        given = [on_device(each) for each in (CLASSES, MASKS)]
        counts.reset()
        found = _of_maps(vision.panoptic_maps(*given, **options))
        waits = counts.waits.total() + counts.late
    assert asked == SIZES
    torch.testing.assert_close(to_host(found), expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert waits <= most


def test_many_boxes_go_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit of the bits the blocks are settled on the device; both say the same."""
    expected = nms(BOXES, SCORES, iou_threshold=0.4, groups=LABELS)
    monkeypatch.setattr(import_module("afterlogits.postprocess.vision.nms"), "BITS_LIMIT", 10)
    with pretend_cuda():
        found = nms(*(on_device(each) for each in (BOXES, SCORES)), iou_threshold=0.4, groups=on_device(LABELS))
        assert to_host(found).tolist() == expected.tolist()


def test_torch_without_places_of_a_known_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.4 and 2.5 have nonzero_static on the CPU alone: run lengths then wait for the number, and the places."""

    def refused(*given: Any, **named: Any) -> Any:
        raise NotImplementedError("Could not run 'aten::nonzero_static' with arguments from the 'CUDA' backend.")

    masks = MASKS[0] > 0
    monkeypatch.setattr(run_lengths.torch, "nonzero_static", refused)
    with pretend_cuda():
        assert vision.encode_masks(on_device(masks)).lists() == vision.encode_masks(masks).lists()


def test_planes_that_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device the largest of each part is merged with that of the parts before it: ties to the first, NaN first."""
    from afterlogits.postprocess.vision import panoptic, upsampling

    for module in (upsampling, panoptic):
        monkeypatch.setattr(module, "DEVICE_CHUNK_BYTES", 4 * 40 * 60 * 3)
    planes = _smooth(1, 7, 20, 24).round()
    planes[0, 4, 3, 5], planes[0, 6, 3, 5] = torch.nan, torch.nan
    expected = vision.semantic_maps(planes, sizes=[(40, 60)])[0]
    segments = _of_maps(vision.panoptic_maps(CLASSES, MASKS, sizes=SIZES, threshold=0.4))
    with pretend_cuda():
        assert torch.equal(to_host(vision.semantic_maps(on_device(planes), sizes=[(40, 60)])[0]), expected)
        found = vision.panoptic_maps(on_device(CLASSES), on_device(MASKS), sizes=SIZES, threshold=0.4)
        torch.testing.assert_close(to_host(_of_maps(found)), segments, equal_nan=True)
