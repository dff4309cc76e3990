"""Results of audio tasks: plain dicts and lists in every way, which know the sound they belong to."""

import base64
import io
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...media.sounds import Sound


class Recognised(dict[str, Any]):
    """What was said: ``text`` and perhaps ``chunks`` with times."""

    sound: Sound | None = None


class Speech(dict[str, Any]):
    """Sound that a model made: ``audio`` and its ``sampling_rate``, with a player in notebooks."""

    def _repr_html_(self) -> str:
        sounds = self["audio"] if isinstance(self["audio"], list) else [self["audio"]]
        return "".join(player(samples, self["sampling_rate"]) for samples in sounds)


def of_sound(result: Recognised, sound: Sound) -> Recognised:
    """``result`` with the sound it belongs to."""
    result.sound = sound
    return result


def player(samples: NDArray[Any], rate: int) -> str:
    """A player of ``samples`` ([n] or [channels, n]) as HTML that holds the sound itself."""
    content = base64.b64encode(wav_bytes(samples, rate)).decode()
    return f'<audio controls src="data:audio/wav;base64,{content}"></audio>'


def wav_bytes(samples: NDArray[Any], rate: int) -> bytes:
    """A WAV file of 16 bits of samples in [-1, 1]; what lies beyond is cut."""
    frames = np.atleast_2d(samples)
    whole = np.rint(np.nan_to_num(frames).clip(-1, 1) * 32767).astype("<i2")
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(len(whole))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.T.tobytes())
    return held.getvalue()
