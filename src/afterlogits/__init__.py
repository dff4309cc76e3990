"""Everything that happens after a model's forward pass, exact and fast.

``afterlogits.decoding`` (torch only) turns logits into tokens, ``afterlogits.postprocess`` (torch only) turns model
outputs into answers, ``afterlogits.adapters`` wires both to Hugging Face models. The names below load on first use,
so that ``import afterlogits`` imports neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters.generation.generate_stream import generate_stream
    from .adapters.generation.install import custom_generate, generate, install, uninstall
    from .adapters.patching import patch, unpatch
    from .adapters.tasks.signatures import pipeline
    from .decoding import SamplingParams, sample, top_k_top_p_filtering

__version__ = "0.1.0"
__all__ = [
    "SamplingParams",
    "custom_generate",
    "generate",
    "generate_stream",
    "install",
    "patch",
    "pipeline",
    "sample",
    "top_k_top_p_filtering",
    "uninstall",
    "unpatch",
]

_HOME = {
    "SamplingParams": ".decoding",
    "custom_generate": ".adapters",
    "generate": ".adapters",
    "generate_stream": ".adapters",
    "install": ".adapters",
    "patch": ".adapters",
    "pipeline": ".adapters",
    "sample": ".decoding",
    "top_k_top_p_filtering": ".decoding",
    "uninstall": ".adapters",
    "unpatch": ".adapters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
