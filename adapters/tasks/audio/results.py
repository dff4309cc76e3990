"""Results of audio tasks: plain dicts and lists in every way, which know the sound they belong to."""

import base64
import io
import wave
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...media.drawn import Drawn
from ...media.sound_drawing import draw_sound
from ...media.sounds import Sound
from .formats import write_recognition
from .waveforms import draw_waveform
from .word_attention import WordAttention


class Recognised(Drawn, dict[str, Any]):
    """What was said: ``text`` and perhaps ``chunks`` with times."""

    sound: Sound | None = None
    attention: Sequence[WordAttention] = ()
    """What a Whisper attended to while it wrote each word, where that is asked for."""

    @property
    def seconds(self) -> float | None:
        """How long the recording is."""
        return None if self.sound is None else self.sound.seconds

    def write(self, form: str, **options: Any) -> str:
        """The content of an SRT, WebVTT, TextGrid, TSV or JSON file ("srt", "vtt", "textgrid", "tsv", "json"); see
        ``formats.write_recognition`` for the options."""
        return write_recognition(self, form, **{"seconds": self.seconds, **options})

    def to_srt(self, **options: Any) -> str:
        return self.write("srt", **options)

    def to_vtt(self, **options: Any) -> str:
        return self.write("vtt", **options)

    def to_textgrid(self, **options: Any) -> str:
        return self.write("textgrid", **options)

    def waveform(self, **options: Any) -> str:
        """The sound as an SVG picture with the words under it; see ``waveforms.draw_waveform``."""
        sound = self._known_sound()
        return draw_waveform(sound.samples, sound.rate, self.get("chunks", ()), **options)

    def save(self, path: Any) -> None:
        """Write the drawing to a file; its suffix says in which format, ".svg" for the waveform with the words."""
        if str(path).lower().endswith(".svg"):
            Path(path).write_text(self.waveform(), encoding="utf-8")
        else:
            super().save(path)

    def draw(self, **options: Any) -> Any:
        """The sound as a PIL image with the words under it, and what the model attended to for each where that is
        known; see ``sound_drawing.draw_sound``."""
        sound = self._known_sound()
        return draw_sound(sound.samples, sound.rate, self.get("chunks", ()), self.attention, **options)

    def _known_sound(self) -> Sound:
        if self.sound is None:
            raise ValueError("a result must know its sound to draw it; this one was made by hand")
        return self.sound

    def _repr_html_(self) -> str:
        head = f"<div>{escape(str(self['text']))}</div>"
        if self.sound is None:
            return head
        head += player(self.sound.samples, self.sound.rate)
        if not self.attention:
            return f"{head}<div>{self.waveform()}</div>"
        return f'{head}<img src="data:image/png;base64,{base64.b64encode(self._repr_png_()).decode()}"/>'


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
