"""The same tasks on Ray Data: a processor for data sets, and ``afterlogits run --engine ray`` for files.

Scale-out is Ray's own: its actors, its blocks, its checkpoints. Needs ``pip install 'afterlogits[ray]'``.
"""

from .processor import ProcessorConfig, build_processor, processor

__all__ = ["ProcessorConfig", "build_processor", "processor"]
