"""The library's logits processors as stages of a loop.

A processor whose exact type is known becomes this engine's own incremental stage or a sampling parameter; any other is
called as the library calls it, with the ids so far and the scores, at its place in the list.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from transformers.generation import logits_process as library

from ..decoding.history import History

__all__ = ["LibraryProcessors", "keeps_rows_apart", "translate"]


ROW_WISE = frozenset(
    getattr(library, name)
    for name in (
        "EpsilonLogitsWarper",
        "EtaLogitsWarper",
        "ExponentialDecayLengthPenalty",
        "ForcedBOSTokenLogitsProcessor",
        "ForcedEOSTokenLogitsProcessor",
        "InfNanRemoveLogitsProcessor",
        "LogitNormalization",
        "MinLengthLogitsProcessor",
        "MinNewTokensLengthLogitsProcessor",
        "MinPLogitsWarper",
        "NoBadWordsLogitsProcessor",
        "NoRepeatNGramLogitsProcessor",
        "SequenceBiasLogitsProcessor",
        "SuppressTokensAtBeginLogitsProcessor",
        "SuppressTokensLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopHLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "TypicalLogitsWarper",
    )
    if hasattr(library, name)
)


class LibraryProcessors:
    """Runs the library's own processors one after another on the whole batch."""

    def __init__(self, processors: Iterable[Any], history: History):
        self.processors = list(processors)
        self.history = history

    def apply(self, logits: Tensor) -> Tensor:
        ids = self.history.ids.contiguous()
        for processor in self.processors:
            logits = processor(ids, logits)
        return logits

    def advance(self, token_ids: Tensor) -> None:
        """The history already has the tokens."""

    def select_rows(self, rows: Tensor) -> None:
        """The history has moved with the model's rows."""


def translate(processors: Iterable[Any], history: History) -> list[Any]:
    """The stages for ``processors``, in order."""
    processors = list(processors)
    return [LibraryProcessors(processors, history)] if processors else []


def keeps_rows_apart(processors: Iterable[Any]) -> bool:
    """Whether every processor is the library's own and reads one row's ids and scores at a time."""
    return all(type(processor) in ROW_WISE for processor in processors)
