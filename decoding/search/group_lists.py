"""What a step of a group beam search chose, and the lists of finished hypotheses that it enters.

The lists are plain Python: they change only when a beam ends, and a step sends what they need over in one copy.
Axes: B items, G groups, K beams of an item, S = K / G beams of a group, C candidates of a group.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .beam_candidates import Candidates
from .history import History
from .hypotheses import Hypothesis, NBest
from .stopping import hits_token

__all__ = ["Choice", "GroupLists"]


@dataclass(frozen=True)
class _Row:
    """One group of one item on the host: scores of its candidates; ends and origins of the first S; parents of S, and
    the tokens that they go on with."""

    scores: list[float]
    ends: list[bool]
    origins: list[int]
    parents: list[int]
    tokens: list[int]

    @classmethod
    def of(cls, row: list[float], count: int, size: int) -> "_Row":
        """From one row of ``Choice.packed``: count candidates, then four parts of ``size`` numbers each."""
        ends, *whole = (row[count + part * size : count + (part + 1) * size] for part in range(4))
        return cls(row[:count], [bool(end) for end in ends], *([*map(int, part)] for part in whole))


@dataclass(frozen=True)
class Choice:
    """What the groups chose: per group its candidates and its parents [B, S]; all groups' scores and tokens [B, K]."""

    considered: list[Candidates]
    parents: list[Tensor]
    scores: Tensor
    tokens: Tensor

    def moves(self) -> Tensor:
        """Which row [B * K] each beam continues."""
        (batch_size, group_size), num_groups = self.parents[0].shape, len(self.parents)
        rows = torch.arange(0, batch_size * num_groups * group_size, group_size, device=self.tokens.device)
        return (torch.stack(self.parents, dim=1) + rows.view(batch_size, num_groups, 1)).flatten()

    def packed(self, eos_token_id: Tensor | None) -> list[list[_Row]]:
        """What the lists need to know of every item and group, in one copy to the host."""
        group_size = self.parents[0].shape[1]
        scores = torch.stack([scores for scores, _, _ in self.considered], dim=1)  # [B, G, C]
        origins = torch.stack([origin[:, :group_size] for _, origin, _ in self.considered], dim=1)
        ends = torch.zeros_like(origins, dtype=torch.bool)
        if eos_token_id is not None:
            ends = hits_token(torch.stack([ids[:, :group_size] for _, _, ids in self.considered], dim=1), eos_token_id)
        parents, tokens = torch.stack(self.parents, dim=1), self.tokens.view(origins.shape)
        columns = (scores.double(), ends.double(), origins.double(), parents.double(), tokens.double())
        count = scores.shape[2]
        return [[_Row.of(row, count, group_size) for row in item] for item in torch.cat(columns, dim=2).tolist()]


class GroupLists:
    """The finished hypotheses of every item and group, which groups are done [B, G], and the traces of the beams."""

    def __init__(
        self,
        empty: NBest,
        shape: tuple[int, int],
        eos_token_id: Tensor | None,
        pad_token_id: int | None,
        with_traces: bool,
    ):
        """Lists like ``empty``, whose size is that of a group, for ``shape``: items and groups of each."""
        num_items, num_groups = shape
        self.items = [[replace(empty, found=[]) for _ in range(num_groups)] for _ in range(num_items)]
        self.eos_token_id, self.pad_token_id, self.group_size = eos_token_id, pad_token_id, empty.size
        self.done = torch.zeros(num_items, num_groups, dtype=torch.bool, device="cpu")
        self.num_candidates = max(2, 1 + (0 if eos_token_id is None else eos_token_id.shape[0])) * self.group_size
        untraced: list[tuple[int, ...]] = [()] * (num_items * self.group_size)
        self.traces = [list(untraced) for _ in range(num_groups)] if with_traces else None

    def collect(self, chosen: Choice, history: History) -> list[int]:
        """Enter the candidates that end and note which groups are done; returns the tokens chosen, of all beams.

        ``history`` is before the step.
        """
        rows = chosen.packed(self.eos_token_id)
        was_done = self.done.tolist()
        for group in range(len(chosen.parents)):
            self._collect_group(group, [item[group] for item in rows], [item[group] for item in was_done], history)
        if self.pad_token_id is None and bool(self.done.any() & ~self.done.all()):
            raise ValueError("pad_token_id must be given when some items finish before others; got None")
        return [token for item in rows for row in item for token in row.tokens]

    def _collect_group(self, group: int, rows: list[_Row], was_done: list[bool], history: History) -> None:
        """The same of one group: ``rows`` and ``was_done`` are of its items."""
        length = history.length + 1 - history.prompt_length
        for item, row in enumerate(rows):
            if was_done[item]:
                continue
            found = self.items[item][group]
            self._enter(found, row, item, group, history, length)
            if found.is_done(max(row.scores), length=length):
                self.done[item, group] = True
        if self.traces is not None:
            self.traces[group] = self._moved(self.traces[group], rows, was_done)

    def _enter(self, found: NBest, row: _Row, item: int, group: int, history: History, length: int) -> None:
        """The candidates of one group that end; only its first ``group_size`` may."""
        for rank in range(self.group_size):
            if not row.ends[rank]:
                continue
            origin = row.origins[rank]
            beam = item * self.group_size + origin
            where = (item * len(self.items[item]) + group) * self.group_size + origin
            # Read from one table of all groups, the groups before this one already a step further.
            trace = None if self.traces is None else (*self.traces[0][beam], beam)
            found.add(history.ids[where].clone(), row.scores[rank], length=length, beam_indices=trace)

    def _moved(self, old: list[tuple[int, ...]], rows: list[_Row], was_done: list[bool]) -> list[tuple[int, ...]]:
        """The traces of one group's beams after the step."""
        new = []
        for item, row in enumerate(rows):
            for beam in range(self.group_size):
                origin = 0 if was_done[item] else row.parents[beam] + item * self.group_size
                new.append((*old[origin], origin))
        return new

    def all_found(self) -> list[list[Hypothesis]]:
        """Every item's hypotheses, all groups one after another."""
        return [[hypothesis for group in item for hypothesis in group.found] for item in self.items]

    def add_running(self, beam_scores: Tensor, history: History) -> None:
        """The search is over: running beams of groups that are not done are hypotheses too."""
        totals = beam_scores.flatten().tolist()
        flat = None if self.traces is None else [trace for group in self.traces for trace in group]
        length = history.length - history.prompt_length
        row = 0
        for item, groups in enumerate(self.items):
            for group, found in enumerate(groups):
                for _ in range(self.group_size):
                    if not self.done[item, group]:
                        trace = None if flat is None else flat[row]
                        found.add(history.ids[row], totals[row], length=length, beam_indices=trace)
                    row += 1
