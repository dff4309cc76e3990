"""The four modes that transformers 5 no longer runs itself, by its names for them."""

from collections.abc import Callable
from typing import Any

from transformers.generation import GenerationMode

from .constrained_beam import run_constrained_beam
from .contrastive import run_contrastive
from .dola import run_dola
from .group_beam import run_group_beam

__all__ = ["REMOVED_MODES"]

REMOVED_MODES: dict[str, Callable[..., Any]] = {
    GenerationMode.GROUP_BEAM_SEARCH: run_group_beam,
    GenerationMode.CONSTRAINED_BEAM_SEARCH: run_constrained_beam,
    GenerationMode.CONTRASTIVE_SEARCH: run_contrastive,
    GenerationMode.DOLA_GENERATION: run_dola,
}
