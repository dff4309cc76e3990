"""What the host knows of a batch under speculation: each row's tokens, how far it is, which rows go on and until when.

A round tells the host one small tensor (``hear``); everything else follows from it here, in numpy, so that a device
is asked for nothing else. What the model needs of it goes back from pinned memory. Axes: B rows, N of them alive, T
drafts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..options.numpy_or_torch import sent
from ..search.history import History
from ..search.progress import Recorder
from ..search.stopping import Stopping, read_verdict

__all__ = ["Ints", "RowBooks", "hear"]

Ints: TypeAlias = NDArray[np.int64]
_NO_LIMIT = 2**62


def hear(*tensors: Tensor) -> list[Tensor]:
    """Tensors [N, ...] of integers or floats on the host, those of a device by one copy: one wait for all of them.

    What is on the host already is handed back as it is. Floats of a device arrive as float64.
    >>> hear(torch.tensor([[1, 2]]), torch.tensor([0.5]))
    [tensor([[1, 2]]), tensor([0.5000])]
    """
    columns = [tensor.reshape(len(tensor), -1) for tensor in tensors if tensor.device.type != "cpu"]
    if not columns:
        return list(tensors)
    words = [each.double().view(torch.int64) if each.is_floating_point() else each.long() for each in columns]
    told = torch.cat(words, dim=1).cpu()
    heard, start = list(tensors), 0
    for place, tensor in enumerate(tensors):
        if tensor.device.type != "cpu":
            end = start + tensor[:1].numel()
            values = told[:, start:end].contiguous()
            start = end
            heard[place] = (values.view(torch.float64) if tensor.is_floating_point() else values).reshape(tensor.shape)
    return heard


class RowBooks:
    """The tokens of every row [B, W] and how many of them are known; ``alive`` [N] are the rows in the model.

    lockstep: all rows keep one length; ``there`` are their tokens on the device as well, for rules and criteria.
    Reads the prompt and the options of ``stopping`` once.
    """

    def __init__(self, prompt_ids: Tensor, stopping: Stopping, pad_token_id: Tensor | None, *, lockstep: bool):
        batch_size, length = prompt_ids.shape
        self.device = prompt_ids.device
        self.prompt_length = self.longest = length
        self.stopping, self.lockstep, self.rounds = stopping, lockstep, 0
        self.pad = 0 if pad_token_id is None else int(pad_token_id)
        self.ids: Ints = np.full((batch_size, 2 * length + 64), self.pad, dtype=np.int64)
        self.ids[:, :length] = prompt_ids.cpu().numpy()
        self.all_lengths: Ints = np.full(batch_size, length, dtype=np.int64)
        self.alive: Ints = np.arange(batch_size)
        self.finished = np.zeros(batch_size, dtype=bool)  # of the rows alive
        self.there = History(prompt_ids) if lockstep else None
        self.rows_there = sent(torch.from_numpy(self.alive), self.device)
        limit = _NO_LIMIT if stopping.max_length is None else stopping.max_length
        own = _on_host(stopping.row_max_length)
        self.limits: Ints = np.full(batch_size, limit) if own is None else np.minimum(own, limit)
        self.ends = _on_host(stopping.eos_token_id)  # [E]
        self.row_ends = _on_host(stopping.row_eos_token_id)  # [B, E]

    @property
    def lengths(self) -> Ints:
        """How many tokens each row alive has, [N]."""
        return self.all_lengths[self.alive]

    def known(self) -> tuple[Tensor, Tensor]:
        """Token ids [N, W] of the rows alive and how many of each are known, both on the host."""
        everyone = len(self.alive) == len(self.ids)
        ids = self.ids if everyone else self.ids[self.alive]
        return torch.from_numpy(ids[:, : self.longest]), torch.from_numpy(self.lengths)

    def pending(self) -> Tensor:
        """The last token of each row alive, [N, 1]; on the host."""
        return torch.from_numpy(self.ids[self.alive, self.lengths - 1][:, None])

    def steps(self) -> Tensor:
        """How many new tokens each of the B rows has, on the device."""
        return sent(torch.from_numpy(self.all_lengths - self.prompt_length), self.device)

    def room(self) -> int:
        """How many guesses can be of use: one token always comes from the model itself."""
        return max(int((self.limits - self.all_lengths)[self.alive].max()) - 1, 0)

    def over(self) -> bool:
        """Whether no row goes on."""
        if self.finished.all():
            return True
        return self.stopping.everywhere(int(self.lengths[~self.finished].min()))

    def leave(self) -> Tensor | None:
        """Let finished rows leave: the places of those that stay, on the host, or None where all stay."""
        if not self.finished.any():
            return None
        keep = np.flatnonzero(~self.finished)
        self.alive, self.finished = self.alive[keep], self.finished[keep]
        self.rows_there = sent(torch.from_numpy(self.alive), self.device)
        return torch.from_numpy(keep)

    def output(self) -> Tensor:
        """Prompt and new tokens of all rows, on the device."""
        if self.there is not None:
            return self.there.ids.clone()
        return sent(torch.from_numpy(self.ids[:, : int(self.all_lengths.max())].copy()), self.device)

    def extend(
        self,
        new: Tensor,
        counts: Tensor,
        raw: Tensor,
        scores: Tensor,
        recorder: Recorder | None,
        on_tokens: Callable[[Tensor], None] | None,
    ) -> Ints:
        """Take up to ``counts`` of the ``new`` tokens [N, T + 1]; return how many of them count for the model.

        new, counts: on the host. raw, scores: [N, T + 1, V] on the device, for the recorder and for criteria.
        """
        self.rounds += 1
        news, limit = new.numpy(), counts.numpy()
        ends = self._ends(news)
        first_end = np.where(ends.any(axis=1), ends.argmax(axis=1), news.shape[1])
        if self.lockstep:
            return self._extend_together(news, limit, first_end, raw, scores, recorder, on_tokens)
        taken = np.where(self.finished, 0, np.minimum(limit, first_end + 1))
        ends_here = (first_end < taken) & ~self.finished
        lengths = self.lengths
        self._reserve(int((lengths + taken).max()))
        self.longest = max(self.longest, int((lengths + taken).max()))
        places, columns = np.nonzero(np.arange(news.shape[1]) < taken[:, None])
        self.ids[self.alive[places], lengths[places] + columns] = news[places, columns]
        self.all_lengths[self.alive] = lengths + taken
        self.finished = self.finished | ends_here
        return np.where(self.finished, 0, taken)

    def _ends(self, new: Ints) -> NDArray[np.bool_]:
        """At which of the new tokens a row would end, by its length or an EOS; [N, T + 1]."""
        place = np.arange(new.shape[1])
        ends: NDArray[np.bool_] = self.lengths[:, None] + place + 1 >= self.limits[self.alive, None]
        if self.ends is not None:
            ends |= np.isin(new, self.ends)
        if self.row_ends is not None:
            ends |= (new[:, :, None] == self.row_ends[self.alive][:, None, :]).any(axis=2)
        return ends

    def _extend_together(
        self,
        new: Ints,
        counts: Ints,
        first_end: Ints,
        raw: Tensor,
        scores: Tensor,
        recorder: Recorder | None,
        on_tokens: Callable[[Tensor], None] | None,
    ) -> Ints:
        """As ``extend`` with one count for all rows; a row that ends is padded as far as the others come."""
        ends_here = (first_end < counts) & ~self.finished
        length = self.longest
        together = self._together(counts, first_end, ends_here, new.shape[1])
        self._reserve(length + together)
        for position in range(together):
            if recorder is not None:
                recorder.logits(raw[:, position])
                recorder.step(scores[:, position])
            column = np.where(self.finished, self.pad, new[:, position])
            self.ids[:, length + position] = column
            self.longest = length + position + 1
            self.finished = self.finished | (ends_here & (first_end == position))
            if on_tokens is not None:
                on_tokens(torch.from_numpy(column))
            if self.stopping.criteria:
                self._tell_device(length + position)
                self._ask_criteria(recorder)
                if self.finished.all():
                    break
        if not self.stopping.criteria:
            self._tell_device(length)
        self.all_lengths[:] = self.longest
        return np.full_like(counts, self.longest - length)

    def _together(self, counts: Ints, first_end: Ints, ends_here: NDArray[np.bool_], width: int) -> int:
        """How many of ``width`` tokens all rows take; where every row ends, the last of them says how far they go."""
        if (self.finished | ends_here).all():
            return int(np.where(ends_here, first_end + 1, 0).max())
        return int(np.where(self.finished | ends_here, width, counts).min())

    def _tell_device(self, start: int) -> None:
        """Append the tokens from position ``start`` on to those of the device."""
        assert self.there is not None
        self.there.append(sent(torch.from_numpy(self.ids[:, start : self.longest].copy()), self.device))

    def _ask_criteria(self, recorder: Recorder | None) -> None:
        """Each criterion says which rows end with the last token; one that answers on the device is waited for."""
        assert self.there is not None
        like = torch.from_numpy(self.finished)
        for criterion in self.stopping.criteria:
            done = criterion(self.there.ids.contiguous(), getattr(recorder, "scores", None))
            self.finished = self.finished | read_verdict(done, like).numpy()

    def _reserve(self, longest: int) -> None:
        """Make room for rows of this length."""
        if longest > self.ids.shape[1]:
            more = np.full((self.ids.shape[0], longest), self.pad, dtype=np.int64)
            self.ids = np.concatenate((self.ids, more), axis=1)


def _on_host(values: Tensor | None) -> Any:
    return None if values is None else values.cpu().numpy()
