"""Processors of any kind: given as objects or names, taken from a processor, loaded with the model."""

import re
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from afterlogits.adapters.pipelines import Pipeline
from afterlogits.adapters.running import parts
from afterlogits.adapters.running.batching import Row, WindowSizes, collate, plan_batches
from afterlogits.adapters.running.columns import Columns
from afterlogits.adapters.running.extras import need
from afterlogits.adapters.running.inputs import read_inputs
from afterlogits.adapters.running.loaded import Loaded
from afterlogits.adapters.running.parts import load_parts
from afterlogits.adapters.running.task import Prepared, Task


@dataclass(frozen=True)
class NoOptions:
    pass


def task_of(**fields):
    return Task(
        name="sums",
        auto_classes=(),
        options=NoOptions,
        read=read_inputs,
        parse=lambda loaded, item, options: item,
        encode=encode,
        forward=lambda loaded, batch, options: [
            (tuple(batch.inputs["values"].shape), total) for total in batch.inputs["values"].flatten(1).sum(1).tolist()
        ],
        finish=lambda loaded, items, outputs, options: [rows[0] for rows in outputs],
        **fields,
    )


def encode(loaded, items, options):
    return [Prepared([Row({"values": torch.full(item, 2.0)}, item[0] * item[1])]) for item in items]


@pytest.fixture
def loads(monkeypatch):
    """What is loaded by name, in order; a name with "without" in it holds none."""
    found = []

    def load_part(part, name, hub):
        found.append((part, name))
        if "without" in str(name):
            raise OSError(f"no {part} in {name}")
        return f"{part} of {name}"

    monkeypatch.setattr(parts, "load_part", load_part)
    return found


def test_what_is_needed_is_loaded_with_the_model(loads):
    task = task_of(needs=("image_processor",), may_use=("tokenizer",))
    held = load_parts(task, {}, "folder", {})
    assert {part: value for part, value in held.items() if value is not None} == {
        "image_processor": "image_processor of folder",
        "tokenizer": "tokenizer of folder",
    }
    assert loads == [("tokenizer", "folder"), ("image_processor", "folder")]


def test_objects_come_first_then_names_then_the_processor_s_own(loads):
    own, inside = object(), object()
    processor = SimpleNamespace(image_processor=object(), tokenizer=inside)
    given = {"image_processor": own, "feature_extractor": "name", "processor": processor}
    task = task_of(needs=("image_processor", "tokenizer"), may_use=("feature_extractor",))
    held = load_parts(task, given, "folder", {})
    assert held["image_processor"] is own
    assert held["tokenizer"] is inside
    assert held["feature_extractor"] == "feature_extractor of name"


def test_an_optional_part_may_be_absent(loads):
    with pytest.raises(OSError, match="no image_processor in without"):
        load_parts(task_of(needs=("image_processor",)), {}, "without", {})
    assert load_parts(task_of(needs=(), may_use=("image_processor",)), {}, "without", {})["image_processor"] is None
    assert load_parts(task_of(needs=(), may_use=("image_processor",)), {}, None, {})["image_processor"] is None


def test_an_image_processor_may_come_under_its_name_of_old(loads):
    own = object()
    held = load_parts(task_of(needs=("image_processor",)), {"feature_extractor": own}, None, {})
    assert held["image_processor"] is own
    assert held["feature_extractor"] is None


def test_what_is_missing_is_refused():
    message = "image_processor must be given along with a model object; got None for sums"
    with pytest.raises(ValueError, match=f"^{message}$"):
        load_parts(task_of(needs=("image_processor",)), {}, None, {})


def test_what_is_of_no_use_is_left_aside():
    given = {"tokenizer": object(), "video_processor": "name"}
    assert load_parts(task_of(needs=()), given, None, {}) == dict.fromkeys(parts.PARTS)


def test_a_missing_package_is_named_with_its_command():
    message = "a picture needs no_such_package: pip install 'afterlogits[vision]'"
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        need("no_such_package", "vision", "a picture")


def test_groups_share_no_batch_and_keep_their_order():
    groups = ["a", "b", "a", "b", "a"]
    assert plan_batches([4] * 5, batch_tokens=8, groups=groups) == [[0, 2], [4], [1, 3]]


def test_tensors_are_stacked_in_the_model_s_type():
    rows = [Row({"values": torch.ones(2, 2), "places": torch.tensor([1, 2])}, 4) for _ in range(3)]
    batch = collate(rows, pad_values={}, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert batch.inputs["values"].shape == (3, 2, 2) and batch.inputs["values"].dtype == torch.bfloat16
    assert batch.inputs["places"].dtype == torch.int64


def pipe(task, **loaded):
    fields = {"device": torch.device("cpu"), "tokenizer": None, "batch_tokens": 24, **loaded}
    model = SimpleNamespace(dtype=torch.float32, config=SimpleNamespace())
    return Pipeline(task, Loaded("sums", model, **fields), run=RUN, options={})


RUN = {"progress": False, "on_error": "raise", "output": "records"}


def test_inputs_that_are_no_text_are_batched_by_shape_within_a_budget():
    """12 numbers of (3, 4) and of (4, 3): two of one shape fill a batch of 24, other shapes stay apart."""
    task = task_of(needs=(), unit="pixels", window_sizes=WindowSizes(8, 8, 8))
    items = [(3, 4), (4, 3), (3, 4), (2, 2), (4, 3), (3, 4)]
    found = pipe(task)(items)
    assert [total for _, total in found] == [24.0, 24.0, 24.0, 8.0, 24.0, 24.0]
    assert [shape for shape, _ in found] == [(2, 3, 4), (2, 4, 3), (2, 3, 4), (1, 2, 2), (2, 4, 3), (1, 3, 4)]


def test_a_task_may_make_its_own_batches():
    """Rows of one group, padded as the task pads them; what is no tensor passes as it is."""

    def pad(loaded, rows):
        width = max(row.inputs["values"].shape[1] for row in rows)
        grown = [
            torch.nn.functional.pad(row.inputs["values"], (0, width - row.inputs["values"].shape[1])) for row in rows
        ]
        return {"values": torch.stack(grown), "names": ["any"]}

    task = task_of(needs=(), unit="samples", collate=pad)
    found = pipe(task)([(1, 4), (1, 6), (1, 5)])
    assert found == [((3, 1, 6), 8.0), ((3, 1, 6), 12.0), ((3, 1, 6), 10.0)]


def test_windows_follow_the_task():
    seen = []

    def encode_seen(loaded, items, options):
        seen.append(len(items))
        return encode(loaded, items, options)

    fields = {field: getattr(task_of(), field) for field in task_of().__dataclass_fields__}
    task = Task(
        **{**fields, "encode": encode_seen, "needs": (), "unit": "pixels", "window_sizes": WindowSizes(1, 3, 4)}
    )
    assert len(pipe(task)([(1, 1)] * 9)) == 9
    assert seen == [3, 4, 2]
    seen.clear()
    assert len(list(pipe(task)((1, 1) for _ in range(9)))) == 9
    assert seen == [1, 2, 4, 2]


def test_columns_of_inputs_that_are_no_text():
    task = task_of(
        needs=(),
        unit="pixels",
        columns=lambda loaded, items, outputs, options: Columns(
            torch.ones(len(items), dtype=torch.long), {"total": torch.tensor([rows[0][1] for rows in outputs])}
        ),
    )
    assert pipe(task)([(1, 2), (2, 2)], output="columns")["total"].tolist() == [4.0, 8.0]
