"""Batches on threads that compute alone: when they are, that answers stay, and that torch's number of threads does."""

import ast
import copy
import importlib
import inspect
import pkgutil
import random
import textwrap
import threading

import pytest
import torch
import transformers as hf

from afterlogits import pipeline
from afterlogits.adapters.running import side_by_side
from afterlogits.adapters.running.plain_models import WRITING_NOTHING, as_made, passes_side_by_side
from afterlogits.adapters.running.side_by_side import SideBySide, _fullest, even
from tests.builders.vision_models import parts, picture


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Two of torch's threads, and models of any size side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(side_by_side, "LEAST_WORK", 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def passes(monkeypatch):
    """The forward passes of any model: the thread, and how many of torch's threads it had."""
    found = []
    plain = hf.PreTrainedModel.__call__

    def noted(self, *arguments, **named):
        if not hasattr(threading.current_thread(), "inside"):
            threading.current_thread().inside = True
            found.append((threading.current_thread().name.rpartition("_")[0], torch.get_num_threads()))
            try:
                return plain(self, *arguments, **named)
            finally:
                del threading.current_thread().inside
        return plain(self, *arguments, **named)

    monkeypatch.setattr(hf.PreTrainedModel, "__call__", noted, raising=False)
    return found


def images(count):
    """Of two sizes in turn: DETR makes inputs of two shapes of them."""
    return [picture(64 + 32 * (number % 2), 64, number) for number in range(count)]


BESIDE, HERE = ("afterlogits-batch", 1), ("", 2)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("image-classification", "vit"),
        ("object-detection", "yolos"),
        ("image-segmentation", "segformer"),
        ("depth-estimation", "depth_anything"),
        ("image-feature-extraction", "vit_features"),
    ],
)
def test_answers_stay_and_batches_that_are_left_over_run_here(task, name, passes):
    """Five pictures, a batch each by the budget: four run on two threads, the fifth here, with both."""
    pipe = pipeline(task, **parts(name), device="cpu")
    asked = {"threshold": 0.0} if task == "object-detection" else {}
    given = [picture(64, 64, number) for number in range(5)]
    torch.set_num_threads(1)
    expected = [pipe(each, **asked) for each in given]
    torch.set_num_threads(2)
    passes.clear()
    found = pipe(given, batch_tokens=1, **asked)
    assert sorted(passes) == [HERE] + [BESIDE] * 4
    _require_like(found, expected)
    assert torch.get_num_threads() == 2
    assert not [each for each in threading.enumerate() if each.name.startswith("afterlogits-batch")]


def _require_like(found, expected):
    """Equal but for the last bits of numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _require_like(one, other)
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    else:
        assert found == expected


def test_a_thread_started_later_has_torch_s_number(passes):
    """What a thread of a batch has set for itself is no other's."""
    pipe = pipeline("image-classification", **parts("vit"), device="cpu")
    seen = []
    stream = pipe((each for each in images(8)), batch_tokens=1)
    next(stream)
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    stream.close()
    assert BESIDE in passes and seen == [2] and torch.get_num_threads() == 2


def test_many_streamed_windows_answer_in_order():
    """While a window is answered the next one's batches run: nothing is lost, doubled or swapped."""
    pipe = pipeline("image-classification", **parts("vit"), device="cpu")
    given = images(21)
    torch.set_num_threads(1)
    expected = [pipe(each) for each in given]
    torch.set_num_threads(2)
    for count in (1, 3, 21):
        _require_like(list(pipe(iter(given[:count]), batch_tokens=1)), expected[:count])


def test_a_batch_that_fails_costs_its_own_items_alone():
    model = parts("vit")
    pipe = pipeline("image-classification", **model, device="cpu")
    given = [picture(48, 48, number) for number in range(6)]
    given[3] = "missing.png"
    found = pipe(given, batch_tokens=1, on_error="record")
    assert ["error" in each if isinstance(each, dict) else False for each in found] == [False] * 3 + [True] + [
        False
    ] * 2


@pytest.mark.parametrize("how", ["one at a time", "one thread", "autocast", "device mode", "hook", "small", "uneven"])
def test_what_runs_in_turn(how, passes, monkeypatch):
    pipe = pipeline("image-classification", **copy.deepcopy(parts("vit")), device="cpu")
    given, options = images(4), {"batch_tokens": 1}
    if how == "one at a time":
        options = {"batch_size": 1}
    elif how == "one thread":
        torch.set_num_threads(1)
    elif how == "hook":
        pipe.model.vit.register_forward_hook(lambda module, given, found: None)
    elif how == "small":
        monkeypatch.setattr(side_by_side, "LEAST_WORK", 1 << 60)
    elif how == "uneven":
        monkeypatch.setattr(side_by_side, "UNEVEN", 0.9)
    modes = {"autocast": torch.autocast("cpu", dtype=torch.bfloat16), "device mode": torch.device("cpu")}
    with modes.get(how, torch.no_grad()):
        pipe(given, **options)
    assert passes and all(name != "afterlogits-batch" for name, _ in passes)


def test_the_fullest_thread_by_hand():
    """5 and 3 first, then 3 joins the 3; 6 of 11 are on one thread. One large batch and a small one cannot be even."""
    assert _fullest([5, 3, 3], 2) == 6
    assert _fullest([9, 1], 2) == 9


def test_batches_are_made_even():
    """ViT's 16 pictures are 10 and 6 by its budget, its 32 are 10, 10, 10 and 2; no batch grows, no row is lost."""
    sixteen, thirty_two = [[*range(10)], [*range(10, 16)]], [[*range(a, min(a + 10, 32))] for a in range(0, 32, 10)]
    assert [len(each) for each in even(sixteen, lambda row: 0, 2)] == [8, 8]
    assert [len(each) for each in even(thirty_two, lambda row: 0, 2)] == [8, 8, 8, 8]
    assert [len(each) for each in even([[*range(8)]], lambda row: 0, 2)] == [4, 4]
    assert even([[0], [1], [2]], lambda row: 0, 2) == [[0], [1], [2]]
    draw = random.Random(0)
    for _ in range(500):
        kinds, most, at_once = [draw.randrange(3) for _ in range(draw.randrange(1, 40))], draw.randrange(1, 9), 4
        order = sorted(range(len(kinds)), key=lambda row: kinds[row])
        batches = [
            own[first : first + most]
            for own in ([row for row in order if kinds[row] == kind] for kind in range(3))
            for first in range(0, len(own), most)
        ]
        found = even(batches, kinds.__getitem__, at_once)
        assert [row for batch in found for row in batch] == order
        assert all(0 < len(batch) <= most and len({kinds[row] for row in batch}) == 1 for batch in found)


def test_which_models():
    model = parts("vit")["model"].eval()
    assert as_made(model) and passes_side_by_side(model)
    swin = hf.SwinModel(
        hf.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1], num_heads=[2], window_size=4)
    )
    assert as_made(swin.eval()) and not passes_side_by_side(swin)
    assert not as_made(copy.deepcopy(model).bfloat16()) and not as_made(copy.deepcopy(model).train())
    compiled = copy.deepcopy(model)
    compiled.compile()
    assert not as_made(compiled)
    assert not as_made(torch.nn.Linear(2, 2)) and not as_made(lambda **inputs: None)


MAKING = {"__init__", "_init_weights", "prune_heads", "_prune_heads", "set_input_embeddings", "get_input_embeddings"}


def writes(kind):
    """The attributes of itself that a module's methods write to, by its source: also a part of one, or a sum."""
    for name, method in vars(kind).items():
        if inspect.isfunction(method) and name not in MAKING:
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(method))))):
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                for target in targets if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) else ():
                    while isinstance(target, ast.Subscript):
                        target = target.value
                    if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                        yield f"{kind.__name__}.{name}: {target.attr}"


def modules_of(name):
    """The modules that transformers defines for a model."""
    folder = importlib.import_module(f"transformers.models.{name}")
    for entry in pkgutil.iter_modules(folder.__path__):
        if entry.name.startswith("modeling_") and not entry.name.startswith(("modeling_tf_", "modeling_flax_")):
            for kind in vars(importlib.import_module(f"{folder.__name__}.{entry.name}")).values():
                if (
                    inspect.isclass(kind)
                    and issubclass(kind, torch.nn.Module)
                    and kind.__module__.startswith(folder.__name__)
                ):
                    yield kind


def test_no_pass_of_these_models_writes_to_a_module():
    """The installed transformers' source is read; Swin, which does, shows that it is seen."""
    kinds = [kind for name in sorted(WRITING_NOTHING) for kind in modules_of(name)]
    assert len(kinds) > 400
    assert [each for kind in kinds for each in writes(kind)] == []
    assert any(each.startswith("SwinLayer") for kind in modules_of("swin") for each in writes(kind))


def test_without_batches_no_thread_is_started():
    with SideBySide(pipeline("image-classification", **parts("vit"), device="cpu")._task, _Loaded()) as threads:
        assert threads.share([], [], int) == ([], 0) and threads._threads is None


class _Loaded:
    device = torch.device("cpu")
    model = None
