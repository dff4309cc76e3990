"""Models that decode a sound window after window and again at higher temperatures: Whisper and its like.

Their ``generate`` calls its loop once a window and temperature, on the clips that are still going or have failed. What
a request holds for a clip follows the clip: its seed also knows the window and the attempt, so that a clip's tokens
depend on its seed alone, whatever else is in the batch.
"""

import hashlib
import inspect
from dataclasses import replace
from typing import Any

import torch

from ...postprocess.transfers import sent
from .encoder_reuse import EncoderReuse, Heard
from .generation_mixin import Engine
from .request import Pending, Request, current_pending, has_rows, per_row
from .selection import require_draws
from .word_times import WordTimes, clips_alone

__all__ = ["FallbackEngine"]


class FallbackEngine(WordTimes, EncoderReuse, Engine):
    """The engine under a ``generate`` that takes temperatures as what to try in turn."""

    # A tuple of them is the model's own, not one a row.
    _own_sequences = frozenset({"temperature"})

    def _pending(self, request: Request, options: dict[str, Any]) -> tuple[Pending, dict[str, Any]]:
        """What the windows of a call draw with, and the options left for transformers, which then draws at all."""
        config = options.get("generation_config") or self.generation_config
        if request.rows or request.seeds is not None:
            asked = options.get("temperature")
            tried = list(asked) if isinstance(asked, (list, tuple)) else [asked]
            if not any(temperature is not None and temperature > 0 for temperature in tried):
                # Without a temperature transformers would not draw here, whatever do_sample says.
                require_draws(_Sampling(options.get("do_sample", getattr(config, "do_sample", False))), request)
                options = {**options, "temperature": 1.0}
        copies = options.get("num_return_sequences") or getattr(config, "num_return_sequences", None) or 1
        return Windows(request, int(copies)), options

    def generate_with_fallback(self, *arguments: Any, **options: Any) -> Any:
        pending = current_pending()
        if not isinstance(pending, Windows):
            return super().generate_with_fallback(*arguments, **options)
        bound = inspect.signature(super().generate_with_fallback).bind(*arguments, **options)
        pending.open([int(clip) for clip in bound.arguments["batch_idx_map"]])
        sequences, outputs, skipped, *others = super().generate_with_fallback(*arguments, **options)
        if pending.silent:
            skipped = [pending.silent[clip] for clip in pending.opened]
        return (sequences, outputs, skipped, *others)

    @staticmethod
    def _maybe_reduce_batch(
        input_features: Any, seek: Any, max_frames: Any, cur_bsz: int, batch_idx_map: list[int]
    ) -> tuple[Any, int, list[int]]:
        """The features of the clips that go on, copied once, and not once more for every clip that has ended."""
        on = [place for place, clip in enumerate(batch_idx_map) if seek[clip] < max_frames[clip]]
        features = input_features
        if len(on) < cur_bsz:
            features = features.index_select(
                0, sent(torch.tensor(on, dtype=torch.int64, device="cpu"), features.device)
            )
        return features, len(on), [batch_idx_map[place] for place in on]

    def _need_fallback(self, *arguments: Any, **options: Any) -> Any:
        """Whether a clip is decoded once more, and whether it is silent.

        transformers looks for the chance of no speech, and keeps what it found, by a clip's place among those that are
        retried; so a clip can lose its text for the silence of another. Where a clip must have the answer it has alone
        its own place counts. ``no_speech_threshold`` without ``logprob_threshold`` fails there and stands alone here.
        """
        pending, need = current_pending(), super()._need_fallback
        if not isinstance(pending, Windows):
            return need(*arguments, **options)
        given = inspect.signature(need).bind(*arguments, **options).arguments
        config, index = given["generation_config"], given["index"]
        threshold, least = config.no_speech_threshold, config.logprob_threshold
        if threshold is None or (least is not None and not pending.by_clip):
            found = need(*arguments, **options)
        else:
            pending.logprob = None
            config.no_speech_threshold = None
            try:
                again, _ = need(*arguments, **options)
            finally:
                config.no_speech_threshold = threshold
            silent = pending.no_speech(given["logits_processor"], index) > threshold
            silent = silent and (least is None or pending.logprob < least)
            pending.silent[pending.clips[index]] = silent
            found = again and not silent, silent
        pending.failed.append(bool(found[0]))
        return found

    def _retrieve_avg_logprobs(self, scores: Any, tokens: Any, temperature: Any) -> Any:
        """The same without a temperature, where transformers fails."""
        found = super()._retrieve_avg_logprobs(scores, tokens, 0.0 if temperature is None else temperature)
        pending = current_pending()
        if isinstance(pending, Windows):
            pending.logprob = float(found)
        return found


class _Sampling:
    """As much of a configuration as says whether tokens are drawn."""

    def __init__(self, do_sample: Any):
        self.do_sample = do_sample


class Windows(Pending):
    """Hands each loop the request of the clips it decodes."""

    def __init__(self, request: Request, copies: int):
        super().__init__(request)
        self.copies = copies
        self.total: int | None = None  # rows of the whole call, returned sequences counted
        self.window = self.attempt = -1
        self.clips: list[int] = []  # of the attempt
        self.opened: list[int] = []  # of the window
        self.failed: list[bool] = []
        self.silent: dict[int, bool] = {}  # by clip, where that is told here
        self.logprob: float | None = None  # of the clip that is looked at
        self.by_clip = request.seeds is not None or clips_alone()
        self.heard = Heard()

    def open(self, clips: list[int]) -> None:
        """A new window of ``clips`` begins."""
        self.total = len(clips) if self.total is None else self.total
        self.window, self.attempt, self.clips, self.failed = self.window + 1, -1, clips, []
        self.opened, self.silent = clips, {}

    def no_speech(self, processors: Any, index: int) -> float:
        """The chance that a clip of the attempt says nothing; it is told once a window, for all clips of it."""
        chances = next(each.no_speech_prob for each in processors if hasattr(each, "no_speech_prob"))
        place = self.opened.index(self.clips[index]) if len(chances) == len(self.opened) else index
        return float(chances[place])

    def take(self, config: Any, rows: int) -> Request:
        self.taken += 1
        if self.total is None:  # a loop outside of the windows
            return replace(Request(), compact=self.request.compact, shared_prefill=self.request.shared_prefill)
        if self.failed:
            self.clips = [clip for clip, failed in zip(self.clips, self.failed, strict=False) if failed]
        self.attempt, self.failed = self.attempt + 1, []
        # A static cache keeps its rows: those without a clip are given the first clip's options.
        clips = (self.clips + self.clips[:1] * rows)[:rows]
        return self._of(clips, draws=bool(config.do_sample))

    def _of(self, clips: list[int], *, draws: bool) -> Request:
        """The request of the clips that a pass decodes; draws: whether it draws, so that seeds and row options count.

        A clip's seed moves with its window and attempt, so that no two passes draw with the same noise.
        """
        request = self.request
        chosen: dict[str, Any] = {
            "rows": {name: self._select(name, value, clips) for name, value in request.rows.items()} if draws else {},
            "rules": {name: self._select(name, value, clips) for name, value in request.rules.items()},
            "seeds": None,
        }
        for name in ("max_new_tokens", "eos_token_id"):
            value = getattr(request, name)
            chosen[name] = None if value is None else self._expanded(name, value, clips)
        if request.seeds is not None and draws:
            seeds = per_row("seeds", request.seeds, self._rows, self.copies)
            if len(request.seeds) != self._rows:  # copies of one clip are draws of their own
                seeds = [int(seed) + index % self.copies for index, seed in enumerate(seeds)]
            chosen["seeds"] = [_seed_at(int(seeds[clip]), self.window, self.attempt) for clip in clips]
        return replace(request, **chosen)

    @property
    def _rows(self) -> int:
        assert self.total is not None
        return self.total

    def _select(self, name: str, value: Any, clips: list[int]) -> Any:
        return self._expanded(name, value, clips) if has_rows(name, value) else value

    def _expanded(self, name: str, value: Any, clips: list[int]) -> list[Any]:
        rows = per_row(name, value, self._rows, self.copies)
        return [rows[clip] for clip in clips]


def _seed_at(seed: int, window: int, attempt: int) -> int:
    """The seed of a clip's ``attempt`` at a window: its own at first, unlike ones later.

    >>> _seed_at(7, 0, 0), _seed_at(7, 1, 0) == _seed_at(7, 0, 1)
    (7, False)
    """
    if window == attempt == 0:
        return seed
    digest = hashlib.blake2b(f"{seed} {window} {attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
