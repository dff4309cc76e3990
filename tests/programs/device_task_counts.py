"""How often a batch of each task waits for a device: ``python -m tests.programs.device_task_counts``.

``--write docs/gpu-counts.md`` puts the table on the page. The cases and the counting are those of
``tests/pretend_cuda/test_tasks.py``, which holds every task to its number; no GPU is in it.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from unittest import mock

import pytest

from tests.pretend_cuda import test_tasks
from tests.programs.device_counts import command

_MARK = "<!-- tasks -->"
WITH_KERNELS = ", with kernels"
# Waits a batch on 28 November 2026, where they were not one. Others' own methods were not counted then.
BEFORE = {
    "maskformer": 50,
    "mask2former": 25.5,
    "detr_segmentation": 51,
    "text2text-generation": 9,
    "automatic-speech-recognition whisper": 2,
    "automatic-speech-recognition speech2text": 10,
    "text-to-audio vits": 4,
    "document-question-answering donut": 3,
    "decision llama": 3.7,
}


def counted() -> dict[str, float]:
    """The waits of a batch of every case, by its name."""
    found: dict[str, float] = {}
    plain = test_tasks.compare

    def noted(task: str, *given: object, **named: object) -> float:
        found[str(given[5] if len(given) > 5 and given[5] else task)] = waits = plain(task, *given, **named)  # type: ignore[arg-type]
        return waits

    with mock.patch.object(test_tasks, "compare", noted), tempfile.TemporaryDirectory() as folder:
        runs: list[Callable[[], None]] = [partial(test_tasks.test_text_tasks, name) for name in test_tasks.TEXT]
        pictures = [(task, name) for task in test_tasks.vision.TASKS for name in test_tasks.vision.CASES[task]]
        runs += [partial(test_tasks.test_vision_tasks, *each, folder) for each in pictures]
        runs += [partial(test_tasks.test_audio_and_multimodal_tasks, key) for key in test_tasks.HEARD]
        runs += [partial(test_tasks.test_tasks_of_this_package, task) for task in test_tasks.FURTHER]
        for run in runs:
            run()
        by_torch = dict(found)
        for name in test_tasks.KERNELS:
            with pytest.MonkeyPatch.context() as patch:
                test_tasks.test_segmentation_by_kernels(name, folder, patch)
    return by_torch | {f"{name}{WITH_KERNELS}": found[name] for name in test_tasks.KERNELS}


def markdown(found: dict[str, float]) -> str:
    """The tasks that wait or waited more than once, and how many others there are."""
    before = BEFORE | {f"{name}{WITH_KERNELS}": BEFORE[name] for name in test_tasks.KERNELS}
    listed = {name: waits for name, waits in sorted(found.items()) if waits > 1 or name in before}
    lines = ["| task or model | waits a batch | before | at most |", "|---|---|---|---|"]
    for name, waits in listed.items():
        earlier = f"{before[name]:g}" if name in before else "-"
        lines.append(f"| {name} | {waits:.3g} | {earlier} | {test_tasks.MOST.get(name, 1):g} |")
    others = [waits for name, waits in found.items() if name not in listed]
    once = sum(waits == 1 for waits in others)
    return "\n".join(
        [*lines, "", f"Of the other {len(others)} tasks and models {once} wait once a batch, the rest less often."]
    )


if __name__ == "__main__":
    command(__doc__, _MARK, lambda: markdown(counted()))
