"""Run lengths against plain loops, against transformers' own functions, and against strings of pycocotools."""

import numpy as np
import pytest
import torch

from afterlogits.postprocess import vision
from afterlogits.postprocess.vision.run_lengths import compress, decompress
from tests.pretend_cuda.device import pretend_cuda

try:  # transformers 5 keeps the processors on Pillow in files of their own
    from transformers.models.mask2former import image_processing_pil_mask2former as row_major
    from transformers.models.sam import image_processing_pil_sam as column_major
except ImportError:
    from transformers.models.mask2former import image_processing_mask2former as row_major
    from transformers.models.sam import image_processing_sam as column_major


transformers_records = getattr(column_major, "_mask_to_rle", None) or column_major._mask_to_rle_pytorch  # version 4's


def draw_masks(seed):
    generator = torch.Generator().manual_seed(seed)
    count, height, width = (int(torch.randint(1, 9, (), generator=generator)) for _ in range(3))
    share = [0.0, 0.1, 0.5, 0.9, 1.0][seed % 5]
    masks = torch.rand(count, height, width, generator=generator) < share
    return masks.repeat_interleave(7, 1).repeat_interleave(5, 2) if seed % 2 else masks


# golden


def test_small_masks():
    """Down the columns of [[0, 1], [1, 1]]: 0, 1, 1, 1; all background is one run, all foreground follows a 0."""
    masks = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]])
    runs = vision.encode_masks(masks)
    assert runs.lists() == [[1, 3], [4], [0, 4]]
    assert runs.records()[0] == {"size": [2, 2], "counts": [1, 3]}
    assert runs.areas().tolist() == [3, 0, 4]
    assert vision.mask_runs(torch.tensor([[0, 1, 1], [1, 0, 0]])) == [2, 3]
    assert vision.mask_runs(torch.zeros(2, 2)) == []


STRINGS = {
    # pycocotools 2.0.11, mask.frPyObjects of the counts
    "13": [1, 3],
    "0T4": [0, 132],
    "Pb`n0": [1_000_000],
    "541O2O": [5, 4, 1, 3, 3, 2],
}


def test_strings_of_pycocotools():
    for text, counts in STRINGS.items():
        assert compress(np.array(counts), np.array([0, len(counts)])) == [text]
        assert decompress(text).tolist() == counts


def coco_string(counts):
    """The C function of the COCO API, number by number."""
    text = ""
    for place, value in enumerate(counts):
        value = value - counts[place - 2] if place > 2 else value
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | (0x20 if more else 0)) + 48)
    return text


# property


def test_masks_come_back():
    for seed in range(80):
        masks = draw_masks(seed)
        runs = vision.encode_masks(masks)
        assert torch.equal(runs.decode(), masks)
        assert torch.equal(runs.areas(), masks.sum(dim=(1, 2)))
        again = vision.read_run_lengths(runs.compressed())
        assert again.lists() == runs.lists()
        assert vision.read_run_lengths(runs.records()).lists() == runs.lists()
        assert runs.select([len(runs) - 1, 0]).lists() == [runs.lists()[-1], runs.lists()[0]]


def test_a_device_s_changes_are_the_host_s():
    """``encode_masks`` of 60 drawn masks on a pretend device, which waits for the changes once."""
    expected = [vision.encode_masks(draw_masks(seed)) for seed in range(60)]
    with pretend_cuda() as counts:
        for seed, host in enumerate(expected):
            masks = draw_masks(seed).to("cuda")
            counts.reset()
            found = vision.encode_masks(masks)
            assert (counts.waits, counts.late) == ({}, 1)
            for ours, theirs in ((found.counts, host.counts), (found.bounds, host.bounds), (found.size, host.size)):
                assert np.array_equal(ours, theirs), seed


def test_strings_are_those_of_the_coco_api():
    generator = np.random.default_rng(0)
    for size in (1, 2, 3, 4, 50):
        for most in (2, 40, 5_000, 40_000_000):
            counts = generator.integers(0, most, size)
            text = compress(counts, np.array([0, size]))[0]
            assert text == coco_string(counts.tolist())
            assert decompress(text).tolist() == counts.tolist()
            assert decompress(text.encode()).tolist() == counts.tolist()


# parity


def test_transformers_counts_the_same():
    for seed in range(80):
        masks = draw_masks(seed)
        theirs = transformers_records(masks)
        assert vision.encode_masks(masks).records() == theirs
        decoded = vision.read_run_lengths(theirs).decode().numpy()
        for ours, record in zip(decoded, theirs, strict=True):
            np.testing.assert_array_equal(ours, column_major._rle_to_mask(record))
            assert ours.strides == column_major._rle_to_mask(record).strides


def test_transformers_lists_the_same_runs():
    for seed in range(80):
        segmentation = draw_masks(seed).sum(dim=0)
        segmentation = (segmentation - 1).float() if seed % 3 else segmentation.int()
        _, ours = vision.map_runs(segmentation)
        assert ours == row_major.convert_segmentation_to_rle(segmentation)


def test_pycocotools_writes_the_same():
    """Where pycocotools is installed; it is no dependency."""
    pycocotools = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    for seed in range(40):
        masks = draw_masks(seed)
        theirs = pycocotools.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))
        ours = vision.encode_masks(masks).compressed()
        assert [record["counts"] for record in ours] == [record["counts"].decode() for record in theirs]


# errors


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"masks must be \[K, H, W\]; got shape \[2, 2\]"):
        vision.encode_masks(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"masks must have at least one pixel; got shape \[1, 0, 2\]"):
        vision.encode_masks(torch.zeros(1, 0, 2))
    with pytest.raises(ValueError, match=r"counts must add up to 4; got 3 in row 0"):
        vision.read_run_lengths([{"size": [2, 2], "counts": [3]}])
    with pytest.raises(ValueError, match=r"records must have one size; got \[\(1, 1\), \(2, 2\)\]"):
        vision.read_run_lengths([{"size": [2, 2], "counts": [4]}, {"size": [1, 1], "counts": [1]}])
    with pytest.raises(ValueError, match="records must hold at least one mask; got none"):
        vision.read_run_lengths([])
    with pytest.raises(ValueError, match="counts must be a COCO string; got 'P'"):
        decompress("P")
