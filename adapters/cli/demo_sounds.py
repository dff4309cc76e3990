"""The demonstration's part on sounds: words with their times, a file of subtitles, what a recording is of."""

import json
from pathlib import Path
from typing import Any

from .. import checkpoints
from .demo_text import percent, show, title

RECORDINGS = Path(checkpoints.__file__).with_name("demo_sounds")


def sounds(pipeline: Any, folder: Path) -> None:
    """Every audio task with a checkpoint; subtitles and drawings go to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = json.loads((RECORDINGS / "truth.json").read_text())
    recognition(pipeline, truth, folder)
    alignment(pipeline, truth)
    classification(pipeline, truth)
    show("see", f"words-2.srt and words-2.svg, the words under their waveform, are in {folder.resolve()}")


def recognition(pipeline: Any, truth: Any, folder: Path) -> None:
    title("Speech recognition, with the time of every word")
    recognise = pipeline("automatic-speech-recognition")
    for name in ("words-1.flac", "words-2.flac"):
        found = recognise(str(RECORDINGS / name), return_timestamps="word", confidence=True)
        spoken = " ".join(word for word, _, _ in truth[name])
        show("in ", f"{name}, {found.seconds:.1f} s, in a voice that no training heard")
        show("out", f"{found['text']}  ({percent(found['confidence'])})")
        if found["text"] != spoken:
            show("not", f"what was said is: {spoken}")
        show("out", ", ".join("{0} {1[0]:.2f}-{1[1]:.2f}".format(w["text"], w["timestamp"]) for w in found["chunks"]))
    subtitles = found.to_srt(longest_line=24)
    (folder / "words-2.srt").write_text(subtitles)
    (folder / "words-2.svg").write_text(found.waveform())
    show("srt", " / ".join(subtitles.split("\n\n")[0].splitlines()))


def alignment(pipeline: Any, truth: Any) -> None:
    title("Where the words of a known text are")
    text = " ".join(word for word, _, _ in truth["words-1.flac"])
    found = pipeline("forced-alignment")(str(RECORDINGS / "words-1.flac"), text=text)
    show("in ", f"words-1.flac and its text: {text}")
    for word, (_, start, end) in zip(found["chunks"], truth["words-1.flac"], strict=True):
        begun, ended = word["timestamp"]
        show("out", f"{word['text']:8} {begun:.2f}-{ended:.2f}  (spoken at {start:.2f}-{end:.2f})")


def classification(pipeline: Any, truth: Any) -> None:
    title("Audio classification")
    classify = pipeline("audio-classification")
    names = [name for name, said in truth.items() if isinstance(said, str)]
    for name, found in zip(names, classify([str(RECORDINGS / name) for name in names], top_k=2), strict=True):
        show("in ", name)
        show("out", ", ".join(f"{label['label']} {percent(label['score'])}" for label in found))
        if found[0]["label"] != truth[name]:
            show("not", f"the right answer is: {truth[name]}")
