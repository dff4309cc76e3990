"""Constrained beam search: every returned sequence contains the given phrases, if the search can bring that about.

At each step the candidates of ordinary beam search are joined by the tokens that move some beam closer to its phrases.
All are sorted into banks (how much of the constraints is done), and the next beams are taken in turn: the best of every
bank, then the second best of every bank, and so on.
Source: Post and Vilar 2018, arXiv:1804.06609, and Hu et al. 2019. Tokens, scores and beam indices are those of
transformers 4.55.4. Axes: B items, K beams of an item.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..options.numpy_or_torch import sent
from .beam_candidates import top_candidates
from .beam_constraints import Constraint, PhraseProgress
from .decode_loop import process
from .history import History
from .hypotheses import BeamOutput, NBest, all_stop, write_out
from .progress import Recorder
from .score_rules import RuleProcess, ScoreRule
from .step_model import StepModel
from .stopping import Stopping

__all__ = ["constrained_beam_search"]


@dataclass
class _Item:
    """One item of the batch: its finished list, and per running beam its progress, its identity and its trace.

    Two beams with the same tokens have the same identity, so that comparing sequences does not mean reading them.
    """

    found: NBest
    progress: list[PhraseProgress]
    identity: list[int]
    traces: list[tuple[int, ...]]
    is_done: bool = False

    @classmethod
    def start(cls, found: NBest, constraints: Sequence[Constraint], prompt: list[int]) -> "_Item":
        """An item whose beams all hold the prompt."""
        count = found.size
        return cls(found, [PhraseProgress.of(constraints, prompt)] * count, [0] * count, [()] * count)


@dataclass(frozen=True)
class _Choice:
    """A beam of the next step: the item's beam it continues, the token and the accumulated score (float32)."""

    parent: int
    token_id: int
    score: float


@dataclass(frozen=True)
class _Advance:
    """A continuation that makes progress: the item's beam, the token, and the bank it leads to."""

    beam: int
    token_id: int
    bank: int


def constrained_beam_search(
    model: StepModel,
    prompt_ids: Tensor,
    stopping: Stopping,
    *,
    constraints: Sequence[Constraint],
    num_beams: int,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
    num_return_sequences: int = 1,
    eos_token_id: Tensor | None = None,
    pad_token_id: int | None = None,
    rules: Sequence[ScoreRule] = (),
    recorder: Recorder | None = None,
    with_beam_indices: bool = False,
) -> BeamOutput:
    """The best ``num_return_sequences`` sequences of every item that fulfil ``constraints``.

    prompt_ids: [B * K, P], each item's prompt K times, which is what ``model`` was given; what it already contains of
    the phrases counts. A sequence may end only once its constraints are complete. Where fewer than
    ``num_return_sequences`` running beams are complete at the end, the others compete by score alone.
    rules: what the log-probabilities pass through, given the token ids [B * K, T].
    Reads device values once a step: the candidates, and with them the scores of the tokens that make progress. Criteria
    and ends of single rows are read beside them.
    """
    rows, prompt_length = prompt_ids.shape
    _check(rows, num_beams, constraints)
    device, batch_size = prompt_ids.device, rows // num_beams
    budget = None if stopping.max_length is None else stopping.max_length - prompt_length
    items = _items(NBest(num_beams, length_penalty, early_stopping, budget), constraints, prompt_ids)
    beam_scores = torch.zeros((batch_size, num_beams), device=device)
    beam_scores[:, 1:] = -1e9
    eos = set() if eos_token_id is None else set(eos_token_id.tolist())
    num_candidates = max(2, 1 + len(eos if eos_token_id is None else eos_token_id)) * num_beams
    history = History(prompt_ids)
    processors = [RuleProcess(rule, history) for rule in rules]
    reorder = getattr(model, "reorder_beams", model.select_rows)
    logits = model.prefill()
    while True:
        if recorder is not None:
            logits = recorder.logits(logits)
        log_probs = process(torch.log_softmax(logits, dim=-1, out=logits), processors, None)
        if recorder is not None:
            recorder.step(log_probs + beam_scores.flatten()[:, None])
        choices = _choose(log_probs, beam_scores, items, history, eos, pad_token_id, num_candidates, with_beam_indices)
        del logits, log_probs
        moves, tokens, beam_scores, chosen = _as_tensors(choices, num_beams, device)
        reorder(moves)
        history.select_rows(moves)
        history.append(tokens)
        if _all_done(items) or all_stop(stopping, tokens, chosen, history, recorder):
            break
        logits = model.step(tokens)
    _add_running(items, beam_scores.tolist(), history, num_return_sequences, with_beam_indices)
    return write_out(
        [item.found.found for item in items],
        num_return_sequences=num_return_sequences,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        max_length=stopping.max_length,
        device=device,
    )


def _items(empty: NBest, constraints: Sequence[Constraint], prompt_ids: Tensor) -> list[_Item]:
    """Every item at its start, with a list like ``empty``, whose size is that of an item's beams."""
    prompts = prompt_ids[:: empty.size].tolist()
    return [_Item.start(replace(empty, found=[]), constraints, prompt) for prompt in prompts]


def _all_done(items: list[_Item]) -> bool:
    return all(item.is_done for item in items)


def _check(rows: int, num_beams: int, constraints: Sequence[Constraint]) -> None:
    if num_beams < 2:
        raise ValueError(f"num_beams must be at least 2; got {num_beams}")
    if rows % num_beams:
        raise ValueError(f"prompt_ids must have a multiple of num_beams = {num_beams} rows; got {rows}")
    if not constraints:
        raise ValueError(f"constraints must not be empty; got {list(constraints)}")


def _as_tensors(
    choices: list[list[_Choice]], num_beams: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """The row that each next beam continues and its token, both [B * K], the scores [B, K], the tokens on the host."""
    flat = [choice for item in choices for choice in item]
    moves = [choice.parent + index * num_beams for index, item in enumerate(choices) for choice in item]
    scores = torch.tensor([choice.score for choice in flat], dtype=torch.float32, device="cpu")
    chosen = [choice.token_id for choice in flat]
    tokens, rows = torch.tensor(chosen, device="cpu"), torch.tensor(moves, device="cpu")
    return sent(rows, device), sent(tokens, device), sent(scores, device).view(-1, num_beams), chosen


def _choose(
    log_probs: Tensor,
    beam_scores: Tensor,
    items: list[_Item],
    history: History,
    eos: set[int],
    pad_token_id: int | None,
    num_candidates: int,
    with_beam_indices: bool,
) -> list[list[_Choice]]:
    """The next beams of every item; finished sequences are entered into its list. ``log_probs`` [B * K, V]."""
    num_beams, length = beam_scores.shape[1], history.length + 1 - history.prompt_length
    candidates, advances = _on_the_host(log_probs, beam_scores, items, num_candidates)
    all_choices: list[list[_Choice]] = []
    for index, item in enumerate(items):
        if item.is_done:
            if pad_token_id is None:
                raise ValueError("pad_token_id must be given when some items finish before others; got None")
            all_choices.append([_Choice(beam, pad_token_id, 0.0) for beam in range(num_beams)])
            continue
        choices = _sort_out(item, candidates[index], eos, history, index * num_beams, length, with_beam_indices)
        choices = _joined(item, choices, advances[index])
        all_choices.append(choices)
        best = max(candidate.score for candidate in candidates[index])
        item.is_done = item.found.is_done(best, length=length)
        _move(item, choices, index * num_beams, with_beam_indices)
    return all_choices


def _on_the_host(
    log_probs: Tensor, beam_scores: Tensor, items: list[_Item], num_candidates: int
) -> tuple[list[list[_Choice]], list[list[tuple[_Advance, float]]]]:
    """Each item's best candidates, and its continuations that make progress with their scores, in one copy."""
    vocab_size = log_probs.shape[-1]
    best, origins, tokens = top_candidates(log_probs, beam_scores, num_candidates)
    where = origins * vocab_size + tokens
    # The quotient is taken in float32, as transformers takes it.
    parts = torch.stack((best.double(), (where / vocab_size).long().double(), (where % vocab_size).double()))
    advances = [[] if item.is_done else _advances(item) for item in items]
    told = torch.cat((parts.flatten(), _scores_of(advances, log_probs, beam_scores))).tolist()
    count = len(items) * num_candidates
    flat = [_Choice(int(p), int(t), s) for s, p, t in zip(*(told[k * count :][:count] for k in range(3)), strict=True)]
    candidates = [flat[first : first + num_candidates] for first in range(0, count, num_candidates)]
    scores = iter(told[3 * count :])
    return candidates, [[(advance, next(scores)) for advance in found] for found in advances]


def _sort_out(
    item: _Item,
    candidates: list[_Choice],
    eos: set[int],
    history: History,
    first_row: int,
    length: int,
    with_beam_indices: bool,
) -> list[_Choice]:
    """The first K candidates that go on; those before them that end with complete phrases enter the list."""
    num_beams = len(item.progress)
    choices: list[_Choice] = []
    for rank, candidate in enumerate(candidates):
        beam = candidate.parent
        if candidate.token_id not in eos:
            choices.append(candidate)
        elif rank < num_beams and item.progress[beam].is_complete:
            row = first_row + beam
            trace = (*item.traces[beam], row) if with_beam_indices else None
            item.found.add(history.ids[row].clone(), candidate.score, length=length, beam_indices=trace)
        if len(choices) == num_beams:
            break
    return choices


def _advances(item: _Item) -> list[_Advance]:
    """Every continuation that makes progress; of beams with the same tokens the first one's."""
    known: set[tuple[int, int]] = set()
    found = []
    for beam, progress in enumerate(item.progress):
        if progress.is_complete:
            continue
        for token_id, bank in progress.advances():
            sequence = (item.identity[beam], token_id)
            if sequence not in known:
                known.add(sequence)
                found.append(_Advance(beam, token_id, bank))
    return found


def _scores_of(advances: list[list[_Advance]], log_probs: Tensor, beam_scores: Tensor) -> Tensor:
    """The accumulated scores of all items' advances, one after another, as float64; on the device."""
    num_beams, vocab_size = beam_scores.shape[1], log_probs.shape[1]
    rows = [index * num_beams + advance.beam for index, found in enumerate(advances) for advance in found]
    token_ids = [advance.token_id for found in advances for advance in found]
    row, token_id = sent(torch.tensor([rows, token_ids], dtype=torch.int64, device="cpu"), log_probs.device)
    return (log_probs.take(row * vocab_size + token_id) + beam_scores.take(row)).double()


def _joined(item: _Item, choices: list[_Choice], scored: list[tuple[_Advance, float]]) -> list[_Choice]:
    """The choices, or the best of each bank where something that is not among them makes progress."""
    known = {(item.identity[choice.parent], choice.token_id) for choice in choices}
    new = [(one, score) for one, score in scored if (item.identity[one.beam], one.token_id) not in known]
    if not new:
        return choices
    joined = [_Choice(advance.beam, advance.token_id, score) for advance, score in new]
    return _in_turn(item, choices, joined, [advance.bank for advance, _ in new])


def _in_turn(item: _Item, choices: list[_Choice], joined: list[_Choice], banks: list[int]) -> list[_Choice]:
    """The best of every bank, then the second best of every bank, until K are taken."""
    banks = [item.progress[choice.parent].after(choice.token_id).bank for choice in choices] + banks
    every = choices + joined
    # One float32 key, so that ties and a bank's reach are those of transformers.
    keys = torch.tensor(banks, device="cpu") * 100 + torch.tensor(
        [choice.score for choice in every], dtype=torch.float32, device="cpu"
    )
    order = keys.sort(descending=True).indices.tolist()
    places = _places([banks[position] for position in order])
    taken = sorted(range(len(order)), key=lambda position: places[position])[: len(item.progress)]
    return [every[order[position]] for position in taken]


def _places(banks: list[int]) -> list[int]:
    """Each entry's place within its run of equal banks, from 0."""
    places: list[int] = []
    for position, bank in enumerate(banks):
        places.append(places[-1] + 1 if position and bank == banks[position - 1] else 0)
    return places


def _move(item: _Item, choices: list[_Choice], first_row: int, with_beam_indices: bool) -> None:
    """Let the item's beams become ``choices``."""
    names: dict[tuple[int, int], int] = {}
    item.progress = [item.progress[choice.parent].after(choice.token_id) for choice in choices]
    item.identity = [
        names.setdefault((item.identity[choice.parent], choice.token_id), len(names)) for choice in choices
    ]
    if with_beam_indices:
        item.traces = [(*item.traces[choice.parent], first_row + choice.parent) for choice in choices]


def _add_running(
    items: list[_Item], totals: list[list[float]], history: History, num_return_sequences: int, with_beam_indices: bool
) -> None:
    """The search is over: running beams that are complete are found, and the others where those are too few."""
    length = history.length - history.prompt_length
    for index, item in enumerate(items):
        if item.is_done:
            continue
        beams = range(len(item.progress))
        complete = [beam for beam in beams if item.progress[beam].is_complete]
        others = [beam for beam in beams if not item.progress[beam].is_complete]
        for beam in complete + (others if len(complete) < num_return_sequences else []):
            trace = item.traces[beam] if with_beam_indices else None
            item.found.add(
                history.ids[index * len(beams) + beam], totals[index][beam], length=length, beam_indices=trace
            )
