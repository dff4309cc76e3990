"""A folder of pictures through ``afterlogits run``: answers as lines, and drawn as pictures beside them."""

import json
import os

import pytest
from PIL import Image

from afterlogits.adapters.cli.commands import main
from afterlogits.adapters.jobs.files import film_records
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


@pytest.fixture
def films(tmp_path):
    """A square that moves to the right, and one of a single frame, a folder each."""
    folder = tmp_path / "films"
    for name, count in (("right", 8), ("short", 1)):
        (folder / name).mkdir(parents=True)
        for place in range(count):
            frame = Image.new("RGB", (32, 32), (90, 110, 90))
            frame.paste((210, 40, 40), (2 + 2 * place, 10, 10 + 2 * place, 18))
            frame.save(folder / name / f"{place}.png")
    return folder


def test_a_folder_of_frames_is_one_film(films, tmp_path):
    output, drawn = tmp_path / "found.jsonl", tmp_path / "drawn"
    given = ["run", "video-classification", "--input", str(films), "--output", str(output), "--quiet"]
    assert main([*given, "--pictures", str(drawn)]) == 3
    moving, short = (json.loads(line) for line in output.read_text().splitlines())
    assert (moving["id"], moving["result"][0]["label"]) == ("right", "right")
    assert short == {"id": "short", "error": "film 2: video must have 8 frames for this model; got 1"}
    assert [path.name for path in drawn.iterdir()] == ["000001-right.png"]
    single = tmp_path / "single.jsonl"
    assert main([*given[:3], str(films / "right"), "--output", str(single), "--quiet"]) == 0
    assert json.loads(single.read_text()) == {**moving, "id": "."}


def test_a_frame_that_changes_changes_its_film(films):
    (films / "a.mp4").write_bytes(b"a film of its own")
    (films / "b.gif").write_bytes(b"another")
    before = list(film_records(str(films)))
    assert [fields["id"] for fields, _ in before] == ["a.mp4", "b.gif", "right", "short"]
    assert before[2][0]["file"] == str(films / "right")
    Image.new("RGB", (32, 32)).save(films / "right" / "7.png")
    after = list(film_records(str(films)))
    assert [own == other for own, other in zip(before, after, strict=True)] == [True, True, False, True]
