"""Recognition while the sound comes in, by a CTC model: words that are settled, and what may still change."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....postprocess.audio.ctc import frame_ids
from ....postprocess.audio.streaming import CtcStream, StreamedWords
from ....postprocess.audio.strides import rescale_stride
from ...running.loaded import Loaded
from ...running.options import require
from .ctc_recognition import alphabet_of
from .features import extract, main_input
from .recognition_options import CTC, RecognitionOptions, chunk_samples, kind_of, samples_per_frame


@dataclass(frozen=True)
class Heard:
    """Words as ``{"text", "timestamp": (start, end)}``, seconds from the beginning: ``settled`` ones, new and final,
    and the ``tail`` after them as it looks now."""

    settled: list[dict[str, Any]]
    tail: list[dict[str, Any]]


class LiveRecognition:
    """Words of a sound that comes in pieces of any length.

    pipe: an automatic-speech-recognition pipeline of a CTC model. chunk_length_s, stride_length_s: seconds that the
    model reads at once, and how many of them at the left and right are context only; the sooner a chunk is full, the
    sooner its words come. All settled words are those of ``pipe(whole, chunk_length_s=..., stride_length_s=...)``.

    >>> live = LiveRecognition(pipe, chunk_length_s=2.0, stride_length_s=(0.5, 0.5))  # doctest: +SKIP
    >>> for piece in microphone: print(live.feed(piece).settled)  # doctest: +SKIP
    >>> live.close().settled  # doctest: +SKIP
    """

    def __init__(self, pipe: Any, *, chunk_length_s: float = 4.0, stride_length_s: Any = None) -> None:
        loaded: Loaded = pipe._loaded
        options = RecognitionOptions(chunk_length_s=chunk_length_s, stride_length_s=stride_length_s)
        alphabet = alphabet_of(loaded) if kind_of(loaded, options) == CTC else None
        require(alphabet is not None, f"pipe must hold a CTC model with letters; got {type(loaded.model).__name__}")
        self._loaded = loaded
        self._lengths = chunk_samples(loaded, options)
        self._stream = CtcStream(alphabet)  # type: ignore[arg-type]
        self._waiting = np.zeros(0, dtype=np.float32)  # samples from the beginning of the next chunk on
        self._first, self._closed = True, False

    def feed(self, samples: Any) -> Heard:
        """Take samples [n] at the model's rate; what they settle, and the tail as the last full chunk left it."""
        require(not self._closed, "feed must come before close")
        piece = samples.cpu().numpy() if isinstance(samples, Tensor) else np.asarray(samples)
        require(piece.ndim == 1, f"samples must be [n]; got shape {piece.shape}")
        self._waiting = np.concatenate((self._waiting, piece.astype(np.float32)))
        chunk, left, right = self._lengths
        found = Heard([], [])
        while len(self._waiting) > chunk:  # more follows: the chunk is not the last
            found = self._add(found, self._read(self._waiting[:chunk], last=False))
            self._waiting, self._first = self._waiting[chunk - left - right :], False
        return found

    def close(self) -> Heard:
        """The words of what is left; nothing can be fed any more."""
        require(not self._closed, "close must be called once")
        self._closed = True
        left = 0 if self._first else self._lengths[1]
        if len(self._waiting) <= left:
            return self._add(
                Heard([], []), self._stream.feed(torch.zeros(0, dtype=torch.long, device="cpu"), last=True)
            )
        return self._add(Heard([], []), self._read(self._waiting, last=True))

    def over(self, pieces: Iterable[Any]) -> Iterator[Heard]:
        """What is heard after each piece, and after the last one."""
        for piece in pieces:
            yield self.feed(piece)
        yield self.close()

    def _read(self, samples: Any, *, last: bool) -> StreamedWords:
        """Read the samples so far, with their strides; last: nothing follows, so that the right part counts."""
        inputs = extract(self._loaded, samples, return_attention_mask=True)
        name = str(self._loaded.model.main_input_name)
        given = {name: inputs.get(name, main_input(inputs)), "attention_mask": inputs.get("attention_mask")}
        batch = {key: value[None].to(self._loaded.device) for key, value in given.items() if value is not None}
        if self._loaded.dtype is not None:
            batch[name] = batch[name].to(self._loaded.dtype)
        with torch.no_grad():
            ids = frame_ids(self._loaded.model(**batch).logits)[0].cpu()
        _, left, right = self._lengths
        stride = (len(samples), 0 if self._first else left, 0 if last else right)
        frames, before, after = rescale_stride(stride, 1 / samples_per_frame(self._loaded))
        own = ids[before : frames - after]
        # The context at the right is heard already, but will be read again.
        heard = own if last else ids[before:frames]
        return self._stream.feed(heard, final_frames=len(own), last=last)

    def _add(self, found: Heard, words: StreamedWords) -> Heard:
        settled = [*found.settled, *map(self._timed, words.settled)]
        return replace(found, settled=settled, tail=list(map(self._timed, words.tail)))

    def _timed(self, word: tuple[str, int, int]) -> dict[str, Any]:
        text, first, last = word
        samples, rate = samples_per_frame(self._loaded), self._loaded.feature_extractor.sampling_rate
        return {"text": text, "timestamp": (first * samples / rate, last * samples / rate)}
