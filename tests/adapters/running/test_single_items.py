"""One item a call goes through the stages without windows and planner: the same answers and errors as through them."""

import copy

import pytest
import torch

from afterlogits.adapters import pipeline
from afterlogits.adapters.running import pipeline_object, runner
from afterlogits.adapters.running.batching import Row, collate
from tests.adapters.running.test_pipeline_object import TASKS, build
from tests.builders.text_models import tiny_model, wordpiece


def through_windows(call, item, **options):
    """The same call by the loop of all items, which a progress bar needs (it is hidden where there is no terminal)."""
    return call(item, progress=True, **options)


@pytest.mark.parametrize("task", TASKS)
def test_an_answer_is_that_of_the_loop(task, monkeypatch):
    item, options = TASKS[task]
    call = build(task, **options)
    expected = through_windows(call, item)
    monkeypatch.setattr(pipeline_object, "answers", None)  # the loop is not reached
    found = call(item)
    assert found == expected and type(found) is type(expected)


def test_several_rows_of_one_item(monkeypatch):
    """A text in chunks, and one with a pair: rows that are more than one are planned as ever."""
    tokenizer = copy.deepcopy(wordpiece())
    tokenizer.model_max_length = 8
    options = {"aggregation_strategy": "simple", "stride": 2}
    call = pipeline("ner", model=tiny_model("token-classification", tokenizer), tokenizer=tokenizer, **options)
    text = "Ada works in Paris near the river and the bank was near " * 3
    assert call(text) == through_windows(call, text)
    assert len(call(text)) > 0


class Broken(torch.nn.Module):
    """A model whose logits are no numbers."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.config = model, model.config

    def forward(self, **inputs):
        return {"logits": self.inner(**inputs)["logits"] * torch.nan}


@pytest.mark.parametrize(
    "item", ["", 5, {"no": "text"}, "a \ud800", "the river " * 400], ids=lambda item: repr(item)[:9]
)
@pytest.mark.parametrize("task", ["token-classification", "text-classification", "feature-extraction", "fill-mask"])
def test_an_error_is_that_of_the_loop(task, item):
    call = build(task)
    call.tokenizer.model_max_length = 10**9
    with pytest.raises(Exception) as expected:
        through_windows(call, item)
    with pytest.raises(type(expected.value)) as found:
        call(item)
    assert str(found.value) == str(expected.value)
    assert call(item, on_error="record") == through_windows(call, item, on_error="record")


def test_a_model_that_gives_nan_is_named():
    call = build("text-classification")
    call.model = Broken(call.model)
    with pytest.raises(ValueError, match=r"^logits must be numbers; the model returned NaN$"):
        call("the river")
    (record,) = call("the river", on_error="record")
    assert record == {"error": "logits must be numbers; the model returned NaN", "index": 0}


def test_a_list_within_one_window_starts_no_thread(monkeypatch):
    call = build("text-classification")
    expected = [call(text)[0] for text in ("the river", "near")]
    monkeypatch.setattr(runner, "ThreadPoolExecutor", None)
    assert call(["the river", "near"]) == expected
    assert call(["the river", 5], on_error="record")[1]["index"] == 1
    with pytest.raises(TypeError, match="not callable"):  # two windows
        monkeypatch.setattr(runner, "windows", lambda items, *_, **__: ([item] for item in items))
        call(["the river", "near"])


def test_the_type_is_that_of_the_model(monkeypatch):
    """As the property of transformers tells it, after every change: of weights, of parts, of a model of whole numbers
    alone; a model with a property of its own is asked."""
    call = build("text-classification")
    assert call.loaded.dtype is call.model.dtype is torch.float32
    call.model.half()
    assert call.loaded.dtype is call.model.dtype is torch.float16
    call.model.bert.embeddings.double()
    assert call.loaded.dtype is call.model.dtype is torch.float64
    first = call.model.bert.embeddings.word_embeddings
    first.weight = torch.nn.Parameter(torch.zeros(first.weight.shape, dtype=torch.int8), requires_grad=False)
    assert call.loaded.dtype is call.model.dtype is torch.float64
    monkeypatch.setattr(type(call.model), "dtype", property(lambda model: torch.bfloat16), raising=False)
    assert call.loaded.dtype is torch.bfloat16


def test_one_row_of_tensors_is_not_copied():
    """A view where the memory is in order, a copy in order where it is not; the numbers of several rows stacked."""
    values = torch.arange(6.0).reshape(2, 3)
    for own, shared in ((values, True), (values.T, False)):
        batch = collate([Row({"pixel_values": own}, 6)], pad_values={}, device=torch.device("cpu"))
        found = batch.inputs["pixel_values"]
        assert torch.equal(found, torch.stack([own])) and found.stride() == torch.stack([own]).stride()
        assert (found.data_ptr() == own.data_ptr()) is shared
