"""Errors from inside torch and the tokenizer, told as what is wrong with the text, and which text."""

import copy

import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from afterlogits.adapters import pipeline
from tests.builders.text_models import bytelevel, tiny_decoder, tiny_model, tiny_seq2seq, tokenizer_of, wordpiece
from tests.programs.pipeline_parity import CHAT

pytestmark = pytest.mark.filterwarnings("ignore:Token indices sequence length")
NLI = ("contradiction", "neutral", "entailment")
LONG = "the " * 600
# What each task says can be done about a long text.
CUT = {
    "text-classification": "truncation=True cuts it",
    "feature-extraction": "truncation=True cuts it",
    "fill-mask": 'tokenizer_kwargs={"truncation": True} cuts it',
    "token-classification": "set model_max_length of the tokenizer to cut it, and stride= to answer in chunks",
    "zero-shot-classification": "set model_max_length of the tokenizer to cut it",
    "question-answering": "max_seq_len= makes the windows shorter",
}


def build(task, tokenizer, **options):
    head = "text-classification" if task.startswith("zero") else task
    model = tiny_model(head, tokenizer, labels=NLI)
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu", **options)


def items_of(task):
    if task == "question-answering":
        return [{"question": "Who?", "context": text} for text in ("Ada", LONG)]
    return [text + " [MASK]" for text in ("Ada", LONG)] if task == "fill-mask" else ["Ada", LONG]


@pytest.mark.parametrize("task", CUT)
def test_a_text_beyond_the_model_is_named_with_what_helps(task):
    """BERT of 512 positions, a tokenizer that knows no limit."""
    options = {"candidate_labels": ["a"]} if task.startswith("zero") else {}
    options |= {"max_seq_len": 700} if task == "question-answering" else {}
    call = build(task, wordpiece(10_000), **options)
    items = items_of(task)
    with pytest.raises(
        ValueError, match=r"^item 1: text must be at most 512 tokens for this model; got 6\d\d; "
    ) as told:
        call(items)
    assert str(told.value).endswith("; " + CUT[task])
    for kind in (IndexError, RuntimeError):
        with pytest.raises(kind):
            call(items)
    found = call(items, on_error="record")
    assert found[1]["index"] == 1 and "error" in found[1]
    assert "error" not in found[0]


def test_what_helps_helps():
    assert build("text-classification", wordpiece(512))(LONG, truncation=True)
    assert build("feature-extraction", wordpiece(512))(LONG, truncation=True)
    assert build("fill-mask", wordpiece(512))(f"[MASK] {LONG}", tokenizer_kwargs={"truncation": True})
    assert build("token-classification", wordpiece(512), ignore_labels=[])(
        LONG, aggregation_strategy="simple", stride=8
    )
    assert build("zero-shot-classification", wordpiece(512))(LONG, candidate_labels=["a"])


def test_positions_that_begin_after_the_pad():
    """RoBERTa of 34 positions has 32 for tokens: they count from the pad token's on."""
    tokenizer = bytelevel(10_000)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = RobertaForSequenceClassification(config).eval()
    call = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    with pytest.raises(ValueError, match=r"^text must be at most 32 tokens for this model; got \d+; "):
        call("the river " * 40)
    fits = tokenizer.decode(tokenizer("the river " * 40)["input_ids"][1:28])
    assert call(fits)


def test_a_prompt_and_what_follows_it():
    """GPT-2 of 256 positions: a prompt that does not fit, and one that does but leaves no room."""
    tokenizer = wordpiece(10_000)
    call = pipeline(
        "text-generation", model=tiny_decoder(tokenizer), tokenizer=tokenizer, device="cpu", do_sample=False
    )
    with pytest.raises(ValueError, match=r"^text must be at most 256 tokens for this model; got 302; handle_long"):
        call("the " * 300, max_new_tokens=2)
    with pytest.raises(
        ValueError, match=r"^prompt and new tokens must stay within the model's 256; got a prompt of 252 a"
    ):
        call("the " * 250, max_new_tokens=40, min_new_tokens=40)


def test_an_encoder_decoder_names_its_limit():
    tokenizer = wordpiece(10_000)
    call = pipeline("summarization", model=tiny_seq2seq(tokenizer), tokenizer=tokenizer, device="cpu")
    with pytest.raises(
        ValueError, match=r"^text must be at most 256 tokens for this model; got 302; truncation=True cuts"
    ):
        call("the " * 300, max_new_tokens=2)


def test_a_tokenizer_of_another_model_is_named():
    tokenizer = wordpiece(66)
    model = tiny_model("text-classification", tokenizer)
    model.resize_token_embeddings(20)
    call = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    with pytest.raises(ValueError, match=r"^tokenizer must be the model's; got token id \d+ for a model of 20 tokens$"):
        call("Paris")


@pytest.mark.parametrize("task", CUT)
@pytest.mark.parametrize("family", ["wordpiece", "bytelevel", "unigram"])
def test_a_lone_surrogate_is_named_by_its_place(task, family):
    """The tokenizer says "TextEncodeInput must be Union[...]"."""
    tokenizer = tokenizer_of(family)
    options = {"candidate_labels": ["a"]} if task.startswith("zero") else {}
    call = build(task, tokenizer, **options)
    text = f"{tokenizer.mask_token} a\ud83d b"
    items = [tokenizer.mask_token, text]
    if task == "question-answering":
        items = [{"question": "Who?", "context": each} for each in items]
    place = text.index("\ud83d")
    told = rf"^item 1: text must be valid Unicode; got a lone surrogate U\+D83D at character {place}$"
    for kind in (ValueError, TypeError):
        with pytest.raises(kind, match=told):
            call(items)
    assert [("error" in each) if isinstance(each, dict) else False for each in call(items, on_error="record")] == [
        False,
        True,
    ]


def test_a_lone_surrogate_in_words_and_chats():
    tokenizer = wordpiece()
    words = build("token-classification", tokenizer, is_split_into_words=True)
    with pytest.raises(ValueError, match=r"got a lone surrogate U\+DC00 at character 5$"):
        words([["Ada", "x\udc00"]])
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = CHAT
    chat = pipeline("text-generation", model=tiny_decoder(tokenizer), tokenizer=tokenizer, device="cpu")
    with pytest.raises(ValueError, match=r"^text must be valid Unicode; got a lone surrogate U\+DC00 at character 2$"):
        chat([{"role": "user", "content": "ab\udc00"}])


def test_other_errors_stay_what_they_are():
    """A failure of the model that has nothing to do with the text keeps its words."""

    class Broken(torch.nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config = config

        def forward(self, **inputs):
            raise RuntimeError("out of order")

    tokenizer = wordpiece()
    model = Broken(tiny_model("text-classification", tokenizer).config)
    call = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    with pytest.raises(RuntimeError, match=r"^out of order$"):
        call("Ada")
