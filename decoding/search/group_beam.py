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
from .group_lists import Choice, GroupLists
from .history import History
from .hypotheses import BeamOutput, NBest, all_stop, write_out
from .progress import Recorder
from .score_rules import ScoreRule
from .step_model import StepModel
from .stopping import Stopping, hits_token

__all__ = ["apply_diversity_penalty", "group_beam_search"]


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
    items, group_size = rows // num_beams, num_beams // num_beam_groups
    budget = None if stopping.max_length is None else stopping.max_length - prompt_length
    empty = NBest(group_size, length_penalty, early_stopping, budget)
    lists = GroupLists(empty, (items, num_beam_groups), eos_token_id, pad_token_id, with_beam_indices)
    diversity = _Diversity(diversity_penalty, num_beam_groups, before_diversity, after_diversity)
    # Beams start equal: all but the first of a group are kept out of the first choice.
    beam_scores = torch.full((items, num_beams), -1e9, device=prompt_ids.device)
    beam_scores[:, ::group_size] = 0.0
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
        if bool(lists.done.all()) or all_stop(stopping, token_ids, tokens, history, recorder):
            break
        logits = model.step(token_ids)
    lists.add_running(beam_scores, history)
    return write_out(
        lists.all_found(),
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
        self, log_probs: Tensor, beam_scores: Tensor, lists: GroupLists, history: History, recorder: Recorder | None
    ) -> Choice:
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
    """Raise ValueError for numbers that make no groups; rows: of the prompts, each item's K times."""
    if num_beams < 2:
        raise ValueError(f"num_beams must be at least 2; got {num_beams}")
    if not 1 <= num_beam_groups <= num_beams or num_beams % num_beam_groups:
        raise ValueError(f"num_beam_groups must divide num_beams = {num_beams}; got {num_beam_groups}")
    if diversity_penalty < 0.0:
        raise ValueError(f"diversity_penalty must be at least 0; got {diversity_penalty}")
    if rows % num_beams:
        raise ValueError(f"prompt_ids must have a multiple of num_beams = {num_beams} rows; got {rows}")


def _choose(candidates: Callable[[int, Tensor], Candidates], finished: Tensor, lists: GroupLists) -> Choice:
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
    return Choice(considered, parents, torch.cat(scores, dim=1), taken)


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
