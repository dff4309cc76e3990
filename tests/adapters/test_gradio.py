"""``gradio.interface``: a form for a pipeline of any task, called as gradio's own client calls it."""

import asyncio
import json

import pytest

gradio = pytest.importorskip("gradio", reason="gradio is not installed (make test-serve-clients has it)")

from afterlogits.adapters.gradio import interface  # noqa: E402
from tests.builders.served_tasks import TEXT, cases, film, inputs_of, pipe_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def event_loop():
    """gradio asks for the main thread's event loop, which Python 3.10 and 3.11 then make and nobody closes: a later
    test would be told of the socket in it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def ask(tmp_path):
    """Launch an interface, give the files and texts to gradio's client, end it."""
    from gradio_client import Client, handle_file

    def given(value):
        if isinstance(value, bytes):
            kind = {b"\x89PNG": "png", b"RIFF": "wav"}.get(value[:4], "mp4")
            path = tmp_path / f"{abs(hash(value))}.{kind}"
            path.write_bytes(value)
            file = handle_file(str(path))
            return {"video": file} if kind == "mp4" and gradio.__version__.startswith("5.") else file
        return value

    def run(pipe, *values):
        page = interface(pipe)
        for left in (
            2,
            1,
            0,
        ):  # gradio waits a few seconds for its own server, which a busy machine may not start by then
            try:
                _, address, _ = page.launch(
                    prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", show_error=True
                )
                break
            except ValueError:
                if not left:
                    raise
        try:
            return Client(address, verbose=False).predict(*map(given, values), api_name="/predict")
        finally:
            page.close()

    return run


@pytest.mark.parametrize("task", cases())
def test_every_task_has_a_form(task):
    page = interface(pipe_of(task), description="hello")
    assert page.input_components and page.output_components
    assert page.title == task and page.description == "hello"


def test_labels(ask):
    pipe = pipe_of("text-classification")
    found = ask(pipe, TEXT)
    want = pipe(TEXT, top_k=None)
    assert found["label"] == want[0]["label"]
    assert {one["label"]: one["confidence"] for one in found["confidences"]} == pytest.approx(
        {one["label"]: one["score"] for one in want}, abs=1e-5
    )


def test_entities(ask):
    pipe = pipe_of("token-classification")
    found = ask(pipe, TEXT)
    tokens = [(one["token"], one["class_or_confidence"]) for one in found]
    assert "".join(text for text, _ in tokens) == TEXT
    want = pipe(TEXT)
    marked = [(text, label) for text, label in tokens if label is not None]
    assert sum(len(text) for text, _ in marked) == sum(one["end"] - one["start"] for one in want)


def test_answers_texts_and_fillings(ask):
    case = inputs_of("question-answering")
    answer, score = ask(pipe_of("question-answering"), case["context"], case["question"])
    want = pipe_of("question-answering")(**case)
    assert answer == want["answer"] and score == pytest.approx(want["score"], abs=1e-5)
    assert ask(pipe_of("summarization"), TEXT) == pipe_of("summarization")(TEXT)[0]["summary_text"]
    best = pipe_of("fill-mask")(inputs_of("fill-mask"))[0]
    assert ask(pipe_of("fill-mask"), inputs_of("fill-mask"))["label"] == best["token_str"]
    found = ask(pipe_of("zero-shot-classification"), TEXT, "history, sport", True)
    want = pipe_of("zero-shot-classification")(TEXT, candidate_labels=["history", "sport"], multi_label=True)
    assert found["label"] == want["labels"][0]
    table = inputs_of("table-question-answering")
    answer, _ = ask(pipe_of("table-question-answering"), table["table"], table["query"])
    assert answer == pipe_of("table-question-answering")(table)["answer"]


PICTURED = ("image-classification", "image-segmentation", "depth-estimation", "keypoint-detection")


@pytest.mark.parametrize("task", [task for task in PICTURED if task in cases()])
def test_pictures(ask, task):
    found = ask(pipe_of(task), inputs_of("image-classification"))
    if task == "image-classification":
        assert found["label"] == pipe_of(task)(inputs_of(task))[0]["label"]
    elif isinstance(found, dict):
        assert found["annotations"]
    else:
        assert found.endswith((".png", ".webp", ".jpeg"))


def test_sounds_and_films(ask):
    heard = ask(pipe_of("automatic-speech-recognition"), inputs_of("automatic-speech-recognition"))
    assert heard == pipe_of("automatic-speech-recognition")(inputs_of("automatic-speech-recognition"))["text"]
    assert ask(pipe_of("text-to-audio"), "hello there").endswith(".wav")
    want = pipe_of("video-classification")(film())[0]["label"]
    assert ask(pipe_of("video-classification"), film())["label"] == want


def test_what_has_no_form_of_its_own_takes_and_gives_json(ask):
    pair = {"text": "Ada works.", "text_pair": "Maria too."}
    found = ask(pipe_of("next-sentence-prediction"), pair)
    assert json.loads(json.dumps(found))["score"] == pytest.approx(pipe_of("next-sentence-prediction")(pair)["score"])


def test_errors_reach_the_form(ask):
    with pytest.raises(Exception, match="must not be empty"):
        ask(pipe_of("token-classification"), "")
    with pytest.raises(TypeError, match="pipe must be a pipeline of afterlogits; got function"):
        interface(lambda text: text)
