"""torchao and torch.compile: quantized and compiled models, installed before or after."""

import pytest
import torch

from afterlogits import install

from .matrix import compare
from .models import decoder, prompts

MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 20},
    "beams": {"num_beams": 3, "do_sample": False},
}


def run(model, mode):
    return model.generate(**prompts(), max_new_tokens=12, **MODES[mode]).tolist()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_quantized(weights, mode):
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")

    def build():
        model = decoder()
        if weights == "int8":
            config = quantization.Int8WeightOnlyConfig()
        else:
            config = quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=quantization.PerGroup(32))
        quantization.quantize_(model, config)
        return model

    theirs, ours = build(), install(build())
    compare("torchao", f"{weights} weights, {mode}", lambda: run(theirs, mode), lambda: run(ours, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["installed first", "compiled first"])
def test_compiled(order, mode):
    """The eager back end of torch.compile: what is asked is the wrapper, not its code."""

    def build(installed):
        model = decoder()
        if installed and order == "installed first":
            install(model)
        model = torch.compile(model, backend="eager")
        return install(model) if installed and order == "compiled first" else model

    theirs, ours = build(False), build(True)
    what = f"`torch.compile`, {order}, {mode}"
    compare("torch", what, lambda: run(theirs, mode), lambda: run(ours, mode))
