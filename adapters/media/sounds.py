"""Sound as a caller may give it: files, bytes, arrays and dicts of them, as one channel at the rate of a model."""

import io
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
import torch
from numpy.typing import NDArray

from ...postprocess.audio.resample import resample
from ..running.batching import WINDOW_WEIGHT
from ..running.extras import need
from ..running.inputs import as_call
from ..running.task import Call
from .sources import is_web_address, read_bytes, shown

Samples = NDArray[Any]

WINDOW_SAMPLES = 1 << 26  # of the sounds read ahead at once: 256 MB of float32, 70 minutes at 16 kHz
FILE_SAMPLES = 1 << 20  # what a file counts as before it is opened


@dataclass(frozen=True)
class Sound:
    """One channel of samples [n] at the model's rate.

    ``stride``: samples of the whole and of the context at its left and right; ``extra``: the further entries of the
    dict it came in; ``name``: what errors and views call it.
    """

    samples: Samples
    rate: int
    stride: tuple[int, int, int] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    name: str = "sound"

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_sound(
    source: Any, rate: int, *, allow_urls: bool = False, timeout: float | None = None, compat: bool = True
) -> Sound:
    """``source`` as one channel at ``rate`` samples a second.

    source: a path, bytes, data URL, open file or (``allow_urls``) web address of a recording; an array or
    tensor [n] or [channels, n] of one or two channels at that rate; a dict with ``sampling_rate`` and ``raw`` or
    ``array``, perhaps ``stride`` (samples at its left and right that are only context) and whatever else it carries; a
    dict with ``bytes`` or ``path``; a decoder of torchcodec. The dict is left as it was.
    Channels are averaged. Whole numbers are taken as they are, as transformers does; ``compat=False`` scales them by
    the range of their type to [-1, 1], and refuses samples that are no finite numbers (else a warning).
    Raises ValueError or TypeError naming what is wrong with a source.
    """
    if hasattr(source, "get_all_samples"):
        decoded = source.get_all_samples()
        source = {"array": decoded.data, "sampling_rate": decoded.sample_rate}
    if isinstance(source, Mapping) and _is_row(source):
        own = read_sound(source["audio"], rate, allow_urls=allow_urls, timeout=timeout, compat=compat)
        extra = {name: value for name, value in source.items() if name != "audio"}
        return Sound(own.samples, rate, own.stride, {**extra, **own.extra}, own.name)
    if isinstance(source, Mapping) and ("raw" in source or "array" in source):
        return _of_dict(source, rate, compat)
    if isinstance(source, np.ndarray | torch.Tensor):
        return Sound(_checked(_mono(_as_array(source)), compat), rate)
    samples = decode_sound(_content(source, allow_urls, timeout), rate, source)
    return Sound(_checked(samples, compat), rate, name=_name(source))


def decode_sound(content: bytes, rate: int, source: Any = None) -> Samples:
    """A recording in any format that soundfile reads, or else the program ffmpeg where it is installed: [n] float32."""
    soundfile = need("soundfile", "audio", "reading a sound file")
    try:
        frames, found = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = getattr(error, "error_string", "") or str(error)  # the whole text names an object by its address
        return _by_ffmpeg(content, rate, source, reason)
    return resampled(np.ascontiguousarray(frames.mean(axis=1)), found, rate)


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """``samples`` [..., n] at another rate; themselves where the rates are equal."""
    if rate == wanted:
        return samples
    if samples.dtype.kind in "iu":
        samples = samples.astype(np.float32)
    found: Samples = resample(torch.from_numpy(samples), rate, wanted).numpy()
    return found


def read_sounds(inputs: Any = None, **options: Any) -> Call:
    """A call with one recording (an array, an open file), a list of them, or any iterable of them, which streams."""
    if inputs is None:
        raise TypeError("inputs must be a recording, a list of them, or an iterable of them; got None")
    if isinstance(inputs, np.ndarray | torch.Tensor) or hasattr(inputs, "get_all_samples") or hasattr(inputs, "read"):
        return Call([inputs], "single", options)
    return as_call(inputs, options)


def weigh_sound(item: Any) -> int:
    """How much of a look-ahead window a sound takes (``Task.weigh``)."""
    if isinstance(item, Mapping):
        item = next((item[name] for name in ("raw", "array", "audio") if item.get(name) is not None), None)
        return weigh_sound(item) if isinstance(item, Mapping) else _weight(item)
    return _weight(item)


def _weight(item: Any) -> int:
    samples = int(np.prod(item.shape)) if isinstance(item, np.ndarray | torch.Tensor) else FILE_SAMPLES
    return samples * WINDOW_WEIGHT // WINDOW_SAMPLES


def _is_row(source: Mapping[str, Any]) -> bool:
    """A row of a data set that holds the sound in a column of its own."""
    return "audio" in source and not {"raw", "array", "bytes", "path"} & source.keys()


def _content(source: Any, allow_urls: bool, timeout: float | None) -> bytes:
    if isinstance(source, list | tuple):
        raise TypeError("audio must be a path, bytes, an array or a dict; got a list: make it an array of samples")
    if isinstance(source, Mapping) and source.get("bytes") is None and source.get("path") is None:
        keys = ", ".join(map(repr, source)) or "none"
        raise ValueError(f"audio must be a dict with sampling_rate and raw or array, or with bytes or path; got {keys}")
    is_name = isinstance(source, str) and not is_web_address(source) and not source.startswith("data:")
    if is_name and ("\0" in source or not Path(source).is_file()):
        raise ValueError(f"audio must be a file that exists, not a text; got {shown(source)}")
    return read_bytes("audio", source, allow_urls=allow_urls, timeout=timeout)


def _of_dict(source: Mapping[str, Any], rate: int, compat: bool) -> Sound:
    """A dict's samples, mixed down and resampled to ``rate``, as transformers reads it; other keys are kept."""
    if "sampling_rate" not in source:
        raise ValueError("audio must be a dict with sampling_rate beside raw or array; got none")
    found = _as_numbers(source["sampling_rate"])
    if isinstance(found, bool) or not isinstance(found, int | float | np.number) or not 0 < found < np.inf:
        raise ValueError(f"sampling_rate must be a number above 0; got {found!r}")
    name = "raw" if source.get("raw") is not None else "array"
    if source.get(name) is None:
        raise ValueError(f"audio must be a dict with samples in raw or array; got None in {name}")
    unused = {name, "sampling_rate", "stride"} | ({"path"} if name == "array" else set())
    extra = {key: value for key, value in source.items() if key not in unused and (key != "raw" or name == "raw")}
    samples = _checked(_mono(_as_array(source[name])), compat)
    given = resampled(samples, int(found), rate)
    stride = _as_numbers(source.get("stride"))
    if stride is not None:
        left, right = _stride(stride)
        if left + right > len(given):
            raise ValueError(f"stride must leave samples of the sound; got {left} + {right} of {len(given)}")
        ratio = rate / found if found != rate else 1
        stride = (len(given), round(left * ratio), round(right * ratio))
    label = Path(source["path"]).name if isinstance(source.get("path"), str) else "sound"
    return Sound(given, rate, stride, extra, label)


def _as_numbers(value: Any) -> Any:
    """Arrays and tensors, as data sets give them, as the numbers in them."""
    return value.tolist() if isinstance(value, np.ndarray | torch.Tensor) else value


def _stride(stride: Any) -> tuple[int, int]:
    if (
        not isinstance(stride, list | tuple)
        or len(stride) != 2
        or not all(isinstance(n, int | np.integer) for n in stride)
    ):
        raise TypeError(f"stride must be two counts of samples, of the context at the left and right; got {stride!r}")
    return stride[0], stride[1]


def _as_array(samples: Any) -> Samples:
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu()
        samples = (samples.float() if samples.dtype == torch.bfloat16 else samples).numpy()
    if isinstance(samples, list | tuple):
        samples = np.asarray(samples, dtype=np.float32)
    if not isinstance(samples, np.ndarray):
        raise TypeError(f"audio must hold an array or tensor of samples; got {type(samples).__name__}")
    return samples


def _mono(samples: Samples) -> Samples:
    """Samples [n] of samples [n] or [channels, n], one or two channels; their mean, as in transformers."""
    if samples.ndim == 1:
        return samples
    shape = tuple(samples.shape)
    if samples.ndim != 2:
        raise ValueError(f"audio must be of shape [n] or [channels, n]; got {shape}")
    if samples.shape[0] > 2:
        hint = "channels come first: transpose it" if samples.shape[1] <= 2 else "mix its channels down first"
        raise ValueError(f"audio must have at most two channels; got shape {shape}: {hint}")
    mixed: Samples = samples.mean(axis=0)
    return mixed


def _checked(samples: Samples, compat: bool) -> Samples:
    """The samples, if they are finite numbers and not none; compat: integers stay as they are, and NaN is a warning."""
    if samples.dtype.kind not in "fiu":
        raise TypeError(f"audio must hold numbers; got {samples.dtype}")
    if len(samples) == 0:
        raise ValueError("audio must have samples; got an empty one")
    if samples.dtype.kind in "iu":
        return samples if compat else _scaled(samples)
    if not np.isfinite(samples).all():
        place = int(np.flatnonzero(~np.isfinite(samples))[0])
        message = f"audio must hold finite samples; got {samples[place]} at sample {place}"
        if not compat:
            raise ValueError(message)
        warn(f"{message}; transformers answers all the same, and so does compat=True", UserWarning, stacklevel=2)
    return samples


def _scaled(samples: Samples) -> Samples:
    """Whole numbers of any width in [-1, 1); unsigned ones have their silence in the middle."""
    limits = np.iinfo(samples.dtype)
    middle = 0 if limits.min < 0 else (limits.max + 1) // 2
    half = limits.max + 1 - middle
    scaled: Samples = ((samples.astype(np.float64) - middle) / half).astype(np.float32)
    return scaled


def _name(source: Any) -> str:
    if isinstance(source, Mapping):
        source = source.get("path") or "sound"
    return Path(source).name if isinstance(source, str | Path) and len(str(source)) < 256 else "sound"


def _by_ffmpeg(content: bytes, rate: int, source: Any, reason: str) -> Samples:
    """What soundfile cannot read, by the program; it mixes and resamples itself."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise ValueError(
            f"audio must be a recording that soundfile can read ({reason}), or ffmpeg be installed; got {shown(source)}"
        )
    command = [program, "-i", "pipe:0", "-ac", "1", "-ar", str(rate), "-f", "f32le", "-loglevel", "quiet", "pipe:1"]
    output = subprocess.run(command, input=content, capture_output=True, check=False).stdout
    if not output:
        raise ValueError(f"audio must be a recording that soundfile or ffmpeg can read; got {shown(source)}: {reason}")
    samples: Samples = np.frombuffer(output, np.float32).copy()
    return samples
