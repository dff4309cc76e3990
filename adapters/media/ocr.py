"""Words of a page with their boxes, by the program tesseract where it is installed."""

import csv
import io
import shlex
import shutil
import subprocess
from typing import Any

from ..running.extras import need

WordBoxes = list[tuple[str, list[int]]]
SCALE = 1000  # boxes are in thousandths of the page's width and height


def read_words(picture: Any, *, lang: str | None = None, tesseract_config: str = "") -> WordBoxes:
    """The words that tesseract finds on a PIL image, each with its box (left, top, right, bottom) in thousandths.

    lang: its language, None for tesseract's own choice. tesseract_config: further arguments, as on a command line.
    Thousandths are cut, not rounded, as transformers does. Raises ValueError where the program is missing or fails.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise ValueError(
            "word_boxes must be given with an image: the program tesseract, which would find them, is missing"
        )
    need("PIL", "vision", "reading the words of a page")
    page = io.BytesIO()
    picture.save(page, "PNG")
    language = [] if lang is None else ["-l", lang]
    command = [program, "stdin", "stdout", *language, *shlex.split(tesseract_config), "tsv"]
    done = subprocess.run(command, input=page.getvalue(), capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"image must be a page that tesseract can read: {reason[-1] if reason else done.returncode}")
    return words_of_table(done.stdout.decode(), *picture.size)


def words_of_table(table: str, width: int, height: int) -> WordBoxes:
    """The words of tesseract's table of tab-separated values that are not blank.

    >>> words_of_table("text\\tleft\\ttop\\twidth\\theight\\ndue\\t10\\t20\\t30\\t10\\n \\t0\\t0\\t1\\t1\\n", 100, 50)
    [('due', [100, 400, 400, 600])]
    """
    found: WordBoxes = []
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = row["text"]
        if text is None or not text.strip():
            continue
        left, top, wide, high = (int(row[name]) for name in ("left", "top", "width", "height"))
        found.append((text, scaled_box((left, top, left + wide, top + high), width, height)))
    return found


def scaled_box(box: tuple[float, float, float, float], width: int, height: int) -> list[int]:
    """A box in pixels (left, top, right, bottom) in thousandths of the page.

    >>> scaled_box((10, 20, 40, 30), 100, 50)
    [100, 400, 400, 600]
    """
    left, top, right, bottom = box
    return [
        int(SCALE * (left / width)),
        int(SCALE * (top / height)),
        int(SCALE * (right / width)),
        int(SCALE * (bottom / height)),
    ]
