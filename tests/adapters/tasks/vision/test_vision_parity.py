"""The vision tasks against transformers' pipelines: drawn pictures of several sizes, one call for all."""

import pytest

from tests.programs.vision_pipeline_parity import CASES, IN_VERSION_4, VERSION_4, count_mismatches

NOW = [(task, model) for task in CASES if task not in IN_VERSION_4 for model in CASES[task]]
REMOVED = [(task, model) for task in IN_VERSION_4 for model in CASES[task]]


@pytest.mark.skipif(VERSION_4, reason="transformers 5.23 is the rule of these tasks")
@pytest.mark.parametrize(("task", "model"), NOW)
def test_the_answers_are_those_of_transformers(task, model, tmp_path):
    compare(task, model, tmp_path)


@pytest.mark.v4
@pytest.mark.skipif(not VERSION_4, reason="needs transformers 4.57.6: version 5 removed these tasks")
@pytest.mark.parametrize(("task", "model"), REMOVED)
def test_the_answers_are_those_of_version_4(task, model, tmp_path):
    compare(task, model, tmp_path)


def compare(task, model, folder):
    cases, wrong, rounded = count_mismatches(task, model, 4 * len(CASES[task][model]), 1, str(folder))
    print(f"{cases} cases, {wrong} differ, {rounded} rounded apart")
    assert wrong == 0
