"""Frames of a transducer's tokens from the durations of its steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afterlogits.postprocess.audio.transducer import emission_frames

DURATIONS = st.lists(st.integers(0, 4), min_size=1, max_size=30)


def test_a_token_takes_the_frames_it_moves_on_by():
    """Before the third step 2 + 0 frames have gone by."""
    assert emission_frames(torch.tensor([[2, 0, 3]]), spans=True).tolist() == [[[0, 2], [2, 2], [2, 5]]]


def test_without_durations_of_its_own_a_token_takes_one_frame():
    assert emission_frames(torch.tensor([0, 0, 1, 1]), spans=False).tolist() == [[0, 1], [0, 1], [0, 1], [1, 2]]


@given(DURATIONS)
def test_frames_are_running_sums(durations):
    """Against a loop."""
    expected, frame = [], 0
    for duration in durations:
        expected.append([frame, frame + duration])
        frame += duration
    assert emission_frames(torch.tensor(durations), spans=True).tolist() == expected


def test_durations_are_whole_numbers():
    with pytest.raises(TypeError, match=r"^durations must be whole numbers; got torch.float32$"):
        emission_frames(torch.zeros(2), spans=True)
