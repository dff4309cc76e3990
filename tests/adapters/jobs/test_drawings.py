"""A folder of pictures through ``afterlogits run``: answers as lines, and drawn as pictures beside them."""

import json
import os

import pytest
from PIL import Image

from afterlogits.adapters.cli.commands import main
from tests.builders.vision_models import parts, picture


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    for part in parts("yolos").values():
        part.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    picture(64, 48, 1).save(folder / "a b.png")
    picture(48, 64, 2).save(folder / "more" / "c.jpg")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def run(pictures, model, tmp_path, *options):
    output = tmp_path / "found.jsonl"
    given = ["--input", str(pictures), "--output", str(output), "--model", model, "--quiet", "--threshold", "0.1"]
    status = main(["run", "object-detection", *given, *options])
    return status, [json.loads(line) for line in output.read_text().splitlines()]


def test_a_folder_of_pictures_is_answered_and_drawn(pictures, model, tmp_path):
    drawn = tmp_path / "drawn"
    status, rows = run(pictures, model, tmp_path, "--pictures", str(drawn))
    assert status == 3  # one has no answer
    assert [row["id"] for row in rows] == ["a b.png", "broken.png", "more/c.jpg"]
    assert "image must be a picture that Pillow can open" in rows[1]["error"]
    assert {"score", "label", "box"} == set(rows[0]["result"][0])
    assert sorted(path.name for path in drawn.iterdir()) == ["000001-a-b.png", "000003-more-c.png"]
    with Image.open(drawn / "000001-a-b.png") as found:
        assert max(found.size) == 480


def test_a_folder_that_cannot_be_made_is_a_wrong_command(pictures, model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError):  # no output is left
        run(pictures, model, tmp_path, "--pictures", str(tmp_path / "file"))
    assert "cannot write" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_costs_itself_alone(pictures, model, tmp_path):
    (pictures / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(pictures / "pipe.png")  # is none: it would be waited for
    status, rows = run(pictures, model, tmp_path)
    assert status == 3
    assert {row["id"] for row in rows if "error" in row} == {"broken.png", "gone.png"} and len(rows) == 4


def test_a_drawing_that_cannot_be_written_is_one_line(pictures, model, tmp_path, capsys):
    (tmp_path / "drawn" / "000001-a-b.png").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):  # no output is left
        run(pictures, model, tmp_path, "--pictures", str(tmp_path / "drawn"))
    err = capsys.readouterr().err
    assert err == f"afterlogits: cannot write {tmp_path / 'drawn' / '000001-a-b.png'}: Is a directory\n"
