"""DoLa: the last layer's distribution contrasted with that of an earlier layer, chosen anew at every step.

Source: Chuang et al. 2024, arXiv:2309.03883. Tokens are those of transformers 4.55.4. Axes: B rows, V vocabulary,
L candidate layers.
"""

from collections.abc import Callable, Sequence
from math import log

import torch
from torch import Tensor
from torch.nn import functional

from .decode_loop import Recorder, Select
from .group_beam import ScoreRule
from .history import History
from .step_model import HiddenStepModel
from .stopping import Stopping

__all__ = ["candidate_layers", "contrast_layers", "dola"]

_RELATIVE_TOP = 0.1  # tokens below this share of the most probable one's probability are out
_BASE_FILL = -1e-3  # what the early layer counts for such tokens


def candidate_layers(dola_layers: str | Sequence[int], num_layers: int, *, tied_embeddings: bool) -> list[int]:
    """The layers to contrast with: "low" or "high" for every second one of a half, or a list. 0 is the embedding.

    With tied embeddings "low" starts at 2, because the output head undoes the embedding; in models of two layers at 1.
    Of more than 40 layers "low" takes from the first 20 and "high" from the last 20.
    >>> candidate_layers("low", 8, tied_embeddings=False), candidate_layers("high", 8, tied_embeddings=True)
    ([0, 2], [4, 6])
    """
    if isinstance(dola_layers, str):
        if dola_layers == "high":
            return list(range(num_layers // 2 if num_layers <= 40 else num_layers - 20, num_layers, 2))
        if dola_layers == "low":
            start = {True: 2 if num_layers > 2 else num_layers - 1 if num_layers == 2 else 0, False: 0}[tied_embeddings]
            if start == num_layers // 2:
                return [start]
            return list(range(start, num_layers // 2 if num_layers <= 40 else 20, 2))
        raise ValueError(f"dola_layers must be 'low', 'high' or a list of layer numbers; got {dola_layers!r}")
    if not isinstance(dola_layers, Sequence) or any(not isinstance(layer, int) for layer in dola_layers):
        raise ValueError(f"dola_layers must be 'low', 'high' or a list of layer numbers; got {dola_layers!r}")
    layers = [int(layer) for layer in dola_layers if int(layer) < num_layers]
    if not layers or min(layers) < 0:
        raise ValueError(f"dola_layers must name layers from 0 to {num_layers - 1}; got {list(dola_layers)}")
    return layers


def contrast_layers(final: Tensor, early: Tensor) -> Tensor:
    """The final logits [B, V] contrasted with one of the early ones [L, B, V]; returns [B, V], float32.

    The layer is the one whose distribution differs most from the final one, by the mean over the whole batch of the
    divergence that transformers computes (so a row's tokens may depend on its neighbours), the first of equals.
    Tokens under a tenth of the most probable one's probability are -inf.
    >>> contrast_layers(torch.tensor([[2.0, 1.0, -9.0]]), torch.zeros(1, 1, 3))
    tensor([[ 0.7853, -0.2147,    -inf]])
    """
    if early.shape[0] > 1:
        early = early.index_select(0, _most_different(final, early))
    final = final.log_softmax(dim=-1)
    base = early[0].log_softmax(dim=-1)
    top = final.amax(dim=-1, keepdim=True)
    out = final < top + log(_RELATIVE_TOP)
    return final.masked_fill(out, float("-inf")) - base.masked_fill(out, _BASE_FILL)


def dola(
    model: HiddenStepModel,
    history: History,
    select: Select,
    stopping: Stopping,
    *,
    layers: Sequence[int],
    rules: Sequence[ScoreRule] = (),
    pad_token_id: Tensor | None = None,
    recorder: Recorder | None = None,
    on_tokens: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Append tokens to ``history`` until every row is finished; return its ids, [B, T].

    layers: the candidates to contrast with. select: picks tokens from the contrasted logits, after ``rules``, which
    are given the token ids so far. pad_token_id: what finished rows are given, None to let them go on.
    Reads device values once a step: whether any row is still unfinished.
    """
    unfinished = torch.ones(history.batch_size, dtype=torch.bool, device=history.ids.device)
    step = 0
    logits = model.prefill()
    while True:
        if recorder is not None:
            logits = recorder.logits(logits)
        scores = contrast_layers(logits, model.early_logits(layers))
        for rule in rules:
            scores = rule(history.ids, scores)
        if recorder is not None:
            recorder.step(scores)
        token_ids = select(scores, step=step)
        if pad_token_id is not None:
            token_ids = torch.where(unfinished, token_ids, pad_token_id)
        history.append(token_ids)
        if on_tokens is not None:
            on_tokens(token_ids)
        done = stopping.finished(
            token_ids, history.length, ids=lambda: history.ids.contiguous(), scores=getattr(recorder, "scores", None)
        )
        unfinished = unfinished & ~done
        if stopping.everywhere(history.length) or not bool(unfinished.any()):
            return history.ids
        logits = model.step(token_ids)
        step += 1


def _most_different(final: Tensor, early: Tensor) -> Tensor:
    """The number [1] of the early layer that differs most from the final one over the batch."""
    average = 0.5 * (final.softmax(dim=-1)[None] + early.softmax(dim=-1))
    from_final = functional.kl_div(final.log_softmax(dim=-1)[None].expand_as(average), average, reduction="none")
    from_early = functional.kl_div(early.log_softmax(dim=-1), average, reduction="none")
    divergence = 0.5 * (from_final.mean(dim=-1) + from_early.mean(dim=-1))  # [L, B]
    return divergence.mean(dim=-1).argmax(dim=0, keepdim=True)
