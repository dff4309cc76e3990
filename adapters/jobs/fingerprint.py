"""What an unfinished job was: task, options, model files and versions. Another one must not go on with its shards."""

import json
import os
from collections.abc import Mapping
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import Any

_READ = {".json", ".safetensors", ".bin", ".pt", ".pth", ".txt", ".model", ".jinja", ".py", ".vocab", ".spm"}
_VERSIONS = ("torch", "transformers", "tokenizers")


def fingerprint_of(job: Any, pipe: Any, reading: Mapping[str, Any], output: Any) -> dict[str, Any]:
    """Everything the bytes of the output depend on but the items, whose digests the shards hold.

    reading: how the bytes of the input become items, as ``Source.reading`` says it.
    """
    from ... import __version__

    model = pipe.model
    found = {
        "task": job.task,
        "option": {name: value for name, value in job.options.items() if name != "seeds"},
        "setting": {
            "seed": job.seed,
            "columns": job.columns,
            "keep": job.keep,
            "flat": job.flat,
            "max-line": job.max_line,
            **reading,
            "output format": str(output),
            **_folders(job),
            "corrected": not job.pipeline.get("compat", True),
            "batch-size": job.pipeline.get("batch_size"),
            "batch-tokens": job.pipeline.get("batch_tokens"),
            "device": str(pipe.device.type),
            "dtype": str(getattr(model, "dtype", None)),
        },
        "model": {"class": type(model).__name__, "revision": getattr(model.config, "_commit_hash", None)},
        "model files": _files(job, pipe),
        "version of": {
            "afterlogits": __version__,
            **{name: _version(name) for name in _VERSIONS},
        },
    }
    # As it comes back from its file.
    return json.loads(json.dumps(found, default=repr))  # type: ignore[no-any-return]


def _folders(job: Any) -> dict[str, Any]:
    """Where files beside the output go: a job that went on into another folder would leave some in each."""
    found = {name: getattr(job, name) for name in ("pictures", "subtitles")}
    absolute = {name: None if folder is None else os.path.realpath(folder) for name, folder in found.items()}
    return {**absolute, "subtitle-format": job.subtitle_format if job.subtitles else None}


def _files(job: Any, pipe: Any) -> dict[str, str]:
    """A digest of each file that the model and its tokenizer are read from, where they are folders."""
    folders = [
        job.pipeline.get("model") or getattr(pipe.model.config, "_name_or_path", ""),
        job.pipeline.get("tokenizer"),
    ]
    found: dict[str, str] = {}
    for folder in folders:
        if folder and os.path.isdir(folder):
            for name in sorted(os.listdir(folder)):
                path = Path(folder) / name
                if path.suffix in _READ and path.is_file():
                    found[name if folder == folders[0] else f"{folder}/{name}"] = digest_of_file(path)
    return found


def digest_of_file(path: Path) -> str:
    found = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
