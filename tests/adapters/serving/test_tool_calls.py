"""Calls of tools: read from what templates have models write, whole or in pieces, and forced by a grammar."""

import importlib.util
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlogits import pipeline
from afterlogits.adapters.serving.errors import Refused
from afterlogits.adapters.serving.tool_calls import GrowingCalls, ToolCall, read_calls, read_tools, with_arguments
from tests.builders.plain_http import events, post
from tests.builders.running_server import running

needs_grammar = pytest.mark.skipif(
    importlib.util.find_spec("llguidance") is None and importlib.util.find_spec("xgrammar") is None,
    reason="needs afterlogits[grammar]",
)
ADD = '{"name": "add", "arguments": {"a": 1, "b": "ü"}}'
CALL = ToolCall("add", '{"a": 1, "b": "ü"}')
TAGS = '{"name": "add", "arguments": {"a": "</tool_call><tool_call>{"}}'
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"a": {"enum": [1, 2]}},
                "required": ["a"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("add", "take")
]


@pytest.mark.parametrize(
    ("text", "rest", "calls"),
    [
        (f"<tool_call>\n{ADD}\n</tool_call>", "", [CALL]),
        (f"Let me see.\n<tool_call>{ADD}</tool_call>\n<tool_call>{ADD}</tool_call>", "Let me see.", [CALL, CALL]),
        (f"<tool_call>{ADD}", "", [CALL]),  # the model ended without the closing tag
        (f"<tool_call>[{ADD}, {ADD}]</tool_call>", "", [CALL, CALL]),
        (f" {ADD} ", "", [CALL]),
        (f"[{ADD}]", "", [CALL]),
        ('{"name": "add", "parameters": {}}', "", [ToolCall("add", "{}")]),
        (
            '{"type": "function", "function": {"name": "add", "arguments": "{\\"a\\": 1}"}}',
            "",
            [ToolCall("add", '{"a": 1}')],
        ),
        (f"<tool_call>{TAGS}</tool_call> so", "so", [ToolCall("add", '{"a": "</tool_call><tool_call>{"}')]),
        (f"<tool_call>{TAGS}", "", [ToolCall("add", '{"a": "</tool_call><tool_call>{"}')]),
        (f"<tool_call>{ADD} and</tool_call>", f"<tool_call>{ADD} and</tool_call>", []),
        ("a<tool_call>{}</tool_call>", "a<tool_call>{}</tool_call>", []),
        ('<tool_call>{"name": "add", "argu', '<tool_call>{"name": "add", "argu', []),
        ('{"name": "rm", "arguments": {}}', '{"name": "rm", "arguments": {}}', []),
        (f"[{ADD}, 1]", f"[{ADD}, 1]", []),
        (f"{ADD} and more", f"{ADD} and more", []),
        ("[" * 100_000, "[" * 100_000, []),
        ('{"name": "add", "arguments": {"a": NaN}}', '{"name": "add", "arguments": {"a": NaN}}', []),
        ("{}", "{}", []),
        ("", "", []),
    ],
    ids=range(20),
)
def test_what_is_a_call_and_what_is_text(text, rest, calls):
    assert read_calls(text, ("add",)) == (rest, calls)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["<tool_call>", "</tool_call>", ADD, "a <", "<tool", " ", "{", "b", "\n", '{"name": "no"}']),
        max_size=6,
    ),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
def test_pieces_come_to_what_the_whole_is(parts, cuts):
    """However a text is cut, the same calls are read from it, and the text beside them but for spaces at its ends."""
    text = "".join(parts)
    growing, shown, at, number = GrowingCalls(("add",)), "", 0, 0
    while at < len(text):
        size = cuts[number % len(cuts)]
        shown += growing.add(text[at : at + size])
        at, number = at + size, number + 1
        assert text.startswith(shown)
    end, calls = growing.end()
    rest, want = read_calls(text, ("add",))
    assert calls == want
    assert (shown + end).split() == rest.split()


@pytest.mark.parametrize(
    ("tools", "choice", "message"),
    [
        (None, "required", "tool_choice must come with tools"),
        ([1], "auto", "tools must be a list of at most 128 functions with their names"),
        ([{"function": {"name": ""}}], "auto", "tools must be a list of at most 128 functions with their names"),
        (TOOLS * 65, "auto", "tools must be a list of at most 128 functions with their names"),
        (TOOLS, "always", "tool_choice must be 'auto', 'none', 'required' or a function of tools; got always"),
        (
            TOOLS,
            {"function": {"name": "other"}},
            "tool_choice must be 'auto', 'none', 'required' or a function of tools; "
            "got {'function': {'name': 'other'}}",
        ),
    ],
    ids=range(6),
)
def test_what_is_no_tool_is_refused(tools, choice, message):
    with pytest.raises(Refused) as caught:
        read_tools(tools, choice)
    assert caught.value.message == message and caught.value.status == 400


def test_messages_hold_arguments_as_templates_read_them():
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    found = with_arguments({"role": "assistant", "content": None, "tool_calls": [call, {**call, "function": 3}]})
    assert found["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert found["tool_calls"][1]["function"] == 3 and call["function"]["arguments"] == '{"a": 1}'


@pytest.fixture(scope="module")
def base():
    with running(pipeline("text-generation", device="cpu"), names=["language-model"]) as address:
        yield address


def asked(**further):
    chat = [{"role": "user", "content": "Add."}]
    return {"messages": chat, "tools": TOOLS, "max_tokens": 60, "temperature": 0, **further}


def choice_of(base, **further):
    answer = post(base, "/v1/chat/completions", asked(**further))
    assert answer.status == 200, answer.body
    return answer.json["choices"][0]


@needs_grammar
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "take"}}], ids=["any", "one"])
def test_a_tool_that_must_be_called_is(base, choice):
    found = choice_of(base, tool_choice=choice)
    (call,) = found["message"]["tool_calls"]
    assert found["finish_reason"] == "tool_calls" and found["message"]["content"] is None
    assert call["function"]["name"] in (("take",) if isinstance(choice, dict) else ("add", "take"))
    assert json.loads(call["function"]["arguments"])["a"] in (1, 2)


@needs_grammar
def test_parameters_that_refer_to_themselves_as_pydantic_writes_them(base):
    """Two tools with definitions of one name; a reference to the whole, and one that only looks like one."""
    words = ({"enum": ["red", "blue"]}, {"enum": [7, 8]})
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "parameters": {
                    "$defs": {"Item": item},
                    "type": "object",
                    "properties": {"item": {"$ref": "#/$defs/Item"}},
                    "required": ["item"],
                    "additionalProperties": False,
                },
            },
        }
        for name, item in zip(("paint", "count"), words, strict=True)
    ]
    for tool, item in zip(tools, words, strict=True):
        choice = {"type": "function", "function": {"name": tool["function"]["name"]}}
        (call,) = choice_of(base, tools=tools, tool_choice=choice)["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"])["item"] in item["enum"]
    choice_of(base, tools=tools, tool_choice="required")
    own = {"properties": {"$ref": {"type": "object"}, "next": {"$ref": "#"}, "far": {"$ref": "https://x.org/a"}}}
    function = {"name": "walk", "parameters": own}
    (form,) = read_tools([{"type": "function", "function": function}], "required").schema()["anyOf"]
    moved = form["properties"]["arguments"]["properties"]
    assert moved == {**own["properties"], "next": {"$ref": "#/anyOf/0/properties/arguments"}}


@needs_grammar
def test_calls_between_tags_whole_and_streamed(base):
    """A grammar has the model write as Qwen's template would have it."""
    form = {"type": "regex", "value": r'Yes\.<tool_call>\{"name": "add", "arguments": \{"a": [12]\}\}</tool_call>'}
    whole = choice_of(base, response_format=form)
    assert whole["message"]["content"] == "Yes." and whole["finish_reason"] == "tool_calls"
    answer = post(base, "/v1/chat/completions", asked(response_format=form, stream=True))
    chunks = [each["choices"][0] for each in events(answer) if each != "[DONE]"]
    assert "".join(each["delta"].get("content") or "" for each in chunks) == "Yes."
    calls = [call for each in chunks for call in each["delta"].get("tool_calls", ())]
    assert [call["function"] for call in calls] == [call["function"] for call in whole["message"]["tool_calls"]]
    assert calls[0]["index"] == 0 and chunks[-1]["finish_reason"] == "tool_calls"
    unread = choice_of(base, response_format=form, tool_choice="none")
    assert "<tool_call>" in unread["message"]["content"] and "tool_calls" not in unread["message"]


@needs_grammar
def test_a_form_of_the_answer_and_a_forced_tool_exclude_each_other(base):
    form = {"type": "json_object"}
    answer = post(base, "/v1/chat/completions", asked(response_format=form, tool_choice="required"))
    assert answer.status == 400 and answer.json["error"]["param"] == "tool_choice"
