"""Steps of ``make gpu-check`` on the pretend device: no tensor is where it should not be, nothing there is refused."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from afterlogits.benchmarks.gpu.check import STEPS
from afterlogits.benchmarks.gpu.findings import Check
from tests.pretend_cuda.device import PretendEvent, pretend_cuda

PROCESSORS = SimpleNamespace(
    multi_processor_count=132, max_threads_per_multi_processor=2048, name="none", total_memory=2**37
)
# Those that need neither a generator of the device nor a model, which is loaded before the device is there.
RUN = (
    "describe",
    "seeded_as_on_the_cpu",
    "stream_as_transformers",
    "bad_rows",
    "no_wait_in_a_step",
    "replays",
    "upsampling",
    "maps",
    "limits",
    "draws",
    "streams",
    "beams",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUN)
def test_steps_of_the_check_run_on_a_device(name: str) -> None:
    """In small; what there is of verdicts is met, graphs captured and replayed among them."""
    step = next(step for _, step, *_ in STEPS if step.__name__ == name)
    with (
        pretend_cuda(),
        mock.patch.object(torch.cuda, "get_device_properties", lambda device: PROCESSORS),
        mock.patch.object(torch.cuda, "set_sync_debug_mode", lambda mode: None),
        mock.patch.object(torch.cuda, "synchronize", lambda: None),
        mock.patch.object(torch.cuda, "_sleep", lambda cycles: None),
        mock.patch.object(PretendEvent, "elapsed_time", lambda event, later: 1e-3, create=True),
    ):
        check = Check(torch.device("cuda"), dry=True)
        check.run(name, step, 0)
    assert [finding.name for finding in check.findings if finding.met is False] == []
    assert check.findings[-1].name == "took"
    if name == "replays":
        assert sum("captured" in finding.name for finding in check.findings) == 12
