"""CTC prefix beam search, batched over rows, frame by frame, with an n-gram model over words and hot words.

A beam is a text, the symbol its last frame wrote (or the blank), the mass of all ways there, and where its words lie.
The rules are pyctcdecode's, which transformers uses: which symbols a frame offers, which beams are merged, how many and
how far below the best are kept; its Python loops over beams and symbols are array operations over the batch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .beam_texts import TextTree
from .word_scores import HotWords, WordModel

Array = np.ndarray[Any, Any]
LEAST_PROBABILITY = 1e-15  # lower ones are raised to it
Entry = tuple[int, int, int]  # a word: the entry of the one before it, its first frame, the frame after its last
NEVER = -1  # the last symbol of a beam that has read no frame


@dataclass(frozen=True)
class CtcBeam:
    """One text of a row."""

    text: str
    words: tuple[tuple[str, tuple[int, int]], ...]  # each with its first frame and the frame after its last
    logprob: float  # of all ways to write it that the search kept
    score: float  # with the n-gram model and hot words


@dataclass(frozen=True)
class CtcBeams:
    """The best texts of each row, best first."""

    rows: tuple[tuple[CtcBeam, ...], ...]

    def texts(self) -> list[str]:
        """The best text of each row."""
        return [beams[0].text for beams in self.rows]

    def records(self) -> list[list[dict[str, Any]]]:
        """``{"text", "words": [{"word", "start_offset", "end_offset"}], "logprob", "score"}`` of every beam."""
        return [
            [
                {
                    "text": beam.text,
                    "words": [{"word": w, "start_offset": a, "end_offset": b} for w, (a, b) in beam.words],
                    "logprob": beam.logprob,
                    "score": beam.score,
                }
                for beam in beams
            ]
            for beams in self.rows
        ]


def search_ctc_beams(
    logits: Tensor,
    symbols: Sequence[str],
    *,
    lengths: Tensor | None = None,
    beam_width: int = 100,
    beam_prune_logp: float = -10.0,
    token_min_logp: float = -5.0,
    model: WordModel | None = None,
    hot_words: HotWords | None = None,
    num_texts: int | None = None,
) -> CtcBeams:
    """The best texts of every row.

    logits: [B, T, V] float, unnormalised (or probabilities, which a row's sums of 1 give away). symbols: [V], what each
    id writes: "" is the blank, " " ends a word. lengths: [B], frames of each row; None means T. A frame offers the
    symbols of at least ``token_min_logp`` and the best one; beams more than ``-beam_prune_logp`` below the best are
    dropped, and of the rest ``beam_width`` stay. model: scores of words. hot_words: `HotWords.of`. num_texts: texts a
    row, None for all that are left.

    As pyctcdecode 0.5: beams that end in a blank and in a symbol count apart until the last frame. Scores in float64.
    Ties: the symbol of the lower id, then the better beam. Copies the log-probabilities to the host.
    Cost: beam_width times the symbols a frame offers, each sorted once, for each frame.
    Source: Hannun et al. 2014, arXiv:1408.2873.
    >>> logits = torch.tensor([[[0.0, 9, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]]])
    >>> search_ctc_beams(logits, ["", "a", "b"]).texts()
    ['aab']
    """
    _check(logits, symbols, beam_width)
    written, canonical = _distinct(symbols)
    logprobs = normalise(logits)
    batch_size, frames, _ = logprobs.shape
    counts = [frames] * batch_size if lengths is None else [min(int(n), frames) for n in lengths.tolist()]
    space = written.index(" ") if " " in written else -1
    tree = TextTree(batch_size, written, space, model, hot_words or HotWords())
    # Longest first: at any frame the rows that still have sound are the first ones.
    order = sorted(range(batch_size), key=lambda row: -counts[row])
    beams = _Beams(batch_size, beam_width, tree, written.index("") if "" in written else -2)
    for frame in range(max(counts, default=0)):
        active = sum(counts[row] > frame for row in order)
        offered = _offered(logprobs[order[:active], frame], token_min_logp, canonical)
        beams.step(frame, offered, beam_prune_logp)
    found = {row: beams.finish(place, beam_prune_logp, num_texts) for place, row in enumerate(order)}
    return CtcBeams(tuple(found[row] for row in range(batch_size)))


def _check(logits: Tensor, symbols: Sequence[str], beam_width: int) -> None:
    if logits.dim() != 3:
        raise ValueError(f"logits must be [B, T, V]; got shape {list(logits.shape)}")
    if logits.shape[2] != len(symbols):
        raise ValueError(f"symbols must be one for each of {logits.shape[2]} ids; got {len(symbols)}")
    if beam_width < 1:
        raise ValueError(f"beam_width must be at least 1; got {beam_width}")
    if logits.device.type == "cpu" and bool(torch.isnan(logits).any()):
        row = int(torch.isnan(logits).flatten(1).any(dim=1).int().argmax())
        raise ValueError(f"logits must not be NaN; got NaN in row {row}")


def _distinct(symbols: Sequence[str]) -> tuple[list[str], Array]:
    """The different symbols, and which of them each id writes."""
    place: dict[str, int] = {}
    return_of = np.array([place.setdefault(symbol, len(place)) for symbol in symbols])
    return list(place), return_of


def normalise(logits: Tensor) -> Array:
    """[B, T, V] log-probabilities, none below that of 1e-15. Rows whose frames sum to 1 are probabilities."""
    half = logits.dtype in (torch.float16, torch.bfloat16)
    values = (logits.float() if half else logits).detach().cpu().numpy()
    least = np.log(LEAST_PROBABILITY)
    out = np.empty(values.shape, dtype=np.float64)
    for row, matrix in enumerate(values):
        if len(matrix) and np.isclose(matrix.sum(axis=1).mean(), 1, rtol=1e-9, atol=0):
            out[row] = np.log(np.clip(matrix, LEAST_PROBABILITY, 1))
            continue
        with np.errstate(divide="ignore"):
            highest = matrix.max(axis=1, keepdims=True, initial=-np.inf)
            shifted = matrix - np.where(np.isfinite(highest), highest, 0)
            out[row] = np.clip(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), least, 0)
    return out


def _offered(columns: Array, least: float, canonical: Array) -> tuple[Array, Array, Array]:
    """What a frame offers: rows, symbols and log-probabilities [N], row by row. columns: [B, V]."""
    keep = columns >= least
    keep[np.arange(len(columns)), columns.argmax(axis=1)] = True
    rows, ids = np.nonzero(keep)
    return rows, canonical[ids], columns[rows, ids]


class _Beams:
    """Beams of all rows: rectangular columns [B, K], the best of a row first; ``counts`` of them are in use."""

    def __init__(self, batch_size: int, width: int, tree: TextTree, blank: int) -> None:
        self.width, self.tree, self.blank = width, tree, blank
        self.counts = np.ones(batch_size, dtype=np.int64)
        shape = (batch_size, width)
        self.nodes = np.tile(np.arange(batch_size)[:, None], width)
        self.last = np.full(shape, NEVER)
        self.scores = np.zeros(shape)
        self.starts, self.ends = np.full(shape, -1), np.full(shape, -1)  # frames of the word being written
        self.spans = np.zeros(shape, dtype=np.int64)  # the last finished word's entry in `words`
        self.words: list[Entry] = [(0, -1, -1)]

    def step(self, frame: int, offered: tuple[Array, Array, Array], prune: float) -> None:
        """Read one frame. offered: see `_offered`."""
        tree, symbols_count = self.tree, len(self.tree.symbols) + 1
        rows, symbols, logprobs = offered
        # Every offered symbol with every beam of its row, symbol by symbol, beams in their order.
        repeats = self.counts[rows]
        pair = np.repeat(np.arange(len(rows)), repeats)
        beam = np.arange(len(pair)) - np.repeat(repeats.cumsum() - repeats, repeats)
        row, symbol = rows[pair], symbols[pair]
        node, last = self.nodes[row, beam], self.last[row, beam]
        score = self.scores[row, beam] + logprobs[pair]
        is_blank, is_space = symbol == self.blank, symbol == tree.space
        again = is_blank | (symbol == last)
        grows = ~again & ~(is_space & ~tree.open[node])
        if tree.scored or tree.spelled:
            target = node.copy()
            target[grows] = tree.grow(node[grows], symbol[grows])
            key = target * symbols_count + symbol
        else:
            # A text with its last symbol is the text before it and that symbol: no node is made for what is dropped.
            before = np.where(grows, node, np.where(is_blank, node, tree.parents[node]))
            key = ((before + 1) * symbols_count + symbol) * 2 + is_blank
        merged = _merge(row, key, score)
        chosen, total = merged.latest, merged.scores
        if tree.scored:
            ranked = total + tree.bonus[target[chosen]]
        else:
            ranked = total
        kept = _best(merged.rows, merged.first, ranked, self.width, prune)
        chosen, total = chosen[kept], total[kept]
        where = row[chosen]
        if not (tree.scored or tree.spelled):
            target = node.copy()
            new = chosen[grows[chosen]]
            target[new] = tree.grow(node[new], symbol[new])
        self._store(frame, where, beam[chosen], target[chosen], symbol[chosen], total, again[chosen])

    def _store(
        self, frame: int, row: Array, beam: Array, node: Array, symbol: Array, score: Array, again: Array
    ) -> None:
        """Put the kept beams, in order of row and rank, in place of the old ones."""
        starts, ends, spans = self.starts[row, beam], self.ends[row, beam], self.spans[row, beam]
        is_blank, is_space = symbol == self.blank, symbol == self.tree.space
        ends = np.where(is_blank, ends, frame + 1)
        closes = is_space & ~again
        begins = ~again & ~is_space & (starts < 0)
        was_open = np.flatnonzero(closes & self.tree.open[self.nodes[row, beam]])
        if len(was_open):
            entries = zip(
                spans[was_open].tolist(),
                starts[was_open].tolist(),
                self.ends[row, beam][was_open].tolist(),
                strict=True,
            )
            spans[was_open] = np.arange(len(self.words), len(self.words) + len(was_open))
            self.words.extend(entries)
        starts = np.where(closes, -1, np.where(begins, frame, starts))
        ends = np.where(closes, -1, ends)
        counts = np.bincount(row)
        rank = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
        self.counts[: len(counts)] = counts
        columns = (self.nodes, self.last, self.scores, self.starts, self.ends, self.spans)
        for column, values in zip(columns, (node, symbol, score, starts, ends, spans), strict=True):
            column[row, rank] = values

    def finish(self, row: int, prune: float, num_texts: int | None) -> tuple[CtcBeam, ...]:
        """The texts of a row: beams of one text together, whole words scored."""
        texts: dict[int, tuple[float, int, Entry]] = {}
        for beam in range(int(self.counts[row])):
            node, logprob = int(self.nodes[row, beam]), float(self.scores[row, beam])
            text = self.tree.without_space(node)
            if text in texts:
                logprob = float(_add_logs(np.float64(texts[text][0]), np.float64(logprob)))
            entry = int(self.spans[row, beam]), int(self.starts[row, beam]), int(self.ends[row, beam])
            texts[text] = logprob, node, entry if self.tree.open[node] else (entry[0], -1, -1)
        scores = {text: logprob + self.tree.last_word_score(node) for text, (logprob, node, _) in texts.items()}
        best = max(scores.values())
        near = [text for text in sorted(scores, key=lambda text: -scores[text]) if scores[text] >= best + prune]
        found = near[: self.width if num_texts is None else min(num_texts, self.width)]
        return tuple(self._beam(text, texts[text][0], scores[text], texts[text][2]) for text in found)

    def _beam(self, node: int, logprob: float, score: float, entry: Entry) -> CtcBeam:
        text = self.tree.text(node)
        return CtcBeam(text, tuple(zip(text.split(), self._frames(entry), strict=False)), logprob, score)

    def _frames(self, entry: Entry) -> list[tuple[int, int]]:
        before, start, end = entry
        frames = [(start, end)] if end >= 0 else []
        while before:
            before, start, end = self.words[before]
            frames.append((start, end))
        return frames[::-1]


@dataclass(frozen=True)
class _Merged:
    """Candidates of one text and last symbol together. M groups, in order of row."""

    rows: Array  # [M]
    first: Array  # [M], the first candidate of each
    latest: Array  # [M], the last, whose frames stay
    scores: Array  # [M], the mass of all


def _merge(rows: Array, keys: Array, scores: Array) -> _Merged:
    """Candidates of one row and key as one, their scores added as logarithms in the candidates' order.

    The order matters: sums of logarithms round, and pyctcdecode adds one after another.
    """
    # Keys start from zero, so that row and key fit one number; stable: candidates of one group stay in order.
    keys = rows * (int(keys.max()) + 1) + keys
    order = np.argsort(keys, kind="stable")
    sorted_keys, sorted_scores = keys[order], scores[order]
    opens = np.ones(len(order), dtype=bool)
    np.not_equal(sorted_keys[1:], sorted_keys[:-1], out=opens[1:])
    begins = np.flatnonzero(opens)
    sizes = np.diff(np.append(begins, len(order)))
    total = sorted_scores[begins]
    for extra in range(1, int(sizes.max(initial=1))):
        more = np.flatnonzero(sizes > extra)
        total[more] = _add_logs(total[more], sorted_scores[begins[more] + extra])
    return _Merged(rows[order[begins]], order[begins], order[begins + sizes - 1], total)


def _add_logs(a: Array, b: Array) -> Array:
    high, low = np.maximum(a, b), np.minimum(a, b)
    out: Array = high + np.log(1 + np.exp(low - high))
    return out


def _best(rows: Array, first: Array, scores: Array, width: int, prune: float) -> Array:
    """The groups of each row that stay, best first. Equal scores in the order in which they were first seen."""
    begins = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))
    counts = np.diff(np.append(begins, len(rows)))
    least = np.maximum.reduceat(scores, begins) + prune
    if counts.max() > width:  # a row's own columns: only what reaches the last place is sorted
        table = np.full((len(begins), int(counts.max())), -np.inf)
        table[np.repeat(np.arange(len(begins)), counts), np.arange(len(rows)) - np.repeat(begins, counts)] = scores
        last_place = table.shape[1] - width
        least = np.maximum(least, np.partition(table, last_place, axis=1)[:, last_place])
    near = np.flatnonzero(scores >= np.repeat(least, counts))
    order = near[np.lexsort((-scores[near], rows[near]))]
    if (scores[order][1:] == scores[order][:-1]).any():
        order = near[np.lexsort((first[near], -scores[near], rows[near]))]
    counts = np.bincount(rows[order])
    counts = counts[counts > 0]
    rank = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    return order[rank < width]
