"""What programs written for a pipeline of transformers ask of it beside calling it: parts, settings, single steps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .batching import collate
from .loaded import Loaded
from .loading import place
from .parts import PARTS
from .passes import forward, pad_values
from .task import Prepared, Task


class PreparedItem(dict[str, Any]):
    """The model's inputs of one item by name, with what its task keeps beside them for the answer."""

    prepared: Prepared
    loaded: Loaded
    options: Any


class ForwardedItem(list[Any]):
    """What the model and the task's kernel made of one item, an output for each of its rows."""

    item: PreparedItem


def _part(name: str) -> Any:
    def read(self: "AskedOfPipelines") -> Any:
        return getattr(self._loaded, name)

    def write(self: "AskedOfPipelines", value: Any) -> None:
        self._replace(**{name: value})

    return property(read, write, doc=f"The {name} in use; None where the task has none. It may be set.")


class AskedOfPipelines:
    """Attributes and methods of ``transformers.Pipeline`` over a loaded task."""

    _task: Task
    _loaded: Loaded
    _options: dict[str, Any]

    framework = "pt"
    binary_output = False
    modelcard = None
    tokenizer, image_processor = _part("tokenizer"), _part("image_processor")
    feature_extractor, video_processor = _part("feature_extractor"), _part("video_processor")
    processor = _part("processor")

    @property
    def model(self) -> Any:
        return self._loaded.model

    @model.setter
    def model(self, value: Any) -> None:
        spread = getattr(value, "hf_device_map", None) is not None  # by accelerate, which places it
        self._replace(model=value, device=place(value, None if spread else self.device))
        if hasattr(value, "eval"):
            value.eval()

    @property
    def device(self) -> torch.device:
        """Where the model runs; setting it moves the model."""
        return self._loaded.device

    @device.setter
    def device(self, value: Any) -> None:
        self._replace(device=place(self.model, value))

    @property
    def dtype(self) -> torch.dtype | None:
        return self._loaded.dtype

    torch_dtype = dtype

    @property
    def generation_config(self) -> Any:
        """What ``generate`` takes where the call says nothing: as given to the pipeline, or the model's own."""
        given = self._options.get("generation_config")
        return getattr(self.model, "generation_config", None) if given is None else given

    @generation_config.setter
    def generation_config(self, value: Any) -> None:
        self._options["generation_config"] = value

    def _replace(self, **changes: Any) -> None:
        # What was found out of the parts before them does not hold for new ones.
        forgotten: dict[str, Any] = {"findings": {}, "token_strings": {}, "token_texts": {}}
        self._loaded = replace(self._loaded, **forgotten, **changes)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """The model and every part of it into a folder, which ``pipeline(task, folder)`` loads again."""
        if Path(save_directory).is_file():
            raise ValueError(f"save_directory must be a folder; got the file {str(save_directory)!r}")
        for part in (self.model, *(getattr(self._loaded, name) for name in PARTS)):
            if hasattr(part, "save_pretrained"):
                part.save_pretrained(save_directory, **options)

    def preprocess(self, *inputs: Any, **options: Any) -> PreparedItem:
        """One item as the model's inputs. The result goes to ``forward``, and that one's to ``postprocess``."""
        call = self._task.read(*inputs, **options)
        if call.kind != "single":
            raise ValueError("preprocess takes one item; call the pipeline itself with several")
        loaded, resolved, _ = self._prepare_call(call)
        parsed = self._task.parse(loaded, next(iter(call.items)), resolved)
        (prepared,) = self._task.encode(loaded, [parsed], resolved)
        item = PreparedItem(self._inputs(loaded, prepared))
        item.prepared, item.loaded, item.options = prepared, loaded, resolved
        return item

    def _inputs(self, loaded: Loaded, prepared: Prepared) -> Mapping[str, Any]:
        """One item's rows as a batch on the model's device."""
        rows = prepared.rows
        joined = None if self._task.collate is None else self._task.collate(loaded, rows)
        return collate(
            rows,
            pad_values=pad_values(loaded, rows),
            device=loaded.device,
            left=self._task.pad_left,
            dtype=loaded.dtype,
            joined=joined,
        ).inputs

    def forward(self, model_inputs: PreparedItem, **options: Any) -> ForwardedItem:
        """The rows of one prepared item through the model and the task's kernel, one at a time."""
        if options:
            raise TypeError(f"forward takes its options from preprocess; got {', '.join(options)}")
        rows = model_inputs.prepared.rows
        found = ForwardedItem(
            forward(self._task, model_inputs.loaded, [(0, row)], model_inputs.options)[0] for row in rows
        )
        found.item = model_inputs
        return found

    def postprocess(self, model_outputs: ForwardedItem, **options: Any) -> Any:
        """The answer to one item, as a list of one would hold it."""
        if options:
            raise TypeError(f"postprocess takes its options from preprocess; got {', '.join(options)}")
        item = model_outputs.item
        (answer,) = self._task.finish(item.loaded, [item.prepared], [list(model_outputs)], item.options)
        return answer

    def transform(self, X: Any) -> Any:
        """The call by scikit-learn's name, as is ``predict``."""
        return self(X)

    def predict(self, X: Any) -> Any:
        return self(X)

    @contextmanager
    def device_placement(self) -> Iterator[None]:
        """Tensors made within are on the pipeline's device."""
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            yield

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    def _prepare_call(self, call: Any) -> tuple[Loaded, Any, dict[str, Any]]:
        raise NotImplementedError
