"""Where the words of a known text are in a recording, by a CTC model; transformers has no such task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....postprocess.audio.alignment import STAR, align_ctc
from ...media.sounds import Sound, read_sound, weigh_sound
from ...running.batching import Batch
from ...running.inputs import as_call, field_of, non_empty_text
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from . import speech_recognition
from .features import pad_rows, require_frames
from .recognition_options import CTC, RecognitionOptions, kind_of, samples_per_frame
from .results import Recognised, of_sound

SPOKEN = RecognitionOptions()


@dataclass(frozen=True)
class AlignmentOptions:
    """``unknown``: characters that the model does not know stand for any sound ("any"), or are left out ("skip")."""

    unknown: str = "any"
    allow_urls: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        require(self.unknown in ("any", "skip"), f"unknown must be 'any' or 'skip'; got {self.unknown!r}")


@dataclass(frozen=True)
class Spoken:
    """A recording and the text said in it: its words, the ids of its letters, the word of each (-1 between words)."""

    sound: Sound
    text: str
    words: Sequence[str]
    ids: Sequence[int]
    word_of: Sequence[int]


def read(inputs: Any = None, *, text: Any = None, **options: Any) -> Call:
    """``align(recording, text=...)``, or dicts that hold a recording (``audio``, or ``raw``, ``array``, ``path`` or
    ``bytes``) and its ``text``, one, a list, or a stream."""
    require(inputs is not None, "inputs must be a recording with its text, or several of them; got None")
    if text is None:
        return as_call(inputs, options)
    if isinstance(inputs, list | tuple):
        pairs = [{"audio": sound, "text": said} for sound, said in zip(inputs, text, strict=True)]
        return Call(pairs, "list", options)
    return Call([{"audio": inputs, "text": text}], "single", options)


def check(loaded: Loaded, options: AlignmentOptions) -> AlignmentOptions:
    require(
        kind_of(loaded, SPOKEN) == CTC,
        f"model must be a CTC model for forced-alignment; got {type(loaded.model).__name__}",
    )
    return options


def parse(loaded: Loaded, item: Any, options: AlignmentOptions) -> Spoken:
    if not isinstance(item, Mapping):
        raise TypeError(f"item must be a dict with a recording and its text; got {type(item).__name__}")
    text = non_empty_text("text", field_of(item, "text"))
    rest = {name: value for name, value in item.items() if name != "text"}
    sound = read_sound(
        rest,
        loaded.feature_extractor.sampling_rate,
        allow_urls=options.allow_urls,
        timeout=options.timeout,
        compat=False,
    )
    require_frames(loaded, sound.samples)
    words = text.split()
    ids, word_of = _letters(loaded, words, options)
    require(len(ids) > 0, f"text must have letters that the model knows; got {text!r}")
    return Spoken(sound, text, words, ids, word_of)


def _letters(loaded: Loaded, words: Sequence[str], options: AlignmentOptions) -> tuple[list[int], list[int]]:
    """The ids of a text's letters, with the delimiter between words, in the case that the vocabulary knows best."""
    cases = [[fold(word) for word in words] for fold in (str, str.lower, str.upper)]
    known = loaded.vocabulary
    spelled = max(cases, key=lambda own: sum(letter in known for word in own for letter in word))
    delimiter = known.get(getattr(loaded.tokenizer, "word_delimiter_token", None) or "|")
    ids: list[int] = []
    word_of: list[int] = []
    for place, word in enumerate(spelled):
        if place and delimiter is not None and ids:
            ids.append(delimiter)
            word_of.append(-1)
        own = [known.get(letter, STAR) for letter in word]
        own = [index for index in own if index != STAR] if options.unknown == "skip" else own
        ids += own
        word_of += [place] * len(own)
    return ids, word_of


def encode(loaded: Loaded, items: Sequence[Spoken], options: AlignmentOptions) -> list[Prepared]:
    prepared = speech_recognition.encode(loaded, [item.sound for item in items], SPOKEN)
    return [Prepared(own.rows, item) for own, item in zip(prepared, items, strict=True)]


def forward(loaded: Loaded, batch: Batch, options: AlignmentOptions) -> Reading:
    """Per row the log-probabilities [T, V] of its frames."""
    (logprobs,) = yield [loaded.model(**batch.inputs).logits.float().log_softmax(-1)]
    return [own[: row.facts.get("frames")] for own, row in zip(logprobs, batch.rows, strict=True)]


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Tensor]], options: AlignmentOptions
) -> list[Any]:
    """``text``, its words as ``chunks`` with their times and probabilities, and the ``score`` of the whole path: one
    search for all recordings of a window."""
    frames = [rows[0] for rows in outputs]
    letters = [torch.tensor(item.facts.ids, device="cpu") for item in items]
    found = align_ctc(
        pad_sequence(frames, batch_first=True),
        pad_sequence(letters, batch_first=True, padding_value=STAR),
        lengths=torch.tensor([len(own) for own in frames], device="cpu"),
        target_lengths=torch.tensor([len(own) for own in letters], device="cpu"),
        blank=loaded.tokenizer.pad_token_id,
    )
    samples, rate = samples_per_frame(loaded), loaded.feature_extractor.sampling_rate
    results = []
    words = found.words([item.facts.word_of for item in items])
    for item, own, score in zip(items, words, found.scores.tolist(), strict=True):
        chunks = [
            {
                "text": item.facts.words[place],
                "timestamp": (start * samples / rate, end * samples / rate),
                "confidence": sure,
            }
            for place, start, end, sure in own
        ]
        record = Recognised({"text": item.facts.text, "chunks": chunks, "score": score})
        results.append(of_sound(record, item.facts.sound))
    return results


TASK = Task(
    name="forced-alignment",
    auto_classes=("AutoModelForCTC",),
    options=AlignmentOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
    needs=("tokenizer", "feature_extractor"),
    unit="samples",
    collate=pad_rows,
    window_sizes=speech_recognition.WINDOWS,
    weigh=weigh_sound,
)
