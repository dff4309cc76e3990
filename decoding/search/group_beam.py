"""Group (diverse) beam search: beams in groups, each group penalised for the tokens the groups before it just took.

Source: Vijayakumar et al. 2016, arXiv:1610.02424. Tokens, scores and beam indices are those of transformers 4.55.4.
Axes: B items, G groups, K beams of an item, S = K / G beams of a group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..options.numpy_or_torch import sent
from .beam_candidates import Candidates
from .group_candidates import Few, Whole, apply_diversity_penalty
from .history import History
from .hypotheses import BeamOutput, NBest, write_out
from .progress import Recorder
from .score_rules import ScoreRule
from .step_model import StepModel
from .stopping import Stopping, hits_token

__all__ = ["apply_diversity_penalty", "group_beam_search"]


@dataclass(frozen=True)
class _Choice:
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

    def packed(self, eos_token_id: Tensor | None) -> list[list["_Row"]]:
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
        ends, *whole = (row[count + part * size : count + (part + 1) * size] for part in range(4))
        return cls(row[:count], [bool(end) for end in ends], *([*map(int, part)] for part in whole))


def group_beam_search(
    model: StepModel,
    prompt_ids: Tensor,
    stopping: Stopping,
    *,
    num_beams: int,
    num_beam_groups: int,
    diversity_penalty: float = 0.0,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
    num_return_sequences: int = 1,
    eos_token_id: Tensor | None = None,
    pad_token_id: int | None = None,
    before_diversity: Sequence[ScoreRule] = (),
    after_diversity: Sequence[ScoreRule] = (),
    recorder: Recorder | None = None,
    with_beam_indices: bool = False,
) -> BeamOutput:
    """The best ``num_return_sequences`` hypotheses of every item, over all its groups.

    prompt_ids: [B * K, P], each item's prompt K times, which is what ``model`` was given. before_diversity and
    after_diversity: what the log-probabilities of one group pass through around the penalty; they see that group's
    token ids [B * S, T]. with_beam_indices: also say which beam each token continued, numbered as transformers 4.55.4
    does: within the group, and read from the first group's table, which is right only for one item and one group.
    Items whose list is full are fed the pad token, which later groups of the item are penalised for.
    Reads device values once a step, those of all groups together.
    """
    rows, prompt_length = prompt_ids.shape
    _check(rows, num_beams, num_beam_groups, diversity_penalty)
    budget = None if stopping.max_length is None else stopping.max_length - prompt_length
    lists = _Lists(
        [
            [
                NBest(num_beams // num_beam_groups, length_penalty, early_stopping, budget)
                for _ in range(num_beam_groups)
            ]
            for _ in range(rows // num_beams)
        ],
        eos_token_id,
        pad_token_id,
        with_beam_indices,
    )
    diversity = _Diversity(diversity_penalty, num_beam_groups, before_diversity, after_diversity)
    beam_scores = torch.full((rows // num_beams, num_beams), -1e9, device=prompt_ids.device)
    beam_scores[:, :: num_beams // num_beam_groups] = 0.0
    history = History(prompt_ids)
    reorder = getattr(model, "reorder_beams", model.select_rows)
    logits = model.prefill()
    while True:
        if recorder is not None:
            logits = recorder.logits(logits)
        log_probs = torch.log_softmax(logits, dim=-1, out=logits)
        chosen = diversity.choose(log_probs, beam_scores, lists, history, recorder)
        del logits, log_probs
        beam_scores = chosen.scores
        tokens = lists.collect(chosen, history)
        moves, token_ids = chosen.moves(), chosen.tokens.flatten()
        reorder(moves)
        history.select_rows(moves)
        history.append(token_ids)
        if bool(lists.done.all()) or _all_stop(stopping, token_ids, tokens, history, recorder):
            break
        logits = model.step(token_ids)
    lists.add_running(beam_scores, history)
    return write_out(
        [[hypothesis for group in item for hypothesis in group.found] for item in lists.items],
        num_return_sequences=num_return_sequences,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        max_length=stopping.max_length,
        device=prompt_ids.device,
    )


@dataclass(frozen=True)
class _Diversity:
    """The penalty between the groups, and the rules around it."""

    penalty: float
    num_groups: int
    before: Sequence[ScoreRule]
    after: Sequence[ScoreRule]

    def choose(
        self, log_probs: Tensor, beam_scores: Tensor, lists: "_Lists", history: History, recorder: Recorder | None
    ) -> _Choice:
        """What the groups take, from their few best tokens where that is certain, else from whole scores."""
        finished = sent(lists.done, log_probs.device)
        search = (log_probs, beam_scores, self.penalty, self.num_groups, lists.num_candidates)
        # On a device the question whether a few decide would be a wait.
        if recorder is None and not self.before and not self.after and log_probs.device.type == "cpu":
            few = Few(*search)
            if few.enough:
                chosen = _choose(few.of_group, finished, lists)
                if not bool((torch.stack(few.tied, dim=1) & ~finished).any()):
                    return chosen
        shape = (*finished.shape, lists.group_size, log_probs.shape[1])
        processed = None if recorder is None else log_probs.new_empty(shape)
        whole = Whole(*search, history.ids, self.before, self.after, processed)
        chosen = _choose(whole.of_group, finished, lists)
        if recorder is not None and processed is not None:
            recorder.step(processed.view(log_probs.shape[0], -1))
        return chosen


def _check(rows: int, num_beams: int, num_beam_groups: int, diversity_penalty: float) -> None:
    if num_beams < 2:
        raise ValueError(f"num_beams must be at least 2; got {num_beams}")
    if not 1 <= num_beam_groups <= num_beams or num_beams % num_beam_groups:
        raise ValueError(f"num_beam_groups must divide num_beams = {num_beams}; got {num_beam_groups}")
    if diversity_penalty < 0.0:
        raise ValueError(f"diversity_penalty must be at least 0; got {diversity_penalty}")
    if rows % num_beams:
        raise ValueError(f"prompt_ids must have a multiple of num_beams = {num_beams} rows; got {rows}")


def _choose(candidates: Callable[[int, Tensor], Candidates], finished: Tensor, lists: "_Lists") -> _Choice:
    """Let one group after another take its tokens; ``candidates`` gives a group's, knowing those taken before it.

    finished: [B, G], groups that go on with padding.
    """
    batch_size, num_groups = finished.shape
    device, group_size = finished.device, lists.group_size
    taken = torch.zeros(batch_size, 0, dtype=torch.long, device=device)
    considered, parents, scores = [], [], []
    for group in range(num_groups):
        found = candidates(group, taken)
        best, parent, token = _continue_beams(*found, lists.eos_token_id, group_size)
        over = finished[:, group, None]
        token = token.masked_fill(over, 0 if lists.pad_token_id is None else lists.pad_token_id)
        taken = torch.cat((taken, token), dim=1)
        considered.append(found)
        scores.append(best.masked_fill(over, 0.0))
        parents.append(torch.where(over, torch.arange(group_size, device=device), parent))
    return _Choice(considered, parents, torch.cat(scores, dim=1), taken)


def _continue_beams(
    scores: Tensor, parents: Tensor, token_ids: Tensor, eos_token_id: Tensor | None, group_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The first ``group_size`` candidates that do not end, in order."""
    if eos_token_id is None:
        return scores[:, :group_size], parents[:, :group_size], token_ids[:, :group_size]
    ends = hits_token(token_ids, eos_token_id)
    rank = torch.arange(ends.shape[1], device=ends.device) + ends.long() * ends.shape[1]
    order = rank.argsort(dim=1)[:, :group_size]
    return scores.gather(1, order), parents.gather(1, order), token_ids.gather(1, order)


class _Lists:
    """The finished hypotheses of every item and group, which groups are done [B, G], and the traces of the beams."""

    def __init__(
        self, items: list[list[NBest]], eos_token_id: Tensor | None, pad_token_id: int | None, with_traces: bool
    ):
        self.items, self.eos_token_id, self.pad_token_id = items, eos_token_id, pad_token_id
        self.group_size = items[0][0].size
        num_groups = len(items[0])
        self.done = torch.zeros(len(items), num_groups, dtype=torch.bool)
        self.num_candidates = max(2, 1 + (0 if eos_token_id is None else eos_token_id.shape[0])) * self.group_size
        empty: list[tuple[int, ...]] = [()] * (len(items) * self.group_size)
        self.traces = [list(empty) for _ in range(num_groups)] if with_traces else None

    def collect(self, chosen: _Choice, history: History) -> list[int]:
        """Enter the candidates that end and note which groups are done; returns the tokens chosen, of all beams.

        ``history`` is before the step.
        """
        rows = chosen.packed(self.eos_token_id)
        was_done = self.done.tolist()
        length = history.length + 1 - history.prompt_length
        for group in range(len(chosen.parents)):
            for item, groups in enumerate(self.items):
                if was_done[item][group]:
                    continue
                self._enter(groups[group], rows[item][group], item, group, history, length)
            for item, groups in enumerate(self.items):
                best = max(rows[item][group].scores)
                if not was_done[item][group] and groups[group].is_done(best, length=length):
                    self.done[item, group] = True
            if self.traces is not None:
                self.traces[group] = self._moved(self.traces[group], [row[group] for row in rows], was_done, group)
        if self.pad_token_id is None and bool(self.done.any() & ~self.done.all()):
            raise ValueError("pad_token_id must be given when some items finish before others; got None")
        return [token for item in rows for row in item for token in row.tokens]

    def _enter(self, found: NBest, row: "_Row", item: int, group: int, history: History, length: int) -> None:
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

    def _moved(
        self, old: list[tuple[int, ...]], rows: list["_Row"], was_done: list[list[bool]], group: int
    ) -> list[tuple[int, ...]]:
        """The traces of one group's beams after the step."""
        new = []
        for item, row in enumerate(rows):
            for beam in range(self.group_size):
                origin = 0 if was_done[item][group] else row.parents[beam] + item * self.group_size
                new.append((*old[origin], origin))
        return new

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


def _all_stop(
    stopping: Stopping, token_ids: Tensor, tokens: list[int], history: History, recorder: Recorder | None
) -> bool:
    """Whether every row ends with these tokens [B * K], which are ``tokens`` on the host."""
    if not stopping.criteria and stopping.row_max_length is None and stopping.row_eos_token_id is None:
        return stopping.everywhere(history.length) or stopping.all_end(tokens)
    return bool(
        stopping.finished(
            token_ids, history.length, ids=lambda: history.ids.contiguous(), scores=getattr(recorder, "scores", None)
        ).all()
    )
