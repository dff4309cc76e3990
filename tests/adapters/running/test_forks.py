"""A pipeline in a forked process."""

import os

import pytest

from afterlogits import pipeline
from afterlogits.adapters.running.tokenising import lock_of
from tests.builders.forks import held_by_a_thread, status_of_fork
from tests.builders.text_models import tiny_model, wordpiece


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_pipeline_answers_in_a_fork_while_a_thread_of_the_parent_encodes() -> None:
    tokenizer = wordpiece()
    pipe = pipeline("token-classification", model=tiny_model("token-classification", tokenizer), tokenizer=tokenizer)
    expected = pipe(["Ada works in Paris."] * 2)

    def answer() -> None:
        assert pipe(["Ada works in Paris."] * 2) == expected

    with held_by_a_thread(lock_of(pipe.tokenizer)):
        assert status_of_fork(answer) == 0
