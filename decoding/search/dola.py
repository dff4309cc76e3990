"""DoLa: the last layer's distribution contrasted with that of an earlier layer, chosen anew at every step.

Source: Chuang et al. 2024, arXiv:2309.03883. Tokens are those of transformers 4.55.4. Axes: B rows, V vocabulary,
L candidate layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

from torch import Tensor
from torch.nn import functional

from .decode_loop import Process, Select, decode
from .history import History
from .progress import Recorder
from .score_rules import RuleProcess, ScoreRule
from .step_model import HiddenStepModel
from .stopping import Stopping

__all__ = ["candidate_layers", "contrast_layers", "dola"]

_RELATIVE_TOP = 0.1  # tokens below this share of the most probable one's probability are out
_BASE_FILL = -1e-3  # what the early layer counts for such tokens
_DEEP = 40  # models of more layers contrast with 20 of them


def candidate_layers(dola_layers: str | Sequence[int], num_layers: int, *, tied_embeddings: bool) -> list[int]:
    """The layers to contrast with: "low" or "high" for every second one of a half, or a list. 0 is the embedding.

    With tied embeddings "low" starts at 2, because the output head undoes the embedding; in models of two layers at 1.
    Of more than 40 layers "low" takes from the first 20 and "high" from the last 20.
    >>> candidate_layers("low", 8, tied_embeddings=False), candidate_layers("high", 8, tied_embeddings=True)
    ([0, 2], [4, 6])
    """
    if dola_layers == "high":
        return list(range(num_layers // 2 if num_layers <= _DEEP else num_layers - 20, num_layers, 2))
    if dola_layers == "low":
        start = _first_low_layer(num_layers) if tied_embeddings else 0
        if start == num_layers // 2:
            return [start]
        return list(range(start, num_layers // 2 if num_layers <= _DEEP else 20, 2))
    if isinstance(dola_layers, str) or not _are_numbers(dola_layers):
        raise ValueError(f"dola_layers must be 'low', 'high' or a list of layer numbers; got {dola_layers!r}")
    layers = [int(layer) for layer in dola_layers if int(layer) < num_layers]
    if not layers or min(layers) < 0:
        raise ValueError(f"dola_layers must name layers from 0 to {num_layers - 1}; got {list(dola_layers)}")
    return layers


def _first_low_layer(num_layers: int) -> int:
    """The first layer that says something of its own where the output head undoes the embedding."""
    return {0: 0, 1: 0, 2: 1}.get(num_layers, 2)


def _are_numbers(layers: object) -> bool:
    return isinstance(layers, Sequence) and all(isinstance(layer, int) for layer in layers)


def contrast_layers(final: Tensor, early: Tensor) -> Tensor:
    """The final logits [B, V] contrasted with one of the early ones [L, B, V]; returns [B, V], float32.

    The layer is the one whose distribution differs most from the final one, by the mean over the whole batch of the
    divergence that transformers computes (so a row's tokens may depend on its neighbours), the first of equals.
    Tokens under a tenth of the most probable one's probability are -inf.
    >>> import torch
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
    late_stop: bool = False,
) -> Tensor:
    """Append tokens to ``history`` until every row is finished; return its ids, [B, T].

    layers: the candidates to contrast with. select: picks tokens from the contrasted logits, after ``rules``, which
    are given the token ids so far. pad_token_id: what finished rows are given, None to let them go on. late_stop: as
    in ``decode``. Reads one device value a step, late or not: whether any row is still unfinished.
    """
    processors: list[Process] = [_Contrast(model, layers), *(RuleProcess(rule, history) for rule in rules)]
    return decode(
        model,
        history,
        select,
        stopping,
        processors=processors,
        pad_token_id=pad_token_id,
        recorder=recorder,
        on_tokens=on_tokens,
        late_stop=late_stop,
    )


@dataclass(frozen=True)
class _Contrast:
    """The contrast with an earlier layer as a processor: what that layer would say is the model's to tell."""

    model: HiddenStepModel
    layers: Sequence[int]

    def apply(self, logits: Tensor) -> Tensor:
        return contrast_layers(logits, self.model.early_logits(self.layers))

    def advance(self, token_ids: Tensor) -> None:
        """Nothing to learn from a token."""

    def select_rows(self, rows: Tensor) -> None:
        """The model follows the rows."""


def _most_different(final: Tensor, early: Tensor) -> Tensor:
    """The number [1] of the early layer that differs most from the final one over the batch."""
    average = 0.5 * (final.softmax(dim=-1)[None] + early.softmax(dim=-1))
    from_final = functional.kl_div(final.log_softmax(dim=-1)[None].expand_as(average), average, reduction="none")
    from_early = functional.kl_div(early.log_softmax(dim=-1), average, reduction="none")
    divergence = 0.5 * (from_final.mean(dim=-1) + from_early.mean(dim=-1))  # [L, B]
    return divergence.mean(dim=-1).argmax(dim=0, keepdim=True)
