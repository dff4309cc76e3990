"""Sounds to labels that the call names, as the zero-shot-audio-classification pipeline of transformers 5.23."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ....postprocess.transfers import sent
from ...media.sounds import Sound, read_sound, read_sounds, weigh_sound
from ...running.batching import Batch, Row, WindowSizes
from ...running.exceptions import LongTextError
from ...running.explaining import position_limit
from ...running.loaded import Loaded
from ...running.option_kinds import require_template
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import tokenize
from ...running.views import Labels
from .features import batch_groups, extract, pad_rows

WINDOWS = WindowSizes(8, 128, 128)


@dataclass(frozen=True)
class ZeroShotAudioOptions:
    candidate_labels: Sequence[str] | None = None
    hypothesis_template: str = "This is a sound of {}."
    allow_urls: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        labels = self.candidate_labels
        require(
            labels is None or (isinstance(labels, Collection) and not isinstance(labels, str) and len(labels) > 0),
            f"candidate_labels must be a list of labels; got {labels!r}",
        )
        if not isinstance(self.hypothesis_template, str):
            raise TypeError(f"hypothesis_template must be a text; got {self.hypothesis_template!r}")
        require_template(self.hypothesis_template)

    @property
    def hypotheses(self) -> list[str]:
        if self.candidate_labels is None:
            raise ValueError("candidate_labels must be given; got None")
        return [self.hypothesis_template.format(label) for label in self.candidate_labels]


def read(audios: Any = None, **options: Any) -> Call:
    """A recording, a list of them, or any iterable of them."""
    return read_sounds(audios, **options)


def parse(loaded: Loaded, item: Any, options: ZeroShotAudioOptions) -> Sound:
    return read_sound(
        item,
        loaded.feature_extractor.sampling_rate,
        allow_urls=options.allow_urls,
        timeout=options.timeout,
        compat=loaded.compat,
    )


def encode(loaded: Loaded, items: Sequence[Sound], options: ZeroShotAudioOptions) -> list[Prepared]:
    inputs = [extract(loaded, sound.samples) for sound in items]
    groups = batch_groups(loaded, inputs, None)
    return [
        Prepared([Row(own, len(sound.samples), None, {}, group)], sound)
        for own, sound, group in zip(inputs, items, groups, strict=True)
    ]


def forward(loaded: Loaded, batch: Batch, options: ZeroShotAudioOptions) -> Reading:
    """Per row, the logits of the labels. The labels go through the model once for a batch."""
    texts = tokenize(loaded.tokenizer, options.hypotheses, return_tensors="pt", padding=True)
    asked = {name: sent(values, loaded.device) for name, values in texts.items()}
    try:
        found = loaded.model(**asked, **batch.inputs)
    except (IndexError, RuntimeError) as error:
        raise _explained(error, loaded, texts["attention_mask"], options) from error
    (logits,) = yield [found.logits_per_audio]
    return list(logits)


def _explained(
    error: Exception, loaded: Loaded, attention_mask: torch.Tensor, options: ZeroShotAudioOptions
) -> Exception:
    """The error of a model that has fewer positions than a label with its template has tokens names that label."""
    limit, lengths = position_limit(loaded.model), attention_mask.sum(dim=1)
    if limit is None or int(lengths.max()) <= limit:
        return error
    label, length = list(options.candidate_labels or ())[int(lengths.argmax())], int(lengths.max())
    return LongTextError(
        f"candidate_labels must be at most {limit} tokens with their template; got {length} for {label!r:.60}"
    )


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ZeroShotAudioOptions
) -> list[Any]:
    labels = list(options.candidate_labels or ())
    scores = torch.stack([rows[0] for rows in outputs]).softmax(dim=1)
    # Equal scores stay in the order of the labels, as transformers' stable sort leaves them.
    values, places = scores.sort(dim=1, descending=True, stable=True)
    finished = []
    for item, own, order in zip(items, values.tolist(), places.tolist(), strict=True):
        found = Labels({"score": score, "label": labels[place]} for score, place in zip(own, order, strict=True))
        found.text = item.facts.name
        finished.append(found)
    return finished


TASK = Task(
    name="zero-shot-audio-classification",
    auto_classes=("AutoModel",),
    options=ZeroShotAudioOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    needs=("tokenizer", "feature_extractor"),
    unit="samples",
    collate=pad_rows,
    window_sizes=WINDOWS,
    weigh=weigh_sound,
)
