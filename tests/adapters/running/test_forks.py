"""A pipeline in a forked process."""

import os
import threading

import pytest

from afterlogits import pipeline
from afterlogits.adapters.running.tokenising import lock_of
from tests.builders.status_of_fork import status_of_fork
from tests.builders.text_models import tiny_model, wordpiece


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_pipeline_answers_in_a_fork_while_a_thread_of_the_parent_encodes() -> None:
    tokenizer = wordpiece()
    pipe = pipeline("token-classification", model=tiny_model("token-classification", tokenizer), tokenizer=tokenizer)
    expected = pipe(["Ada works in Paris."] * 2)
    held, over = threading.Event(), threading.Event()

    def encode() -> None:
        with lock_of(pipe.tokenizer):
            held.set()
            over.wait()

    thread = threading.Thread(target=encode)
    thread.start()
    held.wait()

    def answer() -> None:
        assert pipe(["Ada works in Paris."] * 2) == expected

    status = status_of_fork(answer)
    over.set()
    thread.join()
    assert status == 0
