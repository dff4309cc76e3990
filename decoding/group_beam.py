"""Group (diverse) beam search: beams in groups, each group penalised for the tokens the groups before it just took.

Source: Vijayakumar et al. 2016, arXiv:1610.02424. Tokens, scores and beam indices are those of transformers 4.55.4.
Axes: B items, G groups, K beams of an item, S = K / G beams of a group.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .history import History
from .hypotheses import BeamOutput, NBest, write_out
from .loop import Recorder
from .steps import StepModel
from .stopping import Stopping, hits_token

__all__ = ["ScoreRule", "apply_diversity_penalty", "group_beam_search"]

ScoreRule = Callable[[Tensor, Tensor], Tensor]  # (token ids so far [N, T], scores [N, V]) -> scores [N, V]


def apply_diversity_penalty(scores: Tensor, taken: Tensor, diversity_penalty: float) -> Tensor:
    """Subtract ``diversity_penalty`` from a token's score once for every time an earlier group took it at this step.

    scores: [B, S, V]. taken: [B, N] token ids, N may be 0. Returns [B, S, V].
    >>> apply_diversity_penalty(torch.zeros(1, 1, 3), torch.tensor([[2, 2]]), 0.5)
    tensor([[[ 0.,  0., -1.]]])
    """
    if taken.shape[1] == 0:
        return scores
    counts = torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.long, device=scores.device)
    counts.scatter_add_(1, taken, torch.ones_like(taken))
    return scores - (diversity_penalty * counts)[:, None, :]


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
    Reads device values once a step: the candidates of all groups together.
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
        log_probs = torch.log_softmax(logits, dim=-1).view(batch_size, num_beam_groups, group_size, -1)
        ids = history.ids.view(batch_size, num_beam_groups, group_size, -1)
        processed = torch.empty_like(log_probs) if recorder is not None else None
        finished = done.to(device)
        taken = torch.zeros(batch_size, 0, dtype=torch.long, device=device)
        parents: list[Tensor] = []
        considered: list[tuple[Tensor, Tensor, Tensor]] = []
        for group in range(num_beam_groups):
            group_ids, scores = ids[:, group].flatten(0, 1), log_probs[:, group].flatten(0, 1)
            for rule in before_diversity:
                scores = rule(group_ids, scores)
            if diversity_penalty:
                scores = apply_diversity_penalty(
                    scores.view(batch_size, group_size, -1), taken, diversity_penalty
                ).flatten(0, 1)
            for rule in after_diversity:
                scores = rule(group_ids, scores)
            if processed is not None:
                processed[:, group] = scores.view(batch_size, group_size, -1)
            beams = slice(group * group_size, (group + 1) * group_size)
            candidates = _candidates(scores, beam_scores[:, beams], num_candidates)
            considered.append(candidates)
            best, parent, token = _continue_beams(*candidates, eos_token_id, group_size)
            over = finished[:, group, None]
            beam_scores[:, beams] = best.masked_fill(over, 0.0)
            token = token.masked_fill(over, 0 if pad_token_id is None else pad_token_id)
            parents.append(torch.where(over, torch.arange(group_size, device=device), parent))
            taken = torch.cat((taken, token), dim=1)
        if recorder is not None and processed is not None:
            recorder.step(processed.view(rows, -1))
        _collect(lists, done, considered, parents, traces, history, eos_token_id)
        if pad_token_id is None and bool(done.any()) and not bool(done.all()):
            raise ValueError("pad_token_id must be given when some items finish before others; got None")

        offsets = torch.arange(0, rows, group_size, device=device).view(batch_size, num_beam_groups, 1)
        moves = (torch.stack(parents, dim=1) + offsets).flatten()
        model.select_rows(moves)
        history.select_rows(moves)
        history.append(taken.flatten())
        if bool(done.all()) or _all_stop(stopping, history, recorder):
            break
        logits = model.step(taken.flatten())
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


def _candidates(scores: Tensor, beam_scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Accumulated score, parent beam and token of the best continuations, each [B, count], best first."""
    batch_size, group_size = beam_scores.shape
    vocab_size = scores.shape[-1]
    total = scores.view(batch_size, group_size, vocab_size) + beam_scores[:, :, None]
    best, flat = total.flatten(1).topk(count, dim=1)
    return best, flat // vocab_size, flat % vocab_size


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
    considered: list[tuple[Tensor, Tensor, Tensor]],
    parents: list[Tensor],
    traces: list[list[tuple[int, ...]]] | None,
    history: History,
    eos_token_id: Tensor | None,
) -> None:
    """Enter the candidates that end into their lists and note which groups are done. ``history`` is before the step."""
    group_size = parents[0].shape[1]
    num_groups = len(parents)
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
            if done[item, group]:
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
        was_done = done[:, group].clone()
        for item, groups in enumerate(lists):
            if not was_done[item]:
                done[item, group] = groups[group].is_done(max(packed[item][group][:count]), length=length)
        if traces is not None:
            old, new = traces[group], []
            for item in range(len(lists)):
                for beam in range(group_size):
                    origin = int(packed[item][group][count + 2 * group_size + beam]) + item * group_size
                    origin = 0 if was_done[item] else origin
                    new.append((*old[origin], origin))
            traces[group] = new


def _all_stop(stopping: Stopping, history: History, recorder: Recorder | None) -> bool:
    last = history.ids[:, -1]
    return bool(
        stopping.finished(
            last, history.length, ids=lambda: history.ids.contiguous(), scores=getattr(recorder, "scores", None)
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
