"""A folder of recordings through ``afterlogits run``: answers as lines, and files of subtitles beside them."""

import json
import shutil

import pytest

from afterlogits.adapters.checkpoints.training.media_items import SOUNDS
from afterlogits.adapters.cli.commands import main

BEGINNINGS = {
    "srt": "1\n00:00:0",
    "vtt": "WEBVTT\n",
    "textgrid": 'File type = "ooTextFile"\n',
    "tsv": "start\tend\ttext\n",
    "json": '{"text": ',
}
SUFFIXES = {form: f".{form}" for form in BEGINNINGS} | {"textgrid": ".TextGrid"}


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("words-1.flac", "words-2.flac"):
        shutil.copy(SOUNDS / name, folder)
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


@pytest.mark.parametrize("form", BEGINNINGS)
def test_a_folder_of_recordings_is_written_down(recordings, tmp_path, form):
    """One bad recording costs no other; the checkpoint that ships hears the words."""
    output, written = tmp_path / "said.jsonl", tmp_path / "subtitles"
    given = ["--input", str(recordings), "--output", str(output), "--quiet", "--return-timestamps", "word"]
    status = main(
        ["run", "automatic-speech-recognition", *given, "--subtitles", str(written), "--subtitle-format", form]
    )
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert status == 3 and "error" in rows[0] and rows[1]["result"]["text"]
    suffix = SUFFIXES[form]
    assert sorted(path.name for path in written.iterdir()) == [f"00000{n}-words-{n - 1}{suffix}" for n in (2, 3)]
    text = (written / f"000002-words-1{suffix}").read_text()
    assert text.startswith(BEGINNINGS[form])
    assert all(word in text for word in rows[1]["result"]["text"].split())
