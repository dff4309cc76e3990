"""Sounds to model inputs by the model's feature extractor, and which of them may share a padded batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...media.sounds import Samples
from ...running.batching import Row, stacked
from ...running.loaded import Loaded
from .extractors import quick

# Model inputs that hold the sound itself; they are padded with the extractor's value, all others with 0.
SOUNDS = ("input_values", "input_features")
# Methods that tell how many frames a model makes of an input of some length.
_LENGTHS = ("_get_feat_extract_output_lengths", "_get_subsampling_output_length", "_get_output_lengths")
_TOLERANCE = 1e-4
LEAST_DOUBTED = 4096  # samples; any model of raw samples makes a frame of more
_PROBE_SECONDS = (0.5, 0.8)

Frames = Callable[[int], int]


def extract(loaded: Loaded, samples: Samples, **options: Any) -> dict[str, Tensor]:
    """The feature extractor's inputs for one sound, without their batch axis, as transformers' pipelines call it."""
    if "extractor" not in loaded.findings:
        loaded.findings["extractor"] = quick(loaded.feature_extractor)
    extractor = loaded.findings["extractor"]
    try:
        found = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt", **options)
    except OverflowError as error:  # numpy 2 refuses to scale whole numbers beyond their type
        name = type(loaded.feature_extractor).__name__
        raise TypeError(
            f"audio must hold floats in [-1, 1] for {name}, or compat be False, which scales whole numbers; "
            f"got {samples.dtype}: {error}"
        ) from None
    return {name: value[0] for name, value in found.items()}


def main_input(inputs: Mapping[str, Tensor]) -> Tensor:
    """The sound among a row's inputs."""
    name = next((name for name in SOUNDS if name in inputs), None)
    return next(iter(inputs.values())) if name is None else inputs[name]


def pad_rows(loaded: Loaded, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Rows as one batch: every input padded on the right along the axis in which it differs."""
    names = rows[0].inputs
    value = getattr(loaded.feature_extractor, "padding_value", 0.0) or 0.0
    return {name: _pad([row.inputs[name] for row in rows], value if name in SOUNDS else 0) for name in names}


def _pad(tensors: Sequence[Tensor], value: float) -> Tensor:
    if all(tensor.shape == tensors[0].shape for tensor in tensors):
        return stacked(tensors)
    largest = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    padded = tensors[0].new_full((len(tensors), *largest), value)
    for row, tensor in zip(padded, tensors, strict=True):
        row[tuple(slice(size) for size in tensor.shape)] = tensor
    return padded


def batch_groups(loaded: Loaded, rows: Sequence[Mapping[str, Tensor]], frames: Frames | None) -> list[Any]:
    """For each row, what rows must have in common to share a batch: nothing where padding is known to change no
    answer (``frames``, see ``frames_of``), else the shapes."""
    return [None if frames is not None else tuple(main_input(row).shape) for row in rows]


def frames_of(loaded: Loaded, rows: Sequence[Mapping[str, Tensor]], **options: Any) -> Frames | None:
    """How many frames of output are a row's own in a padded batch, or None where rows must not be padded.

    Padding is harmless only for models that mask it throughout: group norms, strided convolutions and pooling without
    lengths all let it through. Told once for a model by what it does: a sound of noise alone and beside a longer one
    must give the same numbers, in the count of frames that the model states for its length.
    """
    if len({tuple(main_input(row).shape) for row in rows}) < 2:
        return None
    if "frames_of" not in loaded.findings:
        loaded.findings["frames_of"] = _probe(loaded, options)
    found: Frames | None = loaded.findings["frames_of"]
    return found


def _probe(loaded: Loaded, options: Mapping[str, Any]) -> Frames | None:
    """Which frames are a sound's own, where two sounds of noise show that padding changes no answer; else None."""
    drawn = torch.Generator().manual_seed(0)
    rate = loaded.feature_extractor.sampling_rate
    sounds = [
        torch.randn(int(seconds * rate), generator=drawn, device="cpu").mul(0.1).numpy() for seconds in _PROBE_SECONDS
    ]
    try:
        rows = [Row(extract(loaded, sound, **options), len(sound)) for sound in sounds]
        if "attention_mask" not in rows[0].inputs:
            return None
        with torch.no_grad():
            alone, beside = (_logits(loaded, pad_rows(loaded, chosen)) for chosen in (rows[:1], rows))
    except (RuntimeError, ValueError, IndexError):  # too short for this model, or of one length only
        return None
    frames = _stated_frames(loaded)
    own = beside[:1]
    if alone.dim() == 3:
        count = frames(main_input(rows[0].inputs).shape[-1 if "input_values" in rows[0].inputs else 0])
        if count != alone.shape[1]:
            return None
        own = own[:, :count]
    close = torch.allclose(alone, own, rtol=_TOLERANCE, atol=_TOLERANCE * float(alone.abs().max()))
    return frames if close else None


def _logits(loaded: Loaded, inputs: Mapping[str, Tensor]) -> Tensor:
    placed = {
        name: value.to(loaded.device, loaded.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    logits: Tensor = loaded.model(**placed).logits
    return logits.float().cpu()


def require_frames(loaded: Loaded, samples: Samples) -> None:
    """Refuse a sound of which a model of raw samples makes no frame, naming the least that it can read."""
    name = "_get_feat_extract_output_lengths"
    raw = getattr(loaded.model, "main_input_name", None) == "input_values" and hasattr(loaded.model, name)
    if not raw or len(samples) > LEAST_DOUBTED:
        return
    frames = _stated_frames(loaded)
    if frames(len(samples)) >= 1:
        return
    least = next(count for count in range(len(samples), LEAST_DOUBTED) if frames(count) >= 1)
    raise ValueError(f"audio must have at least {least} samples for {type(loaded.model).__name__}; got {len(samples)}")


def _stated_frames(loaded: Loaded) -> Frames:
    """Frames of output for an input of a length: as a method of the model says, else one each."""
    own = next((getattr(loaded.model, name) for name in _LENGTHS if hasattr(loaded.model, name)), None)

    def frames(length: int) -> int:
        return length if own is None else int(own(torch.tensor([length], device="cpu")))

    return frames
