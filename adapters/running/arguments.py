"""The arguments of ``pipeline`` itself: of the right kind, and named where they are not, before anything is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .exceptions import NoTaskError
from .options import require_bool, require_count

_TEXTS = ("revision", "code_revision", "framework")
_FLAGS = ("trust_remote_code", "use_fast", "local_files_only", "binary_output")


def check_arguments(given: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Raises TypeError for an argument of the wrong kind, ValueError for a wrong value, each by its name.

    given: the arguments of ``pipeline`` by name. parts: those of them that are a tokenizer or a processor.
    """
    task, model = given["task"], given["model"]
    if task is None and model is None:
        raise NoTaskError("task must be given, or a model that tells it; got neither")
    if task is not None:
        _require_kind("task", task, str, "a string")
    part = next((name for name, value in parts.items() if value is not None), None)
    if model is None and part is not None:
        raise NoTaskError(f"{part} must come with its model; got a {part} alone")
    if model is not None and not isinstance(model, str | Path) and not callable(model):
        raise TypeError(f"model must be a path, a name on the hub or a model; got {type(model).__name__}")
    for name, value in parts.items():
        if value is not None and not isinstance(value, str | Path) and not callable(value):
            one = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
            raise TypeError(f"{name} must be a path, a name on the hub or {one}; got {type(value).__name__}")
    _check_config(given["config"])
    _check_place(given)
    _check_plain(given)


def _check_config(config: Any) -> None:
    if config is None or isinstance(config, str | Path) or hasattr(config, "model_type"):
        return
    raise TypeError(f"config must be a path, a name on the hub or a configuration; got {type(config).__name__}")


def _check_place(given: Mapping[str, Any]) -> None:
    """Devices and types."""
    device, device_map = given["device"], given["device_map"]
    if device is not None and (isinstance(device, bool) or not isinstance(device, int | str | torch.device)):
        raise TypeError(f"device must be an ordinal or a device of torch; got {device!r}")
    if device_map is not None:
        _require_kind("device_map", device_map, (str, int, Mapping, torch.device), "a device, a name or a dict of them")
    for name in ("dtype", "torch_dtype"):
        if given[name] is not None:
            _require_kind(name, given[name], (str, torch.dtype), "a torch dtype, its name or 'auto'")


def _check_plain(given: Mapping[str, Any]) -> None:
    """Strings, flags, counts and dicts."""
    for name in _TEXTS:
        if given[name] is not None:
            _require_kind(name, given[name], str, "a string")
    if given["framework"] not in (None, "pt"):
        raise ValueError(f"framework must be 'pt', PyTorch; got {given['framework']!r}")
    for name in ("token", "use_auth_token"):
        if given[name] is not None:
            _require_kind(name, given[name], (str, bool), "a string, True or False")
    for name in _FLAGS:
        require_bool(name, given[name], optional=True)
    require_bool("compat", given["compat"])
    require_count("num_workers", given["num_workers"], least=0, optional=True)
    if given["model_kwargs"] is not None:
        _require_kind("model_kwargs", given["model_kwargs"], Mapping, "a dict")
    kind = given["pipeline_class"]
    if kind is not None and not getattr(kind, "__module__", "").startswith("transformers.pipelines"):
        raise ValueError(f"pipeline_class must be None or a class of transformers; got {kind!r}")


def _require_kind(name: str, value: Any, kinds: Any, what: str) -> None:
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {what}; got {type(value).__name__}")
