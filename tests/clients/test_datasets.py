"""datasets: a pipeline under ``map``, alone, in batches, and in processes of its own; data sets as its input."""

import pytest
import torch
import transformers

from afterlogits import pipeline

from .matrix import CLASSIFIER, NER, TEXTS, close, compare, counting, note

datasets = pytest.importorskip("datasets", reason="datasets is not installed")


@pytest.fixture(scope="module")
def texts():
    return datasets.Dataset.from_dict({"text": TEXTS})


@pytest.fixture(scope="module")
def pipes():
    return transformers.pipeline("text-classification", CLASSIFIER, device="cpu"), pipeline(
        "text-classification", CLASSIFIER, device="cpu"
    )


def labelled(pipe):
    return lambda batch: {"label": [each["label"] for each in pipe(batch["text"])]}


def test_map_in_batches(texts, pipes):
    theirs, ours = pipes
    run = lambda pipe: texts.map(labelled(pipe), batched=True, load_from_cache_file=False)["label"][:]  # noqa: E731
    compare("datasets", "`map(batched=True)`", lambda: run(theirs), lambda: run(ours))


@pytest.mark.parametrize("form", ["arrow", "numpy", "pandas"])
def test_map_with_a_format(texts, pipes, form):
    """A batch comes as Arrow, numpy or pandas columns: transformers takes lists alone."""
    theirs, ours = pipes
    formatted = texts.with_format(form)

    def run(pipe, column):
        work = lambda batch: {"label": [each["label"] for each in pipe(column(batch["text"]))]}  # noqa: E731
        kind = {"arrow": "pyarrow", "numpy": "numpy", "pandas": "pandas"}[form]
        del kind
        return [row["label"] for batch in formatted.iter(6) for row in rows(work(batch))]

    rows = lambda found: [{"label": label} for label in found["label"]]  # noqa: E731
    as_list = lambda column: column.to_pylist() if form == "arrow" else list(column)  # noqa: E731
    what = f"batches of format {form!r}"
    compare("datasets", what, lambda: run(theirs, as_list), lambda: run(ours, lambda column: column))


def test_map_in_processes(texts, pipes):
    """``num_proc``: the pipeline is pickled into workers.

    One thread: a forked worker whose parent's OpenMP threads have run waits for them for ever, in any pipeline.
    """
    _, ours = pipes
    expected = [each["label"] for each in ours(TEXTS)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        mapped = texts.map(labelled(ours), batched=True, num_proc=2, load_from_cache_file=False)
    finally:
        torch.set_num_threads(threads)
    with counting() as reached:
        ours(TEXTS[0])  # the workers' calls are counted in the workers
    assert mapped["label"][:] == expected
    note("datasets", "`map(num_proc=2)`, the pipeline pickled into workers", reached)


def test_a_data_set_as_input(texts, pipes):
    from transformers.pipelines.pt_utils import KeyDataset

    theirs, ours = pipes
    run = lambda pipe: list(pipe(KeyDataset(texts, "text")))  # noqa: E731
    compare("datasets", "`KeyDataset` as the pipeline's input", lambda: run(theirs), lambda: run(ours), same=close)


def test_entities_of_a_stream(texts):
    theirs = transformers.pipeline("ner", NER, device="cpu")
    ours = pipeline("ner", NER, device="cpu")
    stream = lambda: (row["text"] for row in texts.to_iterable_dataset())  # noqa: E731
    what = "an iterable data set as the pipeline's input"
    compare("datasets", what, lambda: list(theirs(stream())), lambda: list(ours(stream())), same=close)
