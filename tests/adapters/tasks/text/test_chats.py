"""Chats as programs hold them: lists of messages, dicts that hold one, and the ``Chat`` objects of transformers."""

import copy

import pytest
import transformers

from afterlogits.adapters import pipeline
from tests.builders.text_models import tiny_decoder, wordpiece
from tests.programs.pipeline_parity import CHAT

MESSAGES = [{"role": "user", "content": "the river is"}]
ANSWERED = [*MESSAGES, {"role": "assistant", "content": "near"}]
OPTIONS = {"do_sample": False, "max_new_tokens": 4}


def chat_of(messages):
    try:
        from transformers.utils.chat_template_utils import Chat
    except ImportError:  # version 4
        from transformers.pipelines.text_generation import Chat
    return Chat(messages)


@pytest.fixture(scope="module")
def both():
    tokenizer = copy.deepcopy(wordpiece())
    tokenizer.chat_template = CHAT
    given = {"model": tiny_decoder(tokenizer), "tokenizer": tokenizer, "device": "cpu"}
    return transformers.pipeline("text-generation", **given), pipeline("text-generation", **given)


@pytest.mark.skipif(transformers.__version__.startswith("4."), reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("messages", [MESSAGES, ANSWERED])
def test_a_chat_object_is_its_messages(both, messages):
    library, ours = both
    expected = ours(messages, **OPTIONS)
    assert expected == library(messages, **OPTIONS)
    assert ours(chat_of(messages), **OPTIONS) == library(chat_of(messages), **OPTIONS) == expected
    assert ours({"messages": messages}, **OPTIONS) == expected


def test_several_chats_in_a_list_and_in_a_stream(both):
    _, ours = both
    expected = [ours(MESSAGES, **OPTIONS), ours(ANSWERED, **OPTIONS)]
    for chats in ([MESSAGES, ANSWERED], [chat_of(MESSAGES), chat_of(ANSWERED)], [chat_of(MESSAGES), ANSWERED]):
        assert ours(chats, **OPTIONS) == expected
        assert list(ours((chat for chat in chats), **OPTIONS)) == expected
    assert list(ours(iter(MESSAGES), **OPTIONS)) == expected[0]


def test_the_messages_of_the_caller_stay_as_they_are(both):
    messages = copy.deepcopy(ANSWERED)
    both[1](messages, **OPTIONS)
    assert messages == ANSWERED
