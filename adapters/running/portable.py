"""Models that torch does not pickle: those with parametrized weights, as wav2vec 2.0's convolution over positions."""

from dataclasses import replace
from typing import Any

import torch
from torch.nn.utils import parametrize

from .loaded import Loaded


def portable(loaded: Loaded) -> Loaded:
    """``loaded`` as pickle takes it: a model that torch refuses is sent as its class, configuration and weights."""
    modules = loaded.model.modules() if isinstance(loaded.model, torch.nn.Module) else ()
    if not any(parametrize.is_parametrized(module) for module in modules):
        return loaded
    return replace(loaded, model=_InParts(loaded.model))


class _InParts:
    """Stands for a model until it is pickled; what is read is the model again."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self.model), self.model.config, self.model.state_dict(), self.model.dtype)


def _rebuilt(kind: Any, config: Any, weights: dict[str, Any], dtype: torch.dtype) -> Any:
    model = kind(config).to(dtype)
    model.load_state_dict(weights)
    return model.to(next(iter(weights.values())).device).eval()
