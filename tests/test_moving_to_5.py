"""Every line of docs/moving-to-5.md: what replaces a line runs, and with transformers 4 both sides answer the same."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from afterlogits.adapters import checkpoints
from tests.builders.multimodal_models import blip_captions, picture, vilt
from tests.programs.pipeline_parity import equal

PAGE = Path(__file__).resolve().parent.parent / "docs" / "moving-to-5.md"
BLOCKS = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
VERSION_4 = transformers.__version__.startswith("4.")
REMOVED = ("question-answering", "summarization", "translation", "text2text-generation")
REMOVED_OF_PICTURES = ("visual-question-answering", "image-to-text", "image-to-image")

pytestmark = pytest.mark.filterwarnings("ignore")


def side(block, mark):
    """The program before (``-``) or after (``+``): its lines and those that stay."""
    return "\n".join(line[1:] for line in block.splitlines() if line[:1] in (mark, " "))


def name_of(block):
    found = re.search(r'pipeline\("([a-z0-9_-]+)"', block)
    return found[1] if found else "generate" if "model.generate" in block else "function"


@cache
def model_for(task, root):
    """A folder with a model of the task: what ships, or a tiny one with random weights."""
    if task in REMOVED_OF_PICTURES:
        return saved(task, root / task)
    shipped = {"generate": "text-generation", "translation_en_to_fr": "summarization"}
    shipped |= {"text2text-generation": "summarization"}
    return str(checkpoints.path(shipped.get(task, task)))


def saved(task, folder):
    if task == "image-to-image":
        from tests.builders.vision_models import parts

        made = parts("swin2sr")
        built = [made["model"], made["image_processor"]]
    else:
        built = [*(vilt() if task.startswith("visual") else blip_captions())]
    for part in built:
        part.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("moving")


@pytest.fixture
def run(root, monkeypatch):
    """Run one side of a block in a folder with a picture; what it has made by the end."""

    def running(block, mark):
        task = name_of(block)
        monkeypatch.chdir(root)
        picture().save(root / "picture.png")
        names = {}
        torch.manual_seed(0)
        code = side(block, mark)
        exec(code.replace('"my-model"', repr(model_for(task, root))) if "my-model" in code else code, names)
        kept = ("found", "groups", "contrast", "layers", "forced")
        return {name: names[name] for name in kept if name in names}

    return running


def plain(value):
    """Pictures and tensors as lists, so that they compare."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return np.asarray(value).astype(int).tolist() if hasattr(value, "getpixel") else value


def test_the_page_has_a_block_for_every_pipeline_that_is_gone():
    assert [*REMOVED, *REMOVED_OF_PICTURES] == [
        {"translation_en_to_fr": "translation"}.get(name_of(block), name_of(block)) for block in BLOCKS[:7]
    ]
    for block in BLOCKS:
        changed = [line for line in block.splitlines() if line[:1] in "+-"]
        assert len(changed) == 2


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_the_changed_line_runs(block, run):
    made = run(block, "+")
    assert made and all(value is not None and len(value) for value in made.values() if not hasattr(value, "getpixel"))


@pytest.mark.skipif(VERSION_4, reason="version 4 has what the lines ask for")
@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_the_line_before_does_not_run_on_version_5(block, run):
    if name_of(block) == "ner":
        with pytest.raises(TypeError, match="grouped_entities"):
            run(block, "-")
    elif name_of(block) == "generate":
        with pytest.raises((ValueError, OSError), match=r"(?i)group beam|contrastive|dola|constrain|custom_generate"):
            run(block, "-")
    elif name_of(block) == "image-to-text":  # it resolves to a task of chats, and stops at its own warning or later
        with pytest.raises(Exception):  # noqa: B017
            run(block, "-")
    else:
        with pytest.raises((KeyError, ImportError), match=r"has been removed|cannot import name"):
            run(block, "-")


@pytest.mark.v4
@pytest.mark.skipif(not VERSION_4, reason="needs transformers 4.57.6: version 5 has no such line")
@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if name_of(block) not in ("function", "generate")], ids=name_of
)
def test_both_lines_answer_the_same(block, run):
    before, after = plain(run(block, "-")), plain(run(block, "+"))
    if name_of(block) == "image-to-image":  # a value of 0 to 255 may round to its neighbour
        assert np.abs(np.array(before["found"]) - np.array(after["found"])).max() <= 1
    else:
        assert equal(before, after)
