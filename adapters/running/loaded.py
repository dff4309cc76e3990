"""The model of a pipeline, what runs its forward passes, and what its processors tell the tasks."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from inspect import signature
from typing import Any

import torch

from .onednn_products import LEAST_TOKENS, OneDnnProducts, gains_by_onednn


@dataclass(frozen=True)
class Loaded:
    """A model and its processors, ready to run, and what the tasks need to know of them.

    ``tokenizer``, ``image_processor``, ``feature_extractor``, ``video_processor`` and ``processor`` (several in one):
    those that the task uses (``Task.needs``, ``Task.may_use``); the others are None. ``batch_tokens``: the budget of a
    batch in the unit of the task (``Task.unit``).
    """

    task: str
    model: Any
    tokenizer: Any
    device: torch.device
    compat: bool = True
    batch_tokens: int = 4096
    batch_size: int | None = None
    constructed: Mapping[str, Any] = field(default_factory=dict)  # the options the pipeline was built with
    findings: dict[str, Any] = field(default_factory=dict)  # found out once for this model, shared by its calls
    token_strings: dict[int, str] = field(default_factory=dict)  # as the vocabulary has them, for ids met so far
    token_texts: dict[int, str] = field(default_factory=dict)  # as decode gives them
    image_processor: Any = None
    feature_extractor: Any = None
    video_processor: Any = None
    processor: Any = None
    in_company: bool = False  # whether a row that has a batch to itself comes with others that have not asked for one

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of the model's numbers, which its inputs take; None where the model does not say."""
        found: torch.dtype | None = None
        if getattr(type(self.model), "dtype", None) is _plain_dtype():
            found = _first_float(self.model)
        return getattr(self.model, "dtype", None) if found is None else found

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        found: dict[str, int] = self.tokenizer.get_vocab()
        return found

    def token_text(self, token_id: int) -> str:
        """What one token decodes to."""
        if token_id not in self.token_texts:
            self.token_texts[token_id] = self.tokenizer.decode([token_id])
        return self.token_texts[token_id]

    @property
    def row_by_row(self) -> bool:
        """Whether a row's answer hangs on its neighbours: layers that quantize what goes through them by its range."""
        if "row_by_row" not in self.findings:
            modules = self.model.modules() if hasattr(self.model, "modules") else ()
            self.findings["row_by_row"] = any("quantized.dynamic" in type(each).__module__ for each in modules)
        return bool(self.findings["row_by_row"])

    @property
    def no_cache(self) -> dict[str, bool]:
        """``use_cache=False`` where the model's forward takes it: one pass needs no cache."""
        if "no_cache" not in self.findings:
            takes = "use_cache" in signature(getattr(self.model, "forward", self.model)).parameters
            self.findings["no_cache"] = {"use_cache": False} if takes else {}
        found: dict[str, bool] = self.findings["no_cache"]
        return found

    def run(self, **inputs: Any) -> Any:
        """The model's outputs for a batch, its matrix products by whatever is fastest for them here."""
        sizes = [value.shape[0] for value in inputs.values() if isinstance(value, torch.Tensor) and value.dim()]
        rows = min(sizes, default=1)
        if rows == 1 and not self.in_company:
            return self.model(**inputs)
        with self.in_pass(rows):
            return self.model(**inputs)

    def run_tokens(self, **inputs: Any) -> Any:
        """The same for a batch of texts."""
        with self.in_token_pass(inputs.get("input_ids")):
            return self.model(**inputs)

    def in_token_pass(self, input_ids: Any) -> AbstractContextManager[Any]:
        """What a forward pass of texts runs in. Of few tokens no product is large enough to gain, and looking at each
        call would cost more."""
        few = input_ids is None or input_ids.numel() < LEAST_TOKENS
        return nullcontext() if few else self.in_pass(len(input_ids))

    def in_pass(self, rows: int) -> AbstractContextManager[Any]:
        """What a forward pass of so many rows runs in, for methods of the model that are not its forward.

        A single row is computed as transformers does, to the last bit; see onednn_products.py.
        """
        if "by_onednn" not in self.findings:
            self.findings["by_onednn"] = gains_by_onednn(self.model)
        together = rows > 1 or self.in_company
        return OneDnnProducts() if together and self.findings["by_onednn"] else nullcontext()


@cache
def _plain_dtype() -> Any:
    """The property of transformers' models that tells their type; what wraps a model may have one of its own."""
    from transformers import PreTrainedModel

    return PreTrainedModel.dtype


def _first_float(module: torch.nn.Module) -> torch.dtype | None:
    """The type of the first parameter of floats, in the order of ``module.parameters()``: what that property returns,
    in a tenth of its time."""
    for parameter in module._parameters.values():
        if parameter is not None and parameter.is_floating_point():
            return parameter.dtype
    for child in module._modules.values():
        found = None if child is None else _first_float(child)
        if found is not None:
            return found
    return None
