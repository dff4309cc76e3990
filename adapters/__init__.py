"""Wires the kernels to Hugging Face models: ``pipeline``, ``generate``, ``install`` and the command line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "afterlogits.adapters":
    raise ImportError("import afterlogits.adapters, not adapters: a second copy of the package would be loaded")

if TYPE_CHECKING:
    from .generation.generate_stream import generate_stream
    from .generation.install import custom_generate, generate, install, uninstall
    from .generation.live_batch import LiveBatch
    from .generation.text_streams import AsyncBatchTextIteratorStreamer, BatchTextIteratorStreamer
    from .patching import patch, unpatch
    from .tasks.signatures import pipeline
    from .tasks.vision.post_process import install_postprocess, post_process, uninstall_postprocess

__all__ = [
    "AsyncBatchTextIteratorStreamer",
    "BatchTextIteratorStreamer",
    "LiveBatch",
    "custom_generate",
    "generate",
    "generate_stream",
    "install",
    "install_postprocess",
    "patch",
    "pipeline",
    "post_process",
    "uninstall",
    "uninstall_postprocess",
    "unpatch",
]
_ELSEWHERE = {
    "AsyncBatchTextIteratorStreamer": ".generation.text_streams",
    "BatchTextIteratorStreamer": ".generation.text_streams",
    "LiveBatch": ".generation.live_batch",
    "generate_stream": ".generation.generate_stream",
    "install_postprocess": ".tasks.vision.post_process",
    "patch": ".patching",
    "pipeline": ".pipelines",
    "post_process": ".tasks.vision.post_process",
    "uninstall_postprocess": ".tasks.vision.post_process",
    "unpatch": ".patching",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, ".generation.install"), __name__), name)
