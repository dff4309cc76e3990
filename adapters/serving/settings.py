"""What a server serves and how much it bears: the command's values or a file's, checked once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from ..jobs.errors import UsageError
from ..running.options import nearest_name
from ..tasks.table import find_task

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How much a server bears; each is an option of the command and a key of ``[limits]``.

    body_bytes: of a request of text; media_bytes: of one with a picture, sound or film. text_characters: of one text.
    rows: inputs of one request times what is returned for each. new_tokens: of one generated text. queue: requests that
    wait for a model. batch_rows: requests of a batch, rows of generated texts at once; batch_tokens: of prompts that
    are read together.
    seconds: until an answer must be there; head_seconds and body_seconds: for a request to arrive. connections: open at
    once. gather_ms: how long the first request of a batch waits for company. drain_seconds: for requests under way when
    the server is told to end.
    """

    body_bytes: int = MIB
    media_bytes: int = 16 * MIB
    text_characters: int = 200_000
    rows: int = 64
    new_tokens: int = 1024
    queue: int = 256
    batch_rows: int = 32
    batch_tokens: int = 4096
    seconds: float = 120.0
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    connections: int = 512
    gather_ms: float = 2.0
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            wanted = int if isinstance(each.default, int) else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted):
                raise UsageError(f"{each.name} must be a number; got {value!r}")
            if value <= 0 and each.name != "gather_ms":
                raise UsageError(f"{each.name} must be above 0; got {value}")


@dataclass(frozen=True)
class ModelChoice:
    """A task to serve and the model that does it; None takes the one that ships. options: the task's own."""

    task: str
    model: str | None = None
    name: str | None = None
    tokenizer: str | None = None
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    corrected: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown_name(self) -> str:
        """What clients call the model: as given, or the last part of its path or name."""
        if self.name is not None:
            return self.name
        return "shipped" if self.model is None else Path(self.model).name or self.model


@dataclass(frozen=True)
class Settings:
    """One server. allowed_hosts: names it answers to beside addresses of this machine's loopback and its own."""

    models: tuple[ModelChoice, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    allow_new_weights: bool = False
    page: bool = True
    limits: Limits = field(default_factory=Limits)


def read_settings(path: str) -> dict[str, Any]:
    """The content of a configuration file, TOML by its suffix or else JSON."""
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = _toml(content) if path.endswith(".toml") else json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} must be {'TOML' if path.endswith('.toml') else 'JSON'}: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} must hold a table; got {type(found).__name__}")
    return found


def _toml(content: str) -> Any:
    try:
        reader = import_module("tomllib")
    except ImportError:  # Python 3.10
        raise UsageError("a configuration in TOML needs Python 3.11 or newer; use JSON") from None
    return reader.loads(content)


def build_settings(given: Mapping[str, Any]) -> Settings:
    """Settings from the names of a file: ``host``, ``port``, ``limits`` (a table), ``models`` (a list of tables).

    Raises UsageError for a name that there is not, with the nearest one.
    """
    values = dict(given)
    limits = values.pop("limits", {})
    models = values.pop("models", [])
    if not isinstance(limits, Mapping) or not isinstance(models, list):
        raise UsageError("limits must be a table and models a list of tables")
    _known("the configuration", values, Settings)
    _known("limits", limits, Limits)
    chosen = tuple(_choice(each) for each in models)
    if "allowed_hosts" in values:
        values["allowed_hosts"] = tuple(values["allowed_hosts"])
    if not isinstance(values.get("port", 0), int) or not 0 <= values.get("port", 0) < 1 << 16:
        raise UsageError(f"port must be in [0, 65535]; got {values['port']!r}")
    return Settings(models=chosen, limits=Limits(**limits), **values)


def _choice(given: Any) -> ModelChoice:
    if not isinstance(given, Mapping) or "task" not in given:
        raise UsageError(f"every entry of models must be a table with a task; got {given!r}")
    _known("models", given, ModelChoice)
    try:
        find_task(given["task"])
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None
    return ModelChoice(**given)


def _known(where: str, given: Mapping[str, Any], kind: type[Any]) -> None:
    names = [each.name for each in fields(kind)]
    wrong = next((name for name in given if name not in names), None)
    if wrong is not None:
        nearest = nearest_name(wrong, names)
        hint = f"did you mean {nearest!r}?" if nearest else f"it takes {', '.join(names)}"
        raise UsageError(f"unknown name {wrong!r} in {where}; {hint}")
