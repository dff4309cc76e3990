"""Group (diverse) beam search: beams in groups, each group penalised for the tokens the groups before it just took.

Source: Vijayakumar et al. 2016, arXiv:1610.02424. Tokens, scores and beam indices are those of transformers 4.55.4.
Axes: B items, G groups, K beams of an item, S = K / G beams of a group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .beam_candidates import Candidates
from .decode_loop import Recorder
from .group_candidates import Few, ScoreRule, Whole, apply_diversity_penalty
from .history import History
from .hypotheses import BeamOutput, NBest, write_out
from .step_model import StepModel
from .stopping import Stopping, hits_token

__all__ = ["ScoreRule", "apply_diversity_penalty", "group_beam_search"]


@dataclass(frozen=True)
class _Choice:
    """What the groups chose: per group its candidates and its parents [B, S]; all groups' scores and tokens [B, K]."""

    considered: list[Candidates]
    parents: list[Tensor]
    scores: Tensor
    tokens: Tensor


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
    Reads device values three times a step: whether candidates tie, twice, and those of all groups together.
    """
    rows, prompt_length = prompt_ids.shape
    _check(rows, num_beams, num_beam_groups, diversity_penalty)
    batch_size, group_size = rows // num_beams, num_beams // num_beam_groups
    device = prompt_ids.device
    budget = None if stopping.max_length is None else stopping.max_length - prompt_length
    lists = [
        [NBest(group_size, length_penalty, early_stopping, budget) for _ in range(num_beam_groups)]
        for _ in range(batch_size)
    ]
    done = torch.zeros(batch_size, num_beam_groups, dtype=torch.bool)
    beam_scores = torch.full((batch_size, num_beams), -1e9, device=device)
    beam_scores[:, ::group_size] = 0.0
    traces: list[list[tuple[int, ...]]] | None = None
    if with_beam_indices:
        traces = [[()] * (batch_size * group_size) for _ in range(num_beam_groups)]
    num_eos = 0 if eos_token_id is None else eos_token_id.shape[0]
    num_candidates = max(2, 1 + num_eos) * group_size
    history = History(prompt_ids)
    logits = model.prefill()
    while True:
        if recorder is not None:
            logits = recorder.logits(logits)
        log_probs = torch.log_softmax(logits, dim=-1, out=logits)
        finished = done.to(device)
        search = (log_probs, beam_scores, diversity_penalty, num_beam_groups, num_candidates)
        chosen: _Choice | None = None
        if recorder is None and not before_diversity and not after_diversity:
            few = Few(*search)
            if few.enough:
                chosen = _choose(few.of_group, finished, group_size, eos_token_id, pad_token_id)
                chosen = None if bool((torch.stack(few.tied, dim=1) & ~finished).any()) else chosen
        if chosen is None:
            shape = (batch_size, num_beam_groups, group_size, log_probs.shape[1])
            processed = None if recorder is None else log_probs.new_empty(shape)
            whole = Whole(*search, history.ids, before_diversity, after_diversity, processed)
            chosen = _choose(whole.of_group, finished, group_size, eos_token_id, pad_token_id)
            if recorder is not None and processed is not None:
                recorder.step(processed.view(rows, -1))
        del logits, log_probs, search
        beam_scores = chosen.scores
        _collect(lists, done, chosen, traces, history, eos_token_id)
        if pad_token_id is None and bool(done.any()) and not bool(done.all()):
            raise ValueError("pad_token_id must be given when some items finish before others; got None")

        offsets = torch.arange(0, rows, group_size, device=device).view(batch_size, num_beam_groups, 1)
        moves = (torch.stack(chosen.parents, dim=1) + offsets).flatten()
        model.select_rows(moves)
        history.select_rows(moves)
        token_ids = chosen.tokens.flatten()
        history.append(token_ids)
        if bool(done.all()) or _all_stop(stopping, token_ids, history, recorder):
            break
        logits = model.step(token_ids)
    _add_running(lists, done, beam_scores, history, traces, group_size)
    return write_out(
        [[hypothesis for group in item for hypothesis in group.found] for item in lists],
        num_return_sequences=num_return_sequences,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        max_length=stopping.max_length,
        device=device,
    )


def _check(rows: int, num_beams: int, num_beam_groups: int, diversity_penalty: float) -> None:
    if num_beams < 2:
        raise ValueError(f"num_beams must be at least 2; got {num_beams}")
    if not 1 <= num_beam_groups <= num_beams or num_beams % num_beam_groups:
        raise ValueError(f"num_beam_groups must divide num_beams = {num_beams}; got {num_beam_groups}")
    if diversity_penalty < 0.0:
        raise ValueError(f"diversity_penalty must be at least 0; got {diversity_penalty}")
    if rows % num_beams:
        raise ValueError(f"prompt_ids must have a multiple of num_beams = {num_beams} rows; got {rows}")


def _choose(
    candidates: Callable[[int, Tensor], Candidates],
    finished: Tensor,
    group_size: int,
    eos_token_id: Tensor | None,
    pad_token_id: int | None,
) -> _Choice:
    """Let one group after another take its tokens; ``candidates`` gives a group's, knowing those taken before it.

    finished: [B, G], groups that go on with padding.
    """
    batch_size, num_groups = finished.shape
    device = finished.device
    taken = torch.zeros(batch_size, 0, dtype=torch.long, device=device)
    considered, parents, scores = [], [], []
    for group in range(num_groups):
        found = candidates(group, taken)
        best, parent, token = _continue_beams(*found, eos_token_id, group_size)
        over = finished[:, group, None]
        token = token.masked_fill(over, 0 if pad_token_id is None else pad_token_id)
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


def _collect(
    lists: list[list[NBest]],
    done: Tensor,
    chosen: _Choice,
    traces: list[list[tuple[int, ...]]] | None,
    history: History,
    eos_token_id: Tensor | None,
) -> None:
    """Enter the candidates that end into their lists and note which groups are done. ``history`` is before the step."""
    considered, parents = chosen.considered, chosen.parents
    group_size = parents[0].shape[1]
    num_groups = len(parents)
    was_done = done.tolist()
    length = history.length + 1 - history.prompt_length
    scores = torch.stack([scores for scores, _, _ in considered], dim=1)  # [B, G, C]
    ends = torch.zeros_like(scores[:, :, :group_size], dtype=torch.bool)
    if eos_token_id is not None:
        ends = hits_token(torch.stack([tokens[:, :group_size] for _, _, tokens in considered], dim=1), eos_token_id)
    packed = torch.cat(
        (
            scores.double(),
            ends.double(),
            torch.stack([origin[:, :group_size] for _, origin, _ in considered], dim=1).double(),
            torch.stack(parents, dim=1).double(),
        ),
        dim=2,
    ).tolist()
    count = scores.shape[2]
    for group in range(num_groups):
        for item, groups in enumerate(lists):
            row = packed[item][group]
            if was_done[item][group]:
                continue
            found = groups[group]
            for rank in range(group_size):
                if not row[count + rank]:
                    continue
                origin = int(row[count + group_size + rank])
                beam = item * group_size + origin
                where = (item * num_groups + group) * group_size + origin
                # Read from one table of all groups, the groups before this one already a step further.
                trace = None if traces is None else (*traces[0][beam], beam)
                found.add(history.ids[where].clone(), row[rank], length=length, beam_indices=trace)
        for item, groups in enumerate(lists):
            if not was_done[item][group] and groups[group].is_done(max(packed[item][group][:count]), length=length):
                done[item, group] = True
        if traces is not None:
            old, new = traces[group], []
            for item in range(len(lists)):
                for beam in range(group_size):
                    origin = int(packed[item][group][count + 2 * group_size + beam]) + item * group_size
                    origin = 0 if was_done[item][group] else origin
                    new.append((*old[origin], origin))
            traces[group] = new


def _all_stop(stopping: Stopping, token_ids: Tensor, history: History, recorder: Recorder | None) -> bool:
    return bool(
        stopping.finished(
            token_ids, history.length, ids=lambda: history.ids.contiguous(), scores=getattr(recorder, "scores", None)
        ).all()
    )


def _add_running(
    lists: list[list[NBest]],
    done: Tensor,
    beam_scores: Tensor,
    history: History,
    traces: list[list[tuple[int, ...]]] | None,
    group_size: int,
) -> None:
    """The search is over: running beams of groups that are not done are hypotheses too."""
    totals = beam_scores.flatten().tolist()
    flat = None if traces is None else [trace for group in traces for trace in group]
    length = history.length - history.prompt_length
    row = 0
    for item, groups in enumerate(lists):
        for group, found in enumerate(groups):
            for _ in range(group_size):
                if not done[item, group]:
                    trace = None if flat is None else flat[row]
                    found.add(history.ids[row], totals[row], length=length, beam_indices=trace)
                row += 1
