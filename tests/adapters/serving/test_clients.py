"""huggingface_hub's InferenceClient and openai's client, as they are installed, read the pipeline's answers.

The same file runs with huggingface_hub 2.x (make test), 0.36 (make test-v4) and 1.x (make test-serve-clients).
"""

import io
import json

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import InferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

from tests.builders.running_server import running
from tests.builders.served_tasks import CASES, TEXT, cases, inputs_of, pipe_of

pytestmark = pytest.mark.filterwarnings("ignore")
HUB_0 = huggingface_hub.__version__.startswith("0.")
PROMPT = "The baker"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The clients refuse every address, this machine's too, where the hub is switched off."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def plain(found):
    """What a client gives as JSON's types."""
    if isinstance(found, dict) or hasattr(found, "__dataclass_fields__"):
        items = found.items() if isinstance(found, dict) else vars(found).items()
        return {name: plain(value) for name, value in items if value is not None}
    if isinstance(found, list | tuple):
        return [plain(each) for each in found]
    if isinstance(found, np.ndarray):
        return found.tolist()
    return found


def same(one, two):
    """Every part of what the pipeline gives that the client knows a name for."""
    if isinstance(one, dict) and isinstance(two, dict):
        shared = one.keys() & two.keys()
        assert shared and shared == one.keys(), (one, two)
        for name in shared:
            same(one[name], two[name])
    elif isinstance(one, list) and isinstance(two, list | tuple):
        assert len(one) == len(two)
        for first, second in zip(one, two, strict=True):
            same(first, second)
    elif isinstance(one, float):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
    elif isinstance(one, Image.Image):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    else:
        assert one == two


def options(task):
    return dict(CASES[task].options)


# What each method of the client is given; it is asked at the address of its task.
CALLS = {
    "text-classification": lambda c: c.text_classification(TEXT, **options("text-classification")),
    "token-classification": lambda c: c.token_classification(TEXT, **options("token-classification")),
    "question-answering": lambda c: c.question_answering(**inputs_of("question-answering")),
    "zero-shot-classification": lambda c: c.zero_shot_classification(TEXT, ["history", "sport"]),
    "fill-mask": lambda c: c.fill_mask(inputs_of("fill-mask"), top_k=3),
    "text-generation": lambda c: c.text_generation(PROMPT, max_new_tokens=8, do_sample=False),
    "summarization": lambda c: c.summarization(
        inputs_of("summarization"), generate_parameters={"max_new_tokens": 8}, truncation="do_not_truncate"
    ),
    "translation": lambda c: c.translation(
        inputs_of("translation"), clean_up_tokenization_spaces=False, generate_parameters={"max_new_tokens": 8}
    ),
    "feature-extraction": lambda c: c.feature_extraction(inputs_of("feature-extraction")),
    "table-question-answering": lambda c: c.table_question_answering(
        **inputs_of("table-question-answering"), model=c.model
    ),
    "image-classification": lambda c: c.image_classification(inputs_of("image-classification"), top_k=2),
    "image-segmentation": lambda c: c.image_segmentation(inputs_of("image-segmentation")),
    "object-detection": lambda c: c.object_detection(inputs_of("object-detection"), threshold=0.1),
    "image-to-text": lambda c: c.image_to_text(inputs_of("image-to-text")),
    "image-to-image": lambda c: c.image_to_image(inputs_of("image-to-image")),
    "visual-question-answering": lambda c: c.visual_question_answering(
        **inputs_of("visual-question-answering"), top_k=2
    ),
    "document-question-answering": lambda c: c.document_question_answering(
        inputs_of("document-question-answering")["image"],
        inputs_of("document-question-answering")["question"],
        word_boxes=inputs_of("document-question-answering")["word_boxes"],
    ),
    "zero-shot-image-classification": lambda c: c.zero_shot_image_classification(
        inputs_of("zero-shot-image-classification"), ["cat", "dog"]
    ),
    "automatic-speech-recognition": lambda c: c.automatic_speech_recognition(inputs_of("automatic-speech-recognition")),
    "audio-classification": lambda c: c.audio_classification(inputs_of("audio-classification"), top_k=2),
    "text-to-audio": lambda c: c.text_to_speech(inputs_of("text-to-audio")),
}


def expected(task):
    """The pipeline's answer in the form that the client gives it in."""
    given = {} if task in ("image-to-text",) else options(task)
    found = pipe_of(task)(inputs_of(task), **given)
    if task == "text-generation":
        return found[0]["generated_text"]
    if task in ("summarization", "translation", "image-to-text"):
        return found[0]
    if task == "zero-shot-classification":
        return [{"label": a, "score": b} for a, b in zip(found["labels"], found["scores"], strict=True)]
    if task == "table-question-answering":
        return json.loads(json.dumps(found))
    if task == "document-question-answering":
        return found if isinstance(found, list) else [found]
    return found


@pytest.fixture(scope="module")
def base():
    """One server of every task that the client has a method for."""
    with running(*[pipe_of(task) for task in CALLS if task in cases()]) as address:
        yield address


@pytest.mark.v4
@pytest.mark.parametrize("task", [task for task in CALLS if task in cases()])
def test_every_method_of_the_hubs_client(base, task):
    import torch

    client = InferenceClient(f"{base}/{task}")
    torch.manual_seed(0)
    try:
        found = CALLS[task](client)
    except (TypeError, AttributeError) as error:
        pytest.skip(f"huggingface_hub {huggingface_hub.__version__}: {error}")
    torch.manual_seed(0)
    want = expected(task)
    if task == "text-to-audio":
        import soundfile

        samples, rate = soundfile.read(io.BytesIO(found))
        assert rate == want["sampling_rate"]
        np.testing.assert_allclose(samples, np.clip(want["audio"], -1, 1), atol=1e-4)
    else:
        same(plain(found) if task != "image-to-image" else found, want)
    asking = InferenceClient(provider="hf-inference")
    assert asking.health_check(base) and asking.health_check(f"{base}/{task}")
    assert task in [each["task"] for each in asking.get_endpoint_info(model=f"{base}/{task}")["tasks"]]


@pytest.mark.v4
def test_sentence_similarity(base):
    pipe = pipe_of("feature-extraction")
    texts = ["The bread is fresh.", "She bakes bread.", "The council met."]
    found = InferenceClient(f"{base}/feature-extraction").sentence_similarity(texts[0], texts[1:])
    first, *others = np.asarray(pipe(texts, pooling="mean", normalize=True))
    assert found == pytest.approx([float(first @ other) for other in others], abs=1e-5)


@pytest.mark.v4
def test_text_generation_of_every_kind(base):
    pipe = pipe_of("text-generation")
    asked = {"max_new_tokens": 10, "temperature": 1.2, "top_k": 30, "top_p": 0.9, "seed": 5, "do_sample": True}
    own = {name: value for name, value in asked.items() if name != "seed"}
    (whole,) = pipe(PROMPT, **own, seeds=[5])
    (new,) = pipe(PROMPT, **own, seeds=[5], return_full_text=False)
    client = InferenceClient(f"{base}/text-generation")
    assert client.text_generation(PROMPT, **asked) == whole["generated_text"]
    assert client.text_generation(PROMPT, **asked, return_full_text=False) == new["generated_text"]
    details = client.text_generation(PROMPT, **asked, details=True, return_full_text=False)
    assert details.generated_text == new["generated_text"] and details.details.generated_tokens == 10
    assert "".join(token.text for token in details.details.tokens) == new["generated_text"]
    assert details.details.seed == 5 and details.details.finish_reason == "length"
    assert "".join(client.text_generation(PROMPT, **asked, stream=True)) == new["generated_text"]
    streamed = list(client.text_generation(PROMPT, **asked, stream=True, details=True))
    assert [each.token.logprob for each in streamed] == pytest.approx(
        [token.logprob for token in details.details.tokens], abs=1e-4
    )
    assert streamed[-1].details.generated_tokens == 10 and streamed[-1].generated_text == whole["generated_text"]
    assert all(each.generated_text is None for each in streamed[:-1])
    stopped = client.text_generation(PROMPT, max_new_tokens=20, stop=["the"], do_sample=False)
    assert stopped == pipe(PROMPT, max_new_tokens=20, stop_sequence="the", do_sample=False)[0]["generated_text"]
    with pytest.raises(Exception, match="max_new_tokens must be at most 1024; got 5000"):
        client.text_generation(PROMPT, max_new_tokens=5000)
    with pytest.raises(Exception, match="watermark must be left out"):
        client.text_generation(PROMPT, watermark=True)


@pytest.mark.v4
def test_chats_of_the_hubs_client(base):
    pipe = pipe_of("text-generation")
    chat = [{"role": "user", "content": "Who bakes?"}]
    (want,) = pipe(chat, max_new_tokens=8, do_sample=False, return_full_text=False)
    for address in (base, f"{base}/text-generation"):
        client = InferenceClient(address)
        found = client.chat_completion(chat, max_tokens=8, temperature=0.0, logprobs=True, top_logprobs=2)
        assert found.choices[0].message.content == want["generated_text"]
        assert found.usage.completion_tokens == len(found.choices[0].logprobs.content) == 8
        assert len(found.choices[0].logprobs.content[0].top_logprobs) == 2
        pieces = list(client.chat_completion(chat, max_tokens=8, temperature=0.0, stream=True))
        assert "".join(each.choices[0].delta.content or "" for each in pieces) == want["generated_text"]
        assert pieces[-1].choices[0].finish_reason == found.choices[0].finish_reason == "length"


@pytest.mark.v4
def test_errors_reach_the_user(base):
    client = InferenceClient(f"{base}/token-classification")
    with pytest.raises(HfHubHTTPError, match="text must not be empty"):
        client.token_classification("")
    with pytest.raises(HfHubHTTPError, match="404"):
        InferenceClient(f"{base}/nothing").token_classification("Ada")


openai = pytest.importorskip("openai", reason="openai is not installed")


@pytest.fixture(scope="module")
def server():
    with running(pipe_of("text-generation"), names=["language-model"]) as base:
        yield base, openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)


def written(**given):
    return pipe_of("text-generation")(PROMPT, return_full_text=False, **given)[0]["generated_text"]


def test_openai_models_and_completions(server):
    _, client = server
    assert [each.id for each in client.models.list()] == ["language-model"]
    want = written(max_new_tokens=8, do_sample=True, temperature=0.9, top_k=0, top_p=0.8, seeds=[3])
    given = {"model": "language-model", "prompt": PROMPT, "max_tokens": 8, "temperature": 0.9, "top_p": 0.8, "seed": 3}
    found = client.completions.create(**given, logprobs=2)
    (choice,) = found.choices
    assert choice.text == want and choice.finish_reason == "length" and found.usage.completion_tokens == 8
    assert "".join(choice.logprobs.tokens) == want and len(choice.logprobs.top_logprobs[0]) == 2
    starts = [0, *np.cumsum([len(one) for one in choice.logprobs.tokens]).tolist()][:-1]
    assert choice.logprobs.text_offset == starts
    streamed = list(client.completions.create(**given, stream=True, stream_options={"include_usage": True}))
    assert "".join(each.choices[0].text for each in streamed if each.choices) == want
    assert streamed[-1].usage.total_tokens == found.usage.total_tokens and not streamed[-1].choices
    assert [each.choices[0].finish_reason for each in streamed[:-1]][-1] == "length"
    ids = pipe_of("text-generation").tokenizer(PROMPT)["input_ids"]
    assert client.completions.create(**{**given, "prompt": ids}).choices[0].text == want
    echoed = client.completions.create(**given, echo=True)
    assert echoed.choices[0].text == PROMPT + want


def test_openai_several_choices_and_prompts(server):
    _, client = server
    given = {"model": "language-model", "max_tokens": 6, "temperature": 1.5, "seed": 11}
    want = [written(max_new_tokens=6, do_sample=True, temperature=1.5, top_k=0, seeds=[11 + n]) for n in range(3)]
    found = client.completions.create(**given, prompt=PROMPT, n=3)
    assert [choice.text for choice in found.choices] == want
    assert 3 < found.usage.completion_tokens <= 18 and [choice.index for choice in found.choices] == [0, 1, 2]
    texts = {0: "", 1: "", 2: ""}
    for each in client.completions.create(**given, prompt=PROMPT, n=3, stream=True):
        texts[each.choices[0].index] += each.choices[0].text
    assert list(texts.values()) == want
    two = client.completions.create(**given, prompt=[PROMPT, "Last week"], n=1)
    assert len(two.choices) == 2 and two.choices[0].text == want[0]
    best = client.completions.create(**given, prompt=PROMPT, n=1, extra_body={"best_of": 3})
    assert best.choices[0].text in want


def test_openai_stops_are_left_out_and_never_shown_in_part(server):
    _, client = server
    whole = written(max_new_tokens=30, do_sample=False)
    stop = whole[10:14]  # in the middle of the text, over the borders of its tokens
    want = whole[: whole.index(stop)]
    given = {"model": "language-model", "prompt": PROMPT, "max_tokens": 30, "temperature": 0, "stop": [stop, "\0never"]}
    found = client.completions.create(**given)
    assert found.choices[0].text == want and found.choices[0].finish_reason == "stop"
    pieces = [each.choices[0].text for each in client.completions.create(**given, stream=True)]
    assert "".join(pieces) == want and len(pieces) > 2


def test_openai_chats(server):
    _, client = server
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Who?"}]}]
    text = [chat[0], {"role": "user", "content": "Who?"}]
    (want,) = pipe_of("text-generation")(text, max_new_tokens=8, do_sample=False, return_full_text=False)
    given = {"model": "language-model", "messages": chat, "max_completion_tokens": 8, "temperature": 0}
    found = client.chat.completions.create(**given, logprobs=True, top_logprobs=3, tools=[])
    assert found.choices[0].message.content == want["generated_text"] and found.choices[0].message.role == "assistant"
    assert "".join(one.token for one in found.choices[0].logprobs.content) == want["generated_text"]
    streamed = list(client.chat.completions.create(**given, stream=True))
    assert "".join(each.choices[0].delta.content for each in streamed) == want["generated_text"]
    assert streamed[0].choices[0].delta.role == "assistant"


def test_both_clients_read_calls_of_tools(server):
    """Of a tool that must be called, whole and streamed."""
    pytest.importorskip("llguidance", reason="needs afterlogits[grammar]")
    address, client = server
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": schema}}]
    given = {"messages": [{"role": "user", "content": "Add."}], "tools": tools, "tool_choice": "required"}
    found = client.chat.completions.create(model="language-model", **given, max_tokens=60, temperature=0).choices[0]
    (call,) = found.message.tool_calls
    assert (found.finish_reason, call.type, call.function.name) == ("tool_calls", "function", "add")
    streamed = list(
        client.chat.completions.create(model="language-model", **given, max_tokens=60, temperature=0, stream=True)
    )
    (piece,) = [call for each in streamed for call in each.choices[0].delta.tool_calls or ()]
    assert piece.function.arguments == call.function.arguments and json.loads(call.function.arguments)["a"] in (1, 2)
    answered = [
        *given["messages"],
        {"role": "assistant", "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "3"},
    ]
    again = client.chat.completions.create(model="language-model", messages=answered, tools=tools, max_tokens=4)
    assert again.choices[0].message.role == "assistant"
    other = InferenceClient(f"{address}/text-generation").chat_completion(**given, max_tokens=60, temperature=0)
    assert other.choices[0].message.tool_calls[0].function.name == "add"


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"prompt": PROMPT, "temperature": 200}, 400, "temperature must be in"),
        ({"prompt": PROMPT, "max_tokens": 0}, 400, "max_tokens must be a whole number in"),
        ({"prompt": 3}, 400, "prompt must be a text"),
        ({"prompt": [10**9]}, 422, "prompt must hold token ids in"),
        ({"prompt": PROMPT, "suffix": "x"}, 400, "suffix must be left out"),
        ({"prompt": PROMPT, "extra_body": {"nonsense": 1}}, 400, "nonsense is not known here"),
        ({"prompt": PROMPT, "extra_body": {"custom_generate": "a/b"}}, 400, "custom_generate is not known here"),
        ({"prompt": PROMPT, "model": "other"}, 404, "model 'other' is not served"),
        ({"prompt": PROMPT, "n": 65}, 400, "n must be a whole number in"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_openai_errors_are_its_own(server, given, status, words):
    _, client = server
    with pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(**{"model": "language-model", **given})
    assert caught.value.status_code == status and words in str(caught.value)
    assert caught.value.body["type"] == "invalid_request_error" and "param" in caught.value.body


def test_a_model_without_a_chat_template_says_so():
    from afterlogits import pipeline
    from tests.builders.text_models import tiny_decoder, tokenizer_of

    tokenizer = tokenizer_of("bytelevel")
    pipe = pipeline("text-generation", tiny_decoder(tokenizer), tokenizer=tokenizer, device="cpu")
    with running(pipe) as base:
        client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.UnprocessableEntityError, match="model must have a chat template"):
            client.chat.completions.create(model="model", messages=[{"role": "user", "content": "hi"}])
