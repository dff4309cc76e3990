"""Frames of a video by number, from a file, a folder, a list or an array."""

import re

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers.pipelines.video_classification import read_video_pyav

from afterlogits.adapters.media.videos import read_frames

FRAMES = np.random.default_rng(0).integers(0, 255, (6, 8, 10, 3), dtype=np.uint8)


def write_clip(path, count=12):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(count):
            pixels = np.full((48, 64, 3), number * 20, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("indices", [[0, 3, 6, 9], [0, 0, 1, 1], [2], [10, 11, 12, 13]])
def test_the_frames_of_a_file_are_those_of_transformers(tmp_path, indices):
    path = write_clip(tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        theirs = read_video_pyav(container, np.array(indices))
    np.testing.assert_array_equal(np.stack(read_frames(path, indices)), theirs)
    np.testing.assert_array_equal(np.stack(read_frames(path.read_bytes(), indices)), theirs)


def test_folders_lists_and_arrays(tmp_path):
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"{number:03}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    for source in (tmp_path, str(tmp_path), [Image.fromarray(frame) for frame in FRAMES], FRAMES, torch.tensor(FRAMES)):
        np.testing.assert_array_equal(np.stack(read_frames(source, [1, 4])), FRAMES[[1, 4]])
    channels_first = torch.tensor(FRAMES).permute(0, 3, 1, 2) / 255
    np.testing.assert_array_equal(np.stack(read_frames(channels_first, [0])), FRAMES[:1])


def test_numbers_in_names_of_frames_are_numbers(tmp_path):
    for number in (9, 10, 100):
        Image.new("L", (2, 2), number).save(tmp_path / f"frame-{number}.png")
    assert [frame[0, 0, 0] for frame in read_frames(tmp_path, [0, 1, 2])] == [9, 10, 100]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"no video", "video must be one that PyAV can decode; got 8 bytes: "),
        ("nothing.mp4", "video must be a file that exists, a data URL or base64; got 'nothing.mp4'"),
        ([], "video must hold at least one frame; got none in list"),
        (np.zeros((2, 2, 3)), "video must be an array of 4 axes; got shape (2, 2, 3)"),
        ("http://a/b.mp4", "video must not be a web address unless allow_urls=True; got 'http://a/b.mp4'"),
    ],
)
def test_what_is_no_video_is_refused_by_name(source, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        read_frames(source, [0, 1])
