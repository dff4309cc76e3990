"""accelerate: an installed model that is dispatched, or offloaded to the disk or the CPU, by hooks on its modules."""

import pytest

from afterlogits import install

from .matrix import compare
from .models import decoder, prompts

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 20},
    "beams": {"num_beams": 3, "do_sample": False},
}


def run(model, mode):
    return model.generate(**prompts(), max_new_tokens=12, **MODES[mode]).tolist()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["installed first", "hooks first"])
def test_offloaded_to_the_disk(mode, order, tmp_path):
    def build(folder, installed):
        model = decoder()
        if installed and order == "installed first":
            install(model)
        model = accelerate.disk_offload(model, str(folder), execution_device="cpu")
        return install(model) if installed and order == "hooks first" else model

    theirs, ours = build(tmp_path / "theirs", False), build(tmp_path / "ours", True)
    what = f"`disk_offload`, {order}, {mode}"
    compare("accelerate", what, lambda: run(theirs, mode), lambda: run(ours, mode))


@pytest.mark.parametrize("mode", MODES)
def test_dispatched(mode):
    def build(prepare):
        model = prepare(decoder())
        return accelerate.dispatch_model(model, {"": "cpu"}, main_device="cpu", force_hooks=True)

    theirs, ours = build(lambda model: model), build(install)
    compare("accelerate", f"`dispatch_model`, {mode}", lambda: run(theirs, mode), lambda: run(ours, mode))
