"""Labels of sounds, as the audio-classification pipeline of transformers 5.23."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ....postprocess.top_labels import FUNCTIONS, TopLabels, choose_audio_function, top_labels
from ...media.sounds import Sound, read_sound, read_sounds, weigh_sound
from ...running.batching import Batch, Row, WindowSizes
from ...running.columns import Columns, Part, join_parts, per_row
from ...running.loaded import Loaded
from ...running.options import require_choice, require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import taken
from ...running.views import Labels
from ..text.text_classification import label_names
from .features import batch_groups, extract, frames_of, pad_rows, require_frames

WINDOWS = WindowSizes(8, 128, 128)


class _Called(int):
    """A ``top_k`` that a call itself names."""


@dataclass(frozen=True)
class AudioClassificationOptions:
    top_k: int | None = None
    function_to_apply: str | None = None
    allow_urls: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        require_count("top_k", self.top_k, optional=True)
        require_choice("function_to_apply", self.function_to_apply, (*FUNCTIONS, None))

    def kept(self, loaded: Loaded) -> int | None:
        """How many labels are returned. transformers forgets a ``top_k`` that the pipeline was built with: every label
        comes back unless the call names one."""
        return None if loaded.compat and not isinstance(self.top_k, _Called) else self.top_k


def read(inputs: Any = None, **options: Any) -> Call:
    """A recording, a list of them, or any iterable of them."""
    if type(options.get("top_k")) is int:
        options["top_k"] = _Called(options["top_k"])
    return read_sounds(inputs, **options)


def parse(loaded: Loaded, item: Any, options: AudioClassificationOptions) -> Sound:
    rate, urls, wait = loaded.feature_extractor.sampling_rate, options.allow_urls, options.timeout
    sound = read_sound(item, rate, allow_urls=urls, timeout=wait, compat=loaded.compat)
    require_frames(loaded, sound.samples)
    return sound


def encode(loaded: Loaded, items: Sequence[Sound], options: AudioClassificationOptions) -> list[Prepared]:
    inputs = [extract(loaded, sound.samples) for sound in items]
    if loaded.batch_size is not None and loaded.compat:
        groups: Sequence[Any] = [None] * len(inputs)
    else:
        groups = batch_groups(loaded, inputs, frames_of(loaded, inputs))
    return [
        Prepared([Row(own, len(sound.samples), None, {}, group)], sound)
        for own, sound, group in zip(inputs, items, groups, strict=True)
    ]


def forward(loaded: Loaded, batch: Batch, options: AudioClassificationOptions) -> Reading:
    """Per row, its part of the batch's labels and scores, best first."""
    output = loaded.model(**batch.inputs)
    function = choose_audio_function(getattr(loaded.config, "problem_type", None), options.function_to_apply)
    labels = yield from taken(top_labels, output, top_k=options.kept(loaded), function_to_apply=function)
    return [Part(labels, row) for row in range(len(batch.rows))]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: AudioClassificationOptions
) -> Columns:
    names = label_names(loaded)

    def read_labels(found: TopLabels) -> Columns:
        rows, kept = found.labels.shape
        labels = [names[index] for index in found.labels.flatten().tolist()]
        return Columns(
            torch.full((rows,), kept, device="cpu"), {"score": found.scores.flatten().double().cpu(), "label": labels}
        )

    return join_parts([rows[0] for rows in outputs], read_labels)


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: AudioClassificationOptions
) -> list[Any]:
    names = loaded.config.id2label
    rows = per_row([rows[0] for rows in outputs], lambda found: found.records(names))
    return [_labels(records, item.facts.name) for item, records in zip(items, rows, strict=True)]


def _labels(records: list[Any], text: str | None) -> Labels:
    found = Labels(records)
    found.text = text
    return found


def in_order(loaded: Loaded, options: AudioClassificationOptions) -> bool:
    """A given batch size asks for transformers' own batches, whose padding shows in the scores."""
    return loaded.batch_size is not None and loaded.compat


TASK = Task(
    name="audio-classification",
    auto_classes=("AutoModelForAudioClassification",),
    options=AudioClassificationOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
    in_order=in_order,
    needs=("feature_extractor",),
    unit="samples",
    collate=pad_rows,
    window_sizes=WINDOWS,
    weigh=weigh_sound,
)
