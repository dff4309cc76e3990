"""Whisper's times of tokens from the cross-attentions of a generation, by the kernels of ``postprocess.audio``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from ...postprocess.audio.attention_times import follow_beams, select_heads, smooth_attentions, token_times
from .needed_attentions import NeededAttentions

_alone: ContextVar[bool] = ContextVar("rows_timed_alone", default=False)
_kept: ContextVar[bool] = ContextVar("attentions_kept", default=False)
KEPT = "word_attention"
"""Under this name the result of each window holds its smoothed attentions: row r is of token r + 1 after the prompt."""


@contextmanager
def rows_timed_alone() -> Iterator[None]:
    """Within, a row of a batch has the times it has alone. transformers aligns all rows up to the longest one's last
    step, so that what a row has attended to after its end moves its times."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def clips_alone() -> bool:
    """Whether a row of a batch must have the answer it has alone: within ``rows_timed_alone``."""
    return _alone.get()


@contextmanager
def attentions_kept(keep: bool = True) -> Iterator[None]:
    """Within, what the times of tokens are read from stays in the results (``KEPT``): [T, F] of every window."""
    token = _kept.set(keep)
    try:
        yield
    finally:
        _kept.reset(token)


class WordTimes(NeededAttentions):
    """Mixed in before a model of Whisper's family."""

    config: Any

    def _extract_token_timestamps(
        self,
        generate_outputs: Any,
        alignment_heads: Any,
        time_precision: float = 0.02,
        num_frames: Any = None,
        num_input_ids: int | None = None,
    ) -> Tensor:
        """The time [B, T + 1] at which each token ends, in seconds; tokens that were given have time 0."""
        given = num_input_ids or 0
        weights = getattr(generate_outputs, "alignment_weights", None)
        if weights is None:
            weights = select_heads(generate_outputs.cross_attentions, [tuple(head) for head in alignment_heads])
        beams = generate_outputs.get("beam_indices")
        if beams is not None:
            weights = follow_beams(weights, beams, given)
        width = self.config.median_filter_width
        rows, available = len(weights), weights.shape[-1]
        frames = _frames(num_frames, rows, available, alone=_alone.get())
        groups = [(list(range(rows)), weights, frames)]
        if _alone.get() and rows > 1:
            steps = _own_steps(generate_outputs.sequences, beams, given, self.config.eos_token_id, weights.shape[2])
            groups = _of_like_length(weights, steps, frames)
        times = weights.new_zeros(rows, weights.shape[2] + 1, dtype=torch.float32)
        kept = weights.new_zeros(rows, max(weights.shape[2] - given, 0), available) if _kept.get() else None
        for own, part, chosen in groups:
            count = part.shape[2]
            times[own, : count + 1] = token_times(
                part, num_input_ids=given, frames=chosen, time_precision=time_precision, filter_width=width
            )
            if kept is not None and count > given:
                kept[own, : count - given] = smooth_attentions(part[:, :, given:], frames=chosen, filter_width=width)
        if kept is not None:
            generate_outputs[KEPT] = kept
        return times


def _of_like_length(
    weights: Tensor, steps: Sequence[int], frames: int | list[int] | None
) -> list[tuple[list[int], Tensor, int | list[int] | None]]:
    """The rows of each number of steps, their weights up to there, and the frames that count for them."""
    groups = []
    for count in sorted(set(steps)):
        own = [row for row, each in enumerate(steps) if each == count]
        chosen = frames if not isinstance(frames, list) else [frames[row] for row in own]
        groups.append((own, weights[own, :, :count], chosen))
    return groups


def _frames(num_frames: Any, rows: int, available: int, *, alone: bool) -> int | list[int] | None:
    """Attention positions that hold sound, two frames each: one number, one for every row, or None for all.

    A window that the model has put beyond the end of the sound has a negative number of frames. transformers slices by
    it, which leaves positions at the beginning; twice where all rows (or one alone) have one number.
    """
    if num_frames is None or isinstance(num_frames, int):
        return None if num_frames is None else _sliced(available, num_frames // 2)
    listed: Sequence[Any] = num_frames.tolist() if hasattr(num_frames, "tolist") else list(num_frames)
    ends = [int(count) // 2 for count in listed for _ in range(rows // len(listed))]
    twice = alone or len(set(listed)) == 1
    return [_sliced(_sliced(available, end), end) if twice else _sliced(available, end) for end in ends]


def _sliced(length: int, end: int) -> int:
    """How many of ``length`` values ``[:end]`` leaves."""
    return len(range(length)[:end])


def _own_steps(sequences: Tensor, beams: Tensor | None, given: int, end: Any, longest: int) -> list[int]:
    """How many attended positions each row has up to its own end."""
    if beams is not None:
        counts = (beams != -1).sum(-1) + max(given - 1, 0)
    else:
        generated = sequences[:, given:]
        ends = torch.as_tensor(end, device=sequences.device).reshape(-1)
        ended = torch.isin(generated, ends)
        # argmax of no end is 0: rows that never end have all steps.
        first = torch.where(ended.any(-1), ended.int().argmax(-1) + 1, generated.shape[1])
        counts = first + given - 1
    return [min(int(count), longest) for count in counts.tolist()]
