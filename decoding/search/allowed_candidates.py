"""The best continuations that grammars allow, asked about from the best down, where masks can be spared."""

import torch
from torch import Tensor

from ..grammar.grammar_step import GrammarStep
from .beam_candidates import Candidates, listed_candidates, may_list, top_candidates

__all__ = ["allowed_candidates"]

# Times as many as are needed are listed, and asked about until enough are allowed; in short rows one in so many.
_LISTED, _SHARE = 12, 256


def allowed_candidates(
    logits: Tensor, scores: Tensor, count: int, rule: GrammarStep, *, normalized: bool = True
) -> Candidates:
    """``top_candidates`` of log-probabilities [B * K, V], which may be written into, after the masks of ``rule``.

    normalized: False for raw logits, whose log-softmax the masks come after.
    The masks are not made but where a list holds too few that are allowed, or equals would have to be told apart.
    Cost: of ``top_candidates``, and a question about each listed one down to the last that is taken.
    """
    found = _asked(logits, scores, count, rule, normalized)
    if found is not None:
        return found
    log_probs = logits if normalized else torch.log_softmax(logits, dim=-1, out=logits)
    return top_candidates(rule.apply(log_probs), scores, count)


def _asked(logits: Tensor, scores: Tensor, count: int, rule: GrammarStep, normalized: bool) -> Candidates | None:
    """The same without masks; None where they must decide."""
    most = scores.shape[1] * logits.shape[1] // _SHARE
    size = max(min((count + 1) * _LISTED, most), count + 1)
    if not may_list(logits, scores, size, normalized=normalized) or not rule.asks():
        return None
    best, parent, token = listed_candidates(logits, scores, size, normalized=normalized)
    num_beams, kept = scores.shape[1], []
    rows = zip(best.tolist(), parent.tolist(), token.tolist(), strict=True)
    for item, columns in enumerate(rows):
        places = _first_allowed(item * num_beams, *columns, count, rule)
        if places is None:
            return None
        kept.append(places)
    chosen = torch.tensor(kept, device="cpu")
    return best.gather(1, chosen), parent.gather(1, chosen), token.gather(1, chosen)


def _first_allowed(
    first: int, best: list[float], parent: list[int], token: list[int], count: int, rule: GrammarStep
) -> list[int] | None:
    """The places of the ``count`` first of an item's candidates that are allowed, each better than the next and the
    last better than the one behind it; ``first``: the row of the item's first beam."""
    places: list[int] = []
    for place, (value, beam, token_id) in enumerate(zip(best, parent, token, strict=True)):
        if not rule.allows(first + beam, token_id):
            continue
        if places and not best[places[-1]] > value:
            return None
        if len(places) == count:
            return places
        places.append(place)
    return None
