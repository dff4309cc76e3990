"""A text of a million characters: memory and answers follow the text, never its square. Counts are printed."""

import subprocess
import sys
from pathlib import Path

import pytest

SIZES = (250_000, 500_000, 1_000_000)
TASKS = ("token-classification", "question-answering")
CHILD = """
import sys
import torch, transformers
from afterlogits.adapters import pipeline
from tests.builders.text_models import corpus, tiny_model, wordpiece

torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_error()
task, size = sys.argv[1], int(sys.argv[2])
tokenizer = wordpiece(512)
pipe = pipeline(task, model=tiny_model(task, tokenizer), tokenizer=tokenizer, device="cpu")
lines = " ".join(corpus(4000, 1))
text = (lines * (size // len(lines) + 1))[:size]


def run(text):
    if task == "question-answering":
        return [pipe(question="Where is Paris?", context=text)]
    return pipe(text, aggregation_strategy="simple", stride=32)


def peak():
    # In KiB, of this program alone: ru_maxrss counts what the process held before it became this program.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


run(text[:20_000])
before = peak()
found = run(text)
print(len(found), max(each["end"] for each in found), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("task", TASKS)
def test_memory_of_a_long_text_grows_no_faster_than_the_text(task):
    """Peak memory of 250,000, 500,000 and 1,000,000 characters, each in a process of its own.

    Four times the text may take four times the memory and a quarter; its square would take sixteen times. The entities
    reach the end of the text, so nothing of it was left out.
    """
    peaks = {}
    for size in SIZES:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, task, str(size)], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        count, last, kibibytes = (int(number) for number in done.stdout.split())
        peaks[size] = kibibytes
        print(f"{task}: {size:,} characters, {count:,} answers, {kibibytes / 1024:.0f} MiB more than before the call")
        if task == "token-classification":
            assert last > size - 100
    assert peaks[SIZES[-1]] < 5 * peaks[SIZES[0]], peaks
