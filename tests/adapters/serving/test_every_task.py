"""Every task over HTTP: the answer is the pipeline's own, whatever form the input was sent in."""

import json

import pytest

from afterlogits.adapters.jobs.rows import encode_row
from afterlogits.adapters.serving.media import kind_of
from afterlogits.adapters.tasks.table import TASKS
from tests.builders.plain_http import post, send
from tests.builders.running_server import running
from tests.builders.served_tasks import CASES, b64, cases, inputs_of, of_bytes, pipe_of

pytestmark = pytest.mark.filterwarnings("ignore")
BINARY = [task for task in cases() if isinstance(inputs_of(task), bytes)]


def close(one, two):
    """Equal, numbers to a millionth of theirs."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(close(one[name], two[name]) for name in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(close, one, two))
    return one == pytest.approx(two, rel=1e-5, abs=1e-6) if isinstance(one, float) else one == two


def expected(task):
    """The pipeline's answer as it stands in JSON."""
    import torch

    torch.manual_seed(0)
    found = pipe_of(task)(inputs_of(task), **CASES[task].options)
    if task == "text-classification":
        found = [found]
    return json.loads(encode_row(found))


def ask(base, task):
    import torch

    torch.manual_seed(0)
    body = {"inputs": of_bytes(inputs_of(task)), "parameters": dict(CASES[task].options)}
    return send(base, "POST", f"/{task}", body, {"Accept": "application/json"})


@pytest.fixture(scope="module")
def base():
    with running(*map(pipe_of, cases())) as address:
        yield address


@pytest.mark.parametrize("task", cases())
def test_answers_are_the_pipelines(base, task):
    answer = ask(base, task)
    assert answer.status == 200, answer.body
    assert close(answer.json, expected(task))
    assert post(base, f"/{task}", {"inputs": None}).status == 422
    # A file or an address of the server's side is no input, whatever the task.
    for name in ("/etc/hostname", "http://127.0.0.1:1/a.png", "file:///etc/hostname"):
        if kind_of(TASKS[task]) is not None:
            refused = post(base, f"/{task}", {"inputs": name})
            assert refused.status == 422 and "never a path or an address" in refused.json["error"]


def test_one_task_alone_is_answered_at_the_root():
    task = "text-classification"
    with running(pipe_of(task)) as address:
        assert close(post(address, "/", {"inputs": inputs_of(task), "parameters": {"top_k": 2}}).json, expected(task))


@pytest.mark.parametrize("task", BINARY)
def test_raw_bytes_are_an_input(base, task):
    options = {n: v for n, v in CASES[task].options.items() if not isinstance(v, list)}
    if "candidate_labels" in CASES[task].options:
        pytest.skip("labels do not fit beside raw bytes")
    query = "&".join(f"{name}={value}" for name, value in options.items())
    raw = send(base, "POST", f"/{task}?{query}", inputs_of(task), {"Content-Type": "application/octet-stream"})
    url = f"data:application/octet-stream;base64,{b64(inputs_of(task))}"
    named = post(base, f"/{task}", {"inputs": url, "parameters": options})
    assert raw.status == named.status == 200, (raw.body, named.body)
    assert close(raw.json, named.json)


def test_every_task_of_the_package_is_tried():
    assert set(CASES) == set(TASKS)
