"""A model and its processors for a task: from a path, from objects, or the checkpoint that ships with the package."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .loaded import Loaded
from .parts import load_parts, require_place, without_use_fast
from .task import Task

# The budget of a batch on the CPU and on an accelerator, by the unit a task counts its rows in: about what keeps the
# one busy and still in cache, the other busy and within its memory.
BATCH_BUDGETS = {
    "tokens": (2048, 32768),
    "pixels": (1 << 19, 1 << 24),
    "samples": (1 << 20, 1 << 25),
}


class NewWeights(UserWarning):
    """A model has weights that its checkpoint does not hold, most often the head of another task."""


def load(
    task: Task,
    model: Any = None,
    parts: Mapping[str, Any] | None = None,
    *,
    config: Any = None,
    compat: bool = True,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = None,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    hub: Mapping[str, Any] | None = None,
    asked: str | None = None,
) -> Loaded:
    """Load what is a path or a name, take what is an object, and move the model to its device.

    ``parts``: the processors that the caller gave, by name: objects, paths or names on the hub (parts.py).
    ``device``: "cpu", "cuda:1", an ordinal (the CPU where there is no accelerator), -1 for the CPU; None is the first
    accelerator, else the CPU. Not together
    with ``device_map``, which transformers reads with accelerate; without it, a map that names one device is that.
    ``dtype``: None keeps the checkpoint's own, as transformers 5 does; the checkpoints that ship with the package,
    stored in half precision, run in float32. ``asked``: the name the caller used for the task.
    """
    if device is not None and device_map is not None:
        raise ValueError("device and device_map must not both be given")
    if device_map is not None and (single := _single_place(device_map)) is not None:
        device, device_map = single, None
    name = _shipped(task) if model is None else model if isinstance(model, str | Path) else None
    if name is None:
        model = model if dtype in (None, "auto") else model.to(_dtype(dtype))
    else:
        arguments = {**without_use_fast(hub or {}), **(model_kwargs or {})}
        if model is None:
            with _quietly():
                model = _model(task, name, config, dtype or torch.float32, device_map, arguments)
        else:
            model = _model(task, name, config, dtype, device_map, arguments)
    held = load_parts(task, parts or {}, name, hub or {})
    where = place(model, device)
    if hasattr(model, "eval"):
        model.eval()
    budget = batch_tokens or BATCH_BUDGETS[task.unit][where.type != "cpu"]
    return Loaded(
        asked or task.name,
        model,
        device=where,
        compat=compat,
        batch_tokens=budget,
        batch_size=batch_size,
        **held,
    )


def for_call(loaded: Loaded, batch_size: int | None, batch_tokens: int | None, compat: bool | None) -> Loaded:
    """``loaded`` with the batch sizes of one call."""
    if batch_size is None and batch_tokens is None and compat is None:
        return loaded
    return replace(
        loaded,
        batch_size=loaded.batch_size if batch_size is None else batch_size,
        batch_tokens=loaded.batch_tokens if batch_tokens is None else batch_tokens,
        compat=loaded.compat if compat is None else compat,
    )


def _shipped(task: Task) -> Path:
    """The folder of the checkpoint that ships for a task."""
    from ..checkpoints import path

    try:
        return path(task.name)
    except ValueError:
        raise ValueError(f"model must be given for {task.name}: no checkpoint for it ships with the package") from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' bar and its table of weights: what ships is known to fit. A verbosity that somebody has
    set stays."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    if level == logging.WARNING:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if level == logging.WARNING:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()


def _model(task: Task, given: str | Path, config: Any, dtype: Any, device_map: Any, options: dict[str, Any]) -> Any:
    """The model of a folder or a name, by the first of the task's classes that takes its configuration."""
    import transformers

    name = str(given)
    require_place("model", name)
    if config is not None:
        options["config"] = (
            transformers.AutoConfig.from_pretrained(str(config)) if isinstance(config, str | Path) else config
        )
    if device_map is not None:
        options["device_map"] = device_map
    options.setdefault("dtype", "auto" if dtype is None else _dtype(dtype))
    failed: Exception | None = None
    for auto_class in task.auto_classes:
        if not hasattr(transformers, auto_class):  # of a later version
            continue
        try:
            model, found = getattr(transformers, auto_class).from_pretrained(name, **options, output_loading_info=True)
        except ValueError as error:  # this Auto class does not know the architecture; the next may
            failed = failed or error
            continue
        _warn_of_new_weights(task, name, auto_class, found)
        return model
    raise failed if failed is not None else ValueError(f"{task.name} has no model class")


def _warn_of_new_weights(task: Task, name: str, auto_class: str, found: Mapping[str, Any]) -> None:
    """Warn of weights that were drawn at random because the checkpoint lacks them, or has them in another shape.

    A pooler on top of a model without a head is none of them: the hidden states do not pass through it.
    """
    mismatched = [each if isinstance(each, str) else each[0] for each in found.get("mismatched_keys", ())]
    new = sorted({*found.get("missing_keys", ()), *mismatched})
    if auto_class == "AutoModel":
        new = [each for each in new if "pooler" not in each.split(".")]
    if new:
        shown = ", ".join(new[:4]) + (f" and {len(new) - 4} more" if len(new) > 4 else "")
        warnings.warn(
            f"{name} holds no weights for {shown}: they are random, and so are the answers of {task.name}",
            NewWeights,
            stacklevel=5,
        )


def _dtype(dtype: Any) -> Any:
    if isinstance(dtype, str) and dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype):
            raise ValueError(f"dtype must be a torch dtype, its name or 'auto'; got {dtype!r}")
        return found
    return dtype


def place(model: Any, device: Any) -> torch.device:
    """Move the model where it should run, and say where that is."""
    if getattr(model, "hf_device_map", None) is not None:
        if device is not None:
            raise ValueError("device must be None for a model that was loaded with device_map")
        return torch.device(model.device)
    if device is None:
        device = _accelerator() or "cpu"
    elif isinstance(device, int):  # without an accelerator every ordinal is the CPU, as in transformers
        found = _accelerator() if device >= 0 else None
        device = "cpu" if found is None else torch.device(found, device)
    try:
        where = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be an ordinal or a device of torch; got {device!r}") from None
    # An object that is no module of torch (an ONNX session, say) runs where it runs.
    if hasattr(model, "to") and getattr(model, "device", None) != where:
        try:
            model.to(where)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"device must be one that torch can use here; got {str(where)!r}: {error}") from error
    return where


def _single_place(device_map: Any) -> Any:
    """The device of a map that names a single one, where accelerate is not there to read it; else None."""
    from transformers.utils import is_accelerate_available

    places = set(device_map.values()) if isinstance(device_map, Mapping) else {device_map}
    if len(places) != 1 or is_accelerate_available():
        return None
    place = places.pop()
    return (_accelerator() or "cpu") if place in ("auto", "balanced", "balanced_low_0", "sequential") else place


def _accelerator() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None
