"""What programs ask of a pipeline beside calling it: parts that can be set, one item by hand, copies, its class."""

import copy
import inspect
import json
import multiprocessing
import pickle

import pytest
import torch
import transformers
from PIL import Image

from afterlogits.adapters import pipeline
from afterlogits.adapters.checkpoints import path
from afterlogits.adapters.pipelines import CALLS, Pipeline
from tests.builders.audio_models import clap, wav2vec2_config
from tests.builders.text_models import LABELS, tiny_decoder, tiny_model, tiny_seq2seq, wordpiece
from tests.programs.pipeline_parity import equal

V4 = transformers.__version__.startswith("4.")
NLI = ("contradiction", "neutral", "entailment")
GENERATE = {"do_sample": False, "max_new_tokens": 4}
# Each task with an item, and the options its answer needs.
TASKS = {
    "token-classification": ("Ada works in Paris", {"aggregation_strategy": "simple"}),
    "text-classification": ("the river is near", {"top_k": 2}),
    "zero-shot-classification": ("the river", {"candidate_labels": ["a", "b"]}),
    "fill-mask": ("the [MASK] is near", {"top_k": 3}),
    "feature-extraction": ("the river", {}),
    "question-answering": ({"question": "Where?", "context": "Ada is in Paris. " * 30}, {"top_k": 2}),
    "multiple-choice": ({"prompt": "the river", "choices": ["is near", "was"]}, {}),
    "next-sentence-prediction": ({"text": "the river", "text_pair": "is near"}, {}),
    "text-generation": ("the river", GENERATE),
    "text2text-generation": ("the river", GENERATE),
    "summarization": ("the river", GENERATE),
    "translation": ("the river", GENERATE),
}


def build(task, **options):
    tokenizer = copy.deepcopy(wordpiece())
    if task == "text-generation":
        model = tiny_decoder(tokenizer)
    elif task in ("text2text-generation", "summarization", "translation"):
        model = tiny_seq2seq(tokenizer)
    elif task.startswith("zero"):
        model = tiny_model("text-classification", tokenizer, labels=NLI)
    else:
        model = tiny_model(task, tokenizer)
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **options)


# Copies and processes


@pytest.mark.parametrize("task", TASKS)
def test_a_pipeline_is_pickled_and_copied(task):
    item, options = TASKS[task]
    call = build(task, **options)
    expected = call(item)
    for same in (pickle.loads(pickle.dumps(call)), copy.deepcopy(call)):
        assert same(item) == expected and same.model is not call.model
        assert type(same) is type(call) and same.task == task and repr(same) == repr(call)
    assert copy.copy(call).model is call.model and copy.copy(call)(item) == expected


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "text-generation"])
def test_results_and_columns_are_pickled_and_copied(task):
    item, options = TASKS[task]
    call = build(task, **options)
    found = call([item, item])
    for same in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert same == found and type(same) is type(found)
        assert same[0]._repr_html_() == found[0]._repr_html_()
    columns = call([item, item], output="columns")
    again = pickle.loads(pickle.dumps(columns))
    assert all(torch.equal(again[n], v) if isinstance(v, torch.Tensor) else again[n] == v for n, v in columns.items())


def test_a_model_that_torch_does_not_pickle():
    """wav2vec 2.0's positions are a parametrized convolution: "Serialization of parametrized modules" is refused."""
    from tests.builders.audio_models import noise, sound_classifier

    model, extractor = sound_classifier()
    call = pipeline("audio-classification", model=model, feature_extractor=extractor, device="cpu")
    with pytest.raises(RuntimeError, match="parametrized"):
        pickle.dumps(model)
    expected = call(noise(0.5))
    for same in (pickle.loads(pickle.dumps(call)), copy.deepcopy(call)):
        assert equal(same(noise(0.5)), expected) and same.model is not model
        assert not same.model.training and type(same.model) is type(model)
    assert copy.copy(call)(noise(0.5)) == expected


def answer_in_a_worker(given):
    call, item = given
    return call(item)


def test_a_spawned_process_answers():
    """Nothing of this process is there but what was pickled."""
    call = build("text-classification")
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        assert workers.map(answer_in_a_worker, [(call, "the river")]) == [call("the river")]


# Parts


def test_model_and_tokenizer_can_be_set():
    call, other = build("text-classification"), build("text-classification")
    with torch.no_grad():
        other.model.classifier.weight.neg_()
    other.tokenizer.model_max_length = 3
    text, other.tokenizer.truncation_side = "the river Paris", "left"
    cut = {"truncation": True}
    assert call(text, **cut) != other(text, **cut)
    call.model, call.tokenizer = other.model.train(), other.tokenizer
    assert call.model is other.model and call.tokenizer is other.tokenizer
    assert not call.model.training and call(text, **cut) == other(text, **cut)


def test_what_was_found_out_of_a_part_is_forgotten_with_it():
    """The strings of tokens, whether the head may see masks alone, pads: all of the parts of before."""
    call, item = build("fill-mask"), "the [MASK] is near"
    call(item)
    other = copy.deepcopy(call.tokenizer)
    other.add_special_tokens({"pad_token": "[UNK]"})
    call.tokenizer = other
    assert not call._loaded.findings and not call._loaded.token_texts
    assert call(item) == pipeline("fill-mask", model=call.model, tokenizer=other, device="cpu")(item)


def test_the_pad_token_can_be_set_between_calls():
    """GPT-2's classifier reads the token before the first pad, by its configuration; the rows are padded with it."""
    tokenizer = copy.deepcopy(wordpiece())
    torch.manual_seed(0)
    settings = transformers.GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, num_labels=3)
    model = transformers.GPT2ForSequenceClassification(settings).eval()
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer)
    texts = ["the river is near the city and Ada works there", "the river", "Ada"]
    expected = [pipe(text, top_k=3) for text in texts]
    pipe.tokenizer.pad_token, model.config.pad_token_id = tokenizer.mask_token, tokenizer.mask_token_id
    assert pipe(texts, top_k=3, batch_size=1) == expected
    assert equal(pipe(texts, top_k=3, batch_size=3), expected)


def test_attributes_that_programs_read():
    call = build("text-generation", num_workers=2)
    assert (call.framework, call.dtype, call.torch_dtype) == ("pt", torch.float32, torch.float32)
    assert call.device == torch.device("cpu") and call.task == "text-generation"
    assert call.generation_config is call.model.generation_config
    for part in ("image_processor", "feature_extractor", "video_processor", "processor", "modelcard"):
        assert getattr(call, part) is None
    call.image_processor = "any"
    assert call.image_processor == "any"
    assert call.call_count == 0
    call("the river", **GENERATE)
    assert call.call_count == 1
    with call.device_placement():
        assert torch.zeros(1).device == call.device


def test_the_generation_configuration_can_be_set():
    call = build("text-generation")
    config = copy.deepcopy(call.model.generation_config)
    config.update(max_new_tokens=3, do_sample=True, top_k=1)
    expected = call("the river", generation_config=config)
    call.generation_config = config
    assert call.generation_config is config and call("the river") == expected


def test_the_device_can_be_set():
    call = build("text-classification")
    call.device = "meta"
    assert call.model.device.type == call.device.type == "meta"


@pytest.mark.parametrize("task", ["text-classification", "text-generation"])
def test_saved_and_loaded_again(task, tmp_path):
    item, options = TASKS[task]
    call = build(task, **options)
    call.save_pretrained(tmp_path)
    again = pipeline(task, str(tmp_path), device="cpu", **options)
    assert equal(again(item), call(item))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^save_directory must be a folder; got the file "):
        call.save_pretrained(tmp_path / "file")


# One item by hand


@pytest.mark.parametrize("task", TASKS)
def test_one_item_step_by_step(task):
    """preprocess, forward and postprocess give what a list of one gives."""
    item, options = TASKS[task]
    call = build(task, **options)
    inputs = call.preprocess(item)
    assert inputs["input_ids"].dim() >= 2 and isinstance(inputs, dict)
    found = call.postprocess(call.forward(inputs))
    answered = call([item])
    if task in ("text2text-generation", "summarization", "translation"):  # a list of strings gives a flat list
        assert found == answered
    else:
        assert equal(found, answered if task in ("fill-mask", "question-answering") else answered[0])


@pytest.mark.skipif(V4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "feature-extraction", "text-generation"])
def test_the_steps_are_those_of_transformers(task):
    item, options = TASKS[task]
    call = build(task, **options)
    library = transformers.pipeline(task, model=call.model, tokenizer=call.tokenizer, device="cpu", **options)
    theirs = library.preprocess(item, **library._preprocess_params)
    assert torch.equal(theirs["input_ids"], call.preprocess(item)["input_ids"])
    theirs = library.postprocess(library.forward(theirs, **library._forward_params), **library._postprocess_params)
    assert equal(theirs, call.postprocess(call.forward(call.preprocess(item))))


def test_steps_take_their_options_at_the_first():
    call = build("text-classification")
    inputs = call.preprocess("the river", top_k=2)
    assert len(call.postprocess(call.forward(inputs))) == 2
    with pytest.raises(ValueError, match=r"^preprocess takes one item; call the pipeline itself with several$"):
        call.preprocess(["a", "b"])
    with pytest.raises(TypeError, match=r"^forward takes its options from preprocess; got top_k$"):
        call.forward(inputs, top_k=2)
    with pytest.raises(TypeError, match=r"^postprocess takes its options from preprocess; got top_k$"):
        call.postprocess(call.forward(inputs), top_k=2)


def test_the_names_of_scikit_learn():
    call = build("text-classification")
    assert call.predict(["a", "b"]) == call.transform(["a", "b"]) == call(["a", "b"])


# Its class


@pytest.mark.parametrize("task", TASKS)
def test_it_is_an_instance_of_the_pipelines_of_transformers(task):
    call = build(task)
    name = type(call).__name__
    assert isinstance(call, Pipeline) and isinstance(call, transformers.Pipeline)
    if hasattr(transformers, name):
        assert isinstance(call, getattr(transformers, name))
    other = transformers.FillMaskPipeline if task != "fill-mask" else transformers.TokenClassificationPipeline
    assert not isinstance(call, other)


def test_the_class_of_a_task_has_its_name():
    assert type(build("zero-shot-classification")).__name__ == "ZeroShotClassificationPipeline"
    assert type(build("text2text-generation")).__name__ == "Text2TextGenerationPipeline"
    assert type(build("fill-mask")) is type(build("fill-mask"))


def test_calls_are_counted_by_task():
    before = CALLS["fill-mask"]
    call = build("fill-mask")
    call("the [MASK]")
    call(["the [MASK]"] * 3)
    assert CALLS["fill-mask"] - before == 2 == call.call_count


# Construction


@pytest.mark.skipif(V4, reason="the order of the last parameters is version 5's")
def test_positional_parameters_are_those_of_transformers():
    theirs, ours = inspect.getfullargspec(transformers.pipeline).args, inspect.getfullargspec(pipeline).args
    assert ours == theirs
    assert {"torch_dtype", "framework", "use_auth_token", "batch_size"} <= set(inspect.signature(pipeline).parameters)


def test_arguments_by_position():
    call = build("text-classification")
    same = pipeline("text-classification", call.model, None, call.tokenizer, device="cpu")
    assert same("the river") == call("the river")
    with pytest.raises(TypeError, match=r"^config must be a path, a name on the hub or a configuration; got "):
        pipeline("text-classification", call.model, call.tokenizer)


@pytest.mark.parametrize(
    "given",
    [{"framework": "pt"}, {"modelcard": None}, {"args_parser": None}, {"binary_output": True}, {"use_fast": True}],
)
def test_arguments_of_version_4_are_taken(given):
    assert build("text-classification", **given)("the river") == build("text-classification")("the river")


@pytest.mark.parametrize("given", [True, False])
def test_use_fast_is_asked_of_tokenizers_alone(given):
    """Of a model in a folder: neither its class nor an image processor takes it."""
    assert pipeline("ner", model=path("ner"), use_fast=given)("Ada in Paris") == pipeline("ner")("Ada in Paris")
    picture = Image.new("RGB", (64, 64))
    classify = pipeline("image-classification", model=str(path("image-classification")), use_fast=given)
    assert classify(picture) == pipeline("image-classification")(picture)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"task": 5}, TypeError, "task must be a string; got int"),
        ({"task": ["ner"]}, TypeError, "task must be a string; got list"),
        ({"model": 5}, TypeError, "model must be a path, a name on the hub or a model; got int"),
        ({"model": {}}, TypeError, "model must be a path, a name on the hub or a model; got dict"),
        ({"tokenizer": "./no"}, ValueError, "tokenizer must be a folder that exists or a name on the hub; got './no'"),
        ({"model": "/nowhere"}, ValueError, "model must be a folder that exists or a name on the hub; got '/nowhere'"),
        ({"tokenizer": 5}, TypeError, "tokenizer must be a path, a name on the hub or a tokenizer; got int"),
        (
            {"image_processor": 5},
            TypeError,
            "image_processor must be a path, a name on the hub or an image_processor; got int",
        ),
        ({"config": 5}, TypeError, "config must be a path, a name on the hub or a configuration; got int"),
        ({"revision": 5}, TypeError, "revision must be a string; got int"),
        ({"token": 5}, TypeError, "token must be a string, True or False; got int"),
        ({"use_fast": "yes"}, TypeError, "use_fast must be True or False; got 'yes'"),
        ({"trust_remote_code": 1}, TypeError, "trust_remote_code must be True or False; got 1"),
        ({"device": True}, TypeError, "device must be an ordinal or a device of torch; got True"),
        ({"device": 1.0}, TypeError, "device must be an ordinal or a device of torch; got 1.0"),
        ({"device": "gpu"}, ValueError, "device must be an ordinal or a device of torch; got 'gpu'"),
        (
            {"device_map": 1.5, "device": None},
            TypeError,
            "device_map must be a device, a name or a dict of them; got float",
        ),
        ({"dtype": 16}, TypeError, "dtype must be a torch dtype, its name or 'auto'; got int"),
        ({"dtype": "float33"}, ValueError, "dtype must be a torch dtype, its name or 'auto'; got 'float33'"),
        ({"torch_dtype": []}, TypeError, "torch_dtype must be a torch dtype, its name or 'auto'; got list"),
        ({"model_kwargs": []}, TypeError, "model_kwargs must be a dict; got list"),
        ({"framework": "tf"}, ValueError, "framework must be 'pt', PyTorch; got 'tf'"),
        ({"framework": 5}, TypeError, "framework must be a string; got int"),
        (
            {"pipeline_class": dict},
            ValueError,
            "pipeline_class must be None or a class of transformers; got <class 'dict'>",
        ),
        ({"compat": "no"}, TypeError, "compat must be True or False; got 'no'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int or None; got float"),
        ({"batch_size": True}, TypeError, "batch_size must be an int or None; got bool"),
        ({"batch_tokens": -1}, ValueError, "batch_tokens must be at least 1; got -1"),
        ({"num_workers": -1}, ValueError, "num_workers must be at least 0; got -1"),
        ({"num_workers": "2"}, TypeError, "num_workers must be an int or None; got str"),
        ({"progress": "yes"}, TypeError, "progress must be True or False; got 'yes'"),
        ({"on_error": "stop"}, ValueError, "on_error must be one of 'raise', 'record'; got 'stop'"),
        ({"output": []}, ValueError, "output must be one of 'records', 'columns', 'arrow'; got []"),
        ({"batchsize": 2}, TypeError, "unknown option 'batchsize' for text-classification; did you mean 'batch_size'?"),
    ],
)
def test_a_wrong_argument_is_named(given, kind, text):
    call = build("text-classification")
    arguments = {
        "task": "text-classification",
        "model": call.model,
        "tokenizer": call.tokenizer,
        "device": "cpu",
        **given,
    }
    with pytest.raises(kind) as caught:
        pipeline(**arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "name", ["batch_size", "batch_tokens", "num_workers", "progress", "on_error", "output", "compat"]
)
def test_a_wrong_argument_of_a_call_leaves_the_pipeline_as_it_was(name):
    call = build("text-classification")
    expected = call("the river")
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
        call("the river", **{name: "wrong"})
    assert call("the river") == expected and call.call_count == 2


def test_parts_without_their_model_are_refused():
    """transformers raises RuntimeError, for they may not fit the checkpoint it would take."""
    for kind in (ValueError, RuntimeError):
        with pytest.raises(kind, match=r"^tokenizer must come with its model; got a tokenizer alone$"):
            pipeline("ner", tokenizer=wordpiece())
        with pytest.raises(kind, match=r"^task must be given, or a model that tells it; got neither$"):
            pipeline()


# The task of a model


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("token-classification", "token-classification"),
        ("text-classification", "text-classification"),
        ("fill-mask", "fill-mask"),
        ("feature-extraction", "feature-extraction"),
        ("question-answering", "question-answering"),
        ("multiple-choice", "multiple-choice"),
        ("next-sentence-prediction", "next-sentence-prediction"),
        ("text-generation", "text-generation"),
    ],
)
def test_the_task_is_read_from_the_architecture(task, found, tmp_path):
    call = build(task)
    assert pipeline(model=call.model, tokenizer=call.tokenizer, device="cpu").task == found
    call.save_pretrained(tmp_path)
    assert pipeline(model=str(tmp_path), device="cpu").task == found


def test_a_model_of_several_tasks_names_them():
    bert = "BertForSequenceClassification can do text-classification and zero-shot-classification"
    bart = (
        "BartForConditionalGeneration can do fill-mask, summarization, table-question-answering, text2text-generation"
    )
    for task, several in (("zero-shot-classification", bert), ("summarization", f"{bart} and translation")):
        call = build(task)
        with pytest.raises(ValueError, match=f"^task must be given: a {several}$"):
            pipeline(model=call.model, tokenizer=call.tokenizer)


def test_sounds_are_held_against_labels_by_models_that_read_both():
    """A plain encoder of sounds is an AutoModel too, and has no task."""
    model, tokenizer, extractor = clap()
    assert pipeline(model=model, tokenizer=tokenizer, feature_extractor=extractor).task == (
        "zero-shot-audio-classification"
    )
    encoder = transformers.Wav2Vec2Model(wav2vec2_config())
    with pytest.raises(ValueError, match=r"^task must be given: none is known for a Wav2Vec2Model$"):
        pipeline(model=encoder, feature_extractor=extractor)


def test_a_model_of_no_task_is_named(tmp_path):
    tokenizer = wordpiece()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_attention_heads=1, intermediate_size=8
    )
    model = transformers.BertForPreTraining(config)
    with pytest.raises(ValueError, match=r"^task must be given: none is known for a BertForPreTraining$"):
        pipeline(model=model, tokenizer=tokenizer)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"^task must be given: the model's configuration names no architecture$"):
        pipeline(model=str(tmp_path))


# Models that are no modules of torch


class Session:
    """As an ONNX session is wrapped: called with tensors, with a configuration, and little else."""

    def __init__(self, model):
        self.config, self._model = model.config, model

    def __call__(self, input_ids, attention_mask=None, token_type_ids=None):
        return self._model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)


@pytest.mark.parametrize(
    "task", [task for task in TASKS if "generation" not in task and task not in ("summarization", "translation")]
)
def test_a_model_that_can_only_be_called(task):
    item, options = TASKS[task]
    call = build(task, **options)
    session = pipeline(task, model=Session(call.model), tokenizer=call.tokenizer, **options)
    assert equal(session([item, item]), call([item, item]))
    session.model = Session(call.model)
    assert equal(session(item), call(item)) and session.dtype is None


def test_labels_of_results_are_those_of_the_model():
    assert {each["entity"][-3:] for each in build("token-classification", ignore_labels=[])("Ada works in Paris")} <= {
        label[-3:] for label in LABELS
    }
