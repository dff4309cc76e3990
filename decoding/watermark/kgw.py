"""The KGW watermark: a bias on a pseudo-random green list of tokens, and the test that finds it in a text."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from ..options.per_row import row_option, select_option
from ..options.token_ids import check_token_ids
from ..options.validation import FINITE, RowOption, check_logits

_TABLE_SIZE = 1_000_003
_CANDIDATES = 40  # tokens tried per row under "selfhash", the number of the authors' code and of transformers


class GreenLists:
    """The green list that follows a context: the first part of a permutation of the vocabulary, seeded by the context.

    seeding_scheme: "lefthash" seeds with the last token, "selfhash" with the smallest hash over the last
    ``context_width`` tokens, the candidate included. Lists are kept, most recent first, ``cache_size`` of them: a seed
    that comes back costs a look-up instead of a permutation of the vocabulary. Equal to transformers' lists on the same
    device; a CUDA generator draws other permutations than the CPU's.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        greenlist_ratio: float = 0.25,
        hashing_key: int = 15485863,
        seeding_scheme: str = "lefthash",
        context_width: int = 1,
        device: torch.device | str = "cpu",
        cache_size: int = 128,
    ) -> None:
        if seeding_scheme not in ("lefthash", "selfhash"):
            raise ValueError(f"seeding_scheme must be 'lefthash' or 'selfhash'; got {seeding_scheme!r}")
        if not 0.0 < greenlist_ratio < 1.0:
            raise ValueError(f"greenlist_ratio must be in (0, 1); got {greenlist_ratio}")
        if vocab_size < 1:
            raise ValueError(f"vocab_size must be >= 1; got {vocab_size}")
        if context_width < 1:
            raise ValueError(f"context_width must be >= 1; got {context_width}")
        self.vocab_size = vocab_size
        self.size = int(vocab_size * greenlist_ratio)
        self.ratio = greenlist_ratio
        self.hashing_key = hashing_key
        self.seeding_scheme = seeding_scheme
        self.context_width = context_width
        self.device = torch.device(device)
        self._generator = torch.Generator(device=device).manual_seed(hashing_key)
        self._cache: OrderedDict[int, Tensor] = OrderedDict()
        self._cache_size = cache_size
        if seeding_scheme == "selfhash":
            self._table = torch.randperm(_TABLE_SIZE, generator=self._generator, device=device)

    def seeds(self, contexts: Tensor) -> list[int]:
        """The seed of each context, [N, W] token ids, of which the last ``context_width`` count."""
        contexts = contexts[:, -self.context_width :].long()
        if self.seeding_scheme == "lefthash":
            return [self.hashing_key * token for token in contexts[:, -1].tolist()]
        hashed = self._table[contexts % _TABLE_SIZE] + 1
        # int64 products wrap around, here as in transformers.
        return [int(seed) for seed in (self.hashing_key * hashed * hashed[:, -1:]).amin(dim=1).tolist()]

    def green(self, seed: int) -> Tensor:
        """[V * ratio] int32: the green tokens of a seed."""
        # torch takes seeds of 64 bits; transformers takes the same remainder.
        seed %= 2**64 - 1
        if seed in self._cache:
            self._cache.move_to_end(seed)
            return self._cache[seed]
        self._generator.manual_seed(seed)
        order = torch.randperm(self.vocab_size, generator=self._generator, device=self.device)
        green = self._cache[seed] = order[: self.size].int()
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return green


def apply_watermark(logits: Tensor, token_ids: Tensor, bias: RowOption, *, green_lists: GreenLists) -> Tensor:
    """Add ``bias`` to the green tokens of each row.

    logits: [B, V]. token_ids: [B, T]; with fewer tokens than the context width nothing changes. bias: finite, float or
    [B]; 0.0 is off. Under "selfhash" the 40 largest logits are tried in turn, each with itself as the last token of its
    context, and those in their own green list are raised. Reads one seed per row from the device.
    Cost: one copy of the logits and, for a seed not met lately, one permutation of V per row; 40 per row under
    "selfhash".
    Source: Kirchenbauer et al. 2023, arXiv:2301.10226 and arXiv:2306.04634; transformers 5.23
    `WatermarkLogitsProcessor`.
    >>> lists = GreenLists(4, greenlist_ratio=0.5)
    >>> apply_watermark(torch.zeros(1, 4), torch.tensor([[3]]), 2.0, green_lists=lists).sum()
    tensor(4.)
    """
    check_logits(logits)
    check_token_ids(token_ids, logits.shape[0])
    if green_lists.vocab_size > logits.shape[1]:
        raise ValueError(f"green_lists must be of at most {logits.shape[1]} tokens; got {green_lists.vocab_size}")
    option = row_option("bias", bias, logits.shape[0], FINITE)
    return _watermark(logits.clone(), token_ids, option, green_lists)


class WatermarkStep:
    """`apply_watermark` as a step of a loop. Holds the last ``context_width`` tokens of each row."""

    def __init__(self, token_ids: Tensor, bias: RowOption, *, green_lists: GreenLists) -> None:
        check_token_ids(token_ids)
        self.bias = row_option("bias", bias, token_ids.shape[0], FINITE)
        self.green_lists = green_lists
        self.recent = token_ids[:, -green_lists.context_width :]

    def apply(self, logits: Tensor) -> Tensor:
        """Add the bias to each row's green tokens in place: logits [N, V], returned."""
        return _watermark(logits, self.recent, self.bias, self.green_lists)

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that each row was given, [N]; as many are kept as seed a green list."""
        longer = torch.cat([self.recent, token_ids.reshape(-1, 1).to(self.recent.dtype)], dim=1)
        self.recent = longer[:, -self.green_lists.context_width :]

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.recent = self.recent[rows]
        self.bias = select_option(self.bias, rows)


@dataclass(frozen=True)
class WatermarkDetection:
    """One entry per text, [B]; counts and statistics are float64."""

    num_tokens_scored: Tensor
    num_green_tokens: Tensor
    green_fraction: Tensor
    z_score: Tensor
    p_value: Tensor  # odds of as many green tokens in a text without a watermark
    prediction: Tensor  # bool: z_score > z_threshold
    confidence: Tensor  # 1 - p_value


def detect_watermark(
    token_ids: Tensor,
    *,
    green_lists: GreenLists,
    bos_token_id: int | None = None,
    ignore_repeated_ngrams: bool = False,
    z_threshold: float = 3.0,
) -> WatermarkDetection:
    """Count green tokens and test the count against chance.

    token_ids: [B, T], better without the prompt. A leading BOS token is dropped if every row has it, and is an error
    if only some do. ignore_repeated_ngrams: score each different window of context and token once.
    Raises ValueError when no token is left to score after the first ``context_width``.
    Source: transformers 5.23 `WatermarkDetector`, equal in every bit:
    z = (green - ratio * n) / sqrt(n * ratio * (1 - ratio)).
    Cost: one permutation of V for every different context.
    """
    check_token_ids(token_ids)
    if token_ids.shape[0] == 0:
        raise ValueError("token_ids must hold at least one text; got none")
    width = green_lists.context_width
    has_bos = token_ids[:, :1] == (-1 if bos_token_id is None else bos_token_id)
    if bool(has_bos.any()) != bool(has_bos.all()):
        row = int((~has_bos[:, 0]).nonzero()[0])
        raise ValueError(f"token_ids must start with the BOS token in every row or in none; row {row} does not")
    if token_ids.numel() and bool(has_bos.all()):
        token_ids = token_ids[:, 1:]
    if token_ids.shape[1] - width < 1:
        raise ValueError(
            f"token_ids must have at least {width + 1} tokens after BOS, one more than context_width; "
            f"got {token_ids.shape[1]}"
        )
    size = width if green_lists.seeding_scheme == "selfhash" else width + 1
    windows = token_ids.unfold(1, size, 1)  # [B, n, size]
    scored, green = [], []
    for row in windows:
        ngrams, frequency = row.unique(dim=0, return_counts=True)
        hits = _green_targets(ngrams, green_lists)
        if ignore_repeated_ngrams:
            frequency = torch.ones_like(frequency)
        scored.append(frequency.sum())
        green.append((frequency * hits).sum())
    return _test(torch.stack(scored).double(), torch.stack(green).double(), green_lists.ratio, z_threshold)


def _green_targets(ngrams: Tensor, green_lists: GreenLists) -> Tensor:
    """[U] bool: whether the last token of each n-gram is in the green list of its context."""
    # A self-hashed context holds its own token, so the window is one shorter.
    targets = ngrams[:, -1]
    contexts = ngrams if green_lists.seeding_scheme == "selfhash" else ngrams[:, :-1]
    seeds = green_lists.seeds(contexts)
    hits = torch.zeros(len(seeds), dtype=torch.bool, device=ngrams.device)
    places: dict[int, list[int]] = {}
    for place, seed in enumerate(seeds):
        places.setdefault(seed, []).append(place)
    for seed, found in places.items():
        hits[found] = torch.isin(targets[found], green_lists.green(seed).to(targets.device))
    return hits


def _test(scored: Tensor, green: Tensor, ratio: float, z_threshold: float) -> WatermarkDetection:
    """The one-sided test of z = (green - ratio n) / sqrt(n ratio (1 - ratio)) for each row; scored, green: [B].

    Source: Kirchenbauer et al. 2023, arXiv:2301.10226, section 3.
    """
    # torch's vectorised float64 square root is not always correctly rounded; Python's, like numpy's, is.
    deviation = torch.tensor(
        [math.sqrt(n * ratio * (1 - ratio)) for n in scored.tolist()], dtype=torch.float64, device="cpu"
    )
    scored, green = scored.cpu(), green.cpu()
    z_score = (green - ratio * scored) / deviation
    p_value = 0.5 * torch.special.erfc(z_score / math.sqrt(2))
    return WatermarkDetection(
        num_tokens_scored=scored,
        num_green_tokens=green,
        green_fraction=green / scored,
        z_score=z_score,
        p_value=p_value,
        prediction=z_score > z_threshold,
        confidence=1 - p_value,
    )


def _watermark(logits: Tensor, token_ids: Tensor, bias: Tensor, green_lists: GreenLists) -> Tensor:
    """Add ``bias`` [1] or [N] to each row's green tokens, in place; rows shorter than a context are left alone."""
    if token_ids.shape[1] < green_lists.context_width:
        return logits
    biases = bias.expand(logits.shape[0]).tolist()
    if green_lists.seeding_scheme == "selfhash":
        greens = [_own_green(row, logits[i], green_lists) for i, row in enumerate(token_ids)]
    else:
        greens = [green_lists.green(seed) for seed in green_lists.seeds(token_ids)]
    for row, tokens in enumerate(greens):
        columns = tokens.to(logits.device).long()
        logits[row, columns] = logits[row, columns] + biases[row]
    return logits


def _own_green(context: Tensor, scores: Tensor, green_lists: GreenLists) -> Tensor:
    """The candidates of one row, best first, that are in the green list they themselves seed."""
    best = _largest(scores, min(_CANDIDATES, scores.shape[0])).to(context.device)
    contexts = torch.cat([context.expand(len(best), -1), best[:, None].to(context.dtype)], dim=1)
    seeds = green_lists.seeds(contexts)
    kept = [
        i
        for i, (seed, token) in enumerate(zip(seeds, best.tolist(), strict=True))
        if _contains(green_lists, seed, token)
    ]
    return best[kept]


def _contains(green_lists: GreenLists, seed: int, token: int) -> bool:
    return bool((green_lists.green(seed) == token).any())


def _largest(scores: Tensor, count: int) -> Tensor:
    """The first `count` of a descending sort. Without ties that is a top-k; ties go as the sort orders them."""
    values, tokens = scores.topk(min(count + 1, scores.shape[0]))
    if bool((values[1:] < values[:-1]).all()):
        return tokens[:count]
    return scores.sort(descending=True).indices[:count]
