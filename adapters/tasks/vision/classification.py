"""Labels of whole pictures and videos: the best of a batch on the device, as records and as columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ....postprocess.classification import ClassScores, classify
from ...running.columns import Columns, Part, join_parts, per_row
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reads
from ...running.task import Prepared
from ...running.tokenising import logits_of, taken
from .images import label_names, parts_of
from .results import ImageLabels, VideoLabels, of_source


def require_top_k(top_k: Any) -> None:
    """TypeError unless it is an int, of any sign as in transformers, or None."""
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int)):
        raise TypeError(f"top_k must be an int or None; got {top_k!r:.60}")


def best_labels(loaded: Loaded, output: Any, function: str, top_k: int | None) -> Reads[list[Part]]:
    """The ``top_k`` best labels of every row of a model's output, on the CPU.

    As in transformers None is 5, and a count below 0 is one from the end; without ``compat`` it must be 1 or more.
    """
    rows, count = logits_of(output).shape
    asked = min(5 if top_k is None else top_k, count)
    kept = asked if asked >= 0 else max(count + asked, 0)
    require(loaded.compat or kept == asked > 0, f"top_k must be at least 1; got {top_k}")
    found = yield from taken(classify, output, function_to_apply=function, top_k=max(kept, 1))
    return parts_of(found if kept else ClassScores(found.labels[:, :0], found.scores[:, :0]), rows)


def label_records(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: Any
) -> list[Any]:
    """A list of ``{label, score}`` an item, best first."""
    names = label_names(loaded)
    found = per_row([rows[0] for rows in outputs], lambda scores: scores.records(names))
    return [_labelled(own, item) for own, item in zip(found, items, strict=True)]


def _labelled(records: list[Any], item: Prepared) -> Any:
    picture = item.facts
    if isinstance(picture.image, list):
        return of_source(VideoLabels(records), picture.source, frames=picture.image)
    return of_source(ImageLabels(records), picture.source)


def label_columns(loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: Any) -> Columns:
    """A row a label: its name and score."""
    names: Mapping[int, str] = label_names(loaded)

    def columns(found: ClassScores) -> Columns:
        counts = torch.full((found.labels.shape[0],), found.labels.shape[1], dtype=torch.long, device="cpu")
        ids = found.labels.flatten()
        return Columns(
            counts, {"label": [names[label] for label in ids.tolist()], "score": found.scores.flatten().double()}
        )

    return join_parts([rows[0] for rows in outputs], columns)
