"""The vision tasks against transformers' pipelines: drawn pictures of several sizes, one call for all."""

import pytest

from tests.programs.vision_pipeline_parity import CASES, TASKS, count_mismatches

CALLS = [(task, model) for task in TASKS for model in CASES[task]]


@pytest.mark.parametrize(("task", "model"), CALLS)
def test_the_answers_are_those_of_transformers(task, model, tmp_path):
    cases, wrong, rounded = count_mismatches(task, model, 4 * len(CASES[task][model]), 1, str(tmp_path))
    print(f"{cases} cases, {wrong} differ, {rounded} rounded apart")
    assert wrong == 0
