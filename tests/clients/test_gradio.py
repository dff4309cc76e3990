"""gradio: an interface over a pipeline, called as its web page calls it."""

import pytest
import transformers

from afterlogits import pipeline

from .matrix import CLASSIFIER, MASKED, NLI, TEXTS, close, compare

gradio = pytest.importorskip("gradio", reason="gradio is not installed")


@pytest.mark.parametrize(("task", "folder"), [("text-classification", CLASSIFIER), ("fill-mask", MASKED)])
def test_an_interface_of_a_function(task, folder):
    theirs, ours = transformers.pipeline(task, folder, device="cpu"), pipeline(task, folder, device="cpu")
    text = "The [MASK] was cold." if task == "fill-mask" else TEXTS[0]

    def page(pipe):
        interface = gradio.Interface(fn=lambda text: pipe(text), inputs="text", outputs="json")
        return lambda: interface.fn(text)

    what = f"`Interface(fn=pipeline({task!r}))`"
    compare("gradio", what, page(theirs), page(ours), same=close)


@pytest.mark.parametrize(
    ("task", "folder", "inputs"),
    [
        ("text-classification", CLASSIFIER, (TEXTS[0],)),
        ("fill-mask", MASKED, ("The [MASK] was cold.",)),
        ("zero-shot-classification", NLI, (TEXTS[0], "travel, food", False)),
    ],
)
def test_from_pipeline(task, folder, inputs):
    """``from_pipeline`` tells a pipeline by the module of its class and by ``isinstance``."""
    theirs, ours = transformers.pipeline(task, folder, device="cpu"), pipeline(task, folder, device="cpu")
    pages = gradio.Interface.from_pipeline(theirs), gradio.Interface.from_pipeline(ours)
    assert [type(part) for part in pages[0].input_components] == [type(part) for part in pages[1].input_components]

    def answer(page):
        try:
            return page.fn(*inputs)
        except AttributeError as error:  # its own names of modules that version 5 no longer has
            pytest.skip(f"gradio's own code does not run on this transformers: {error}")

    compare("gradio", f"`from_pipeline`, {task}", lambda: answer(pages[0]), lambda: answer(pages[1]), same=close)
