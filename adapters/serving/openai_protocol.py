"""OpenAI's completions and chat completions as calls of text generation: what a request asks for, checked by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..running.pipeline_object import Pipeline
from .errors import Refused, invalid
from .parameters import check_grammars, check_options, grammar_options
from .settings import Limits
from .text_engine import AskedText
from .tool_calls import Tools, read_tools, with_arguments

# What a request may hold beside the options below without changing its answer.
_IGNORED = frozenset(
    {
        *("model", "user", "metadata", "store", "service_tier", "parallel_tool_calls", "prompt_cache_key", "verbosity"),
        *("safety_identifier", "reasoning_effort", "stream_options", "tool_prompt", "name"),
    }
)
# Options of generation beyond OpenAI's, by transformers' names.
_FURTHER = (
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "min_new_tokens",
    "top_n_sigma",
)
_NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
}


@dataclass(frozen=True)
class Completion:
    """A request as read. asked: for the model; prompts: texts as they are echoed, None for tokens; best_of: how many
    texts are made for each n that are returned; stops: texts that end one and are left out of it; tools: the names of
    those whose calls are read from a text."""

    asked: AskedText
    chat: bool
    n: int
    best_of: int
    stream: bool
    usage: bool
    echo: bool
    stops: tuple[str, ...]
    logprobs: int | None
    prompts: tuple[str | None, ...] = (None,)
    tools: tuple[str, ...] = ()


def read_completion(body: Any, limits: Limits) -> Completion:
    """``/v1/completions``. Raises Refused (400 or 422) naming the parameter."""
    given = _given(body, chat=False)
    prompt = given.pop("prompt", "")
    texts, token_ids = _prompts(prompt)
    logprobs = given.pop("logprobs", None)
    if logprobs is True or logprobs is False:
        logprobs = 0 if logprobs else None
    logprobs = None if logprobs is None else _whole("logprobs", logprobs, 0, 20)
    n = _whole("n", given.pop("n", 1), 1, limits.rows)
    best_of = _whole("best_of", given.pop("best_of", n), n, limits.rows)
    echo = bool(given.pop("echo", False))
    if given.pop("suffix", None):
        raise _bad("suffix must be left out: the model does not fill in", "suffix")
    count = len(texts) if token_ids is None else len(token_ids)
    options = _options(given, limits, default_tokens=16)
    if echo and logprobs is not None:
        raise _bad("echo and logprobs must not both be given: prompts have no log-probabilities here", "echo")
    call: dict[str, Any] = {
        "inputs": texts,
        "token_ids": token_ids,
        "count": count,
        "n": n,
        "best_of": best_of,
        "echo": echo,
    }
    return _completion(body, limits, chat=False, options=options, logprobs=logprobs, **call)


def read_chat(pipe: Pipeline, body: Any, limits: Limits) -> Completion:
    """``/v1/chat/completions``. Raises Refused (422) for a model whose tokenizer has no chat template."""
    given = _given(body, chat=True)
    messages = given.pop("messages", None)
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must be a list of messages; got none", "messages")
    if not getattr(pipe.loaded.tokenizer, "chat_template", None):
        raise invalid("model must have a chat template for chat completions; its tokenizer has none", param="model")
    logprobs = None
    if given.pop("logprobs", None):
        logprobs = _whole("top_logprobs", given.pop("top_logprobs", None) or 0, 0, 20)
    elif given.pop("top_logprobs", None):
        raise _bad("top_logprobs must come with logprobs=true", "top_logprobs")
    n = _whole("n", given.pop("n", None) or 1, 1, limits.rows)
    tools = read_tools(given.pop("tools", None), given.pop("tool_choice", None))
    if "max_completion_tokens" in given:
        given["max_tokens"] = given.pop("max_completion_tokens")
    options = _options(given, limits, default_tokens=256)
    if tools.listed:
        options["tools"] = tools.listed
    if tools.forced:
        options |= _forced(tools, options)
    messages = [_message(one, at) for at, one in enumerate(messages)]
    call: dict[str, Any] = {
        "inputs": messages,
        "token_ids": None,
        "count": 1,
        "n": n,
        "best_of": n,
        "echo": False,
        "logprobs": logprobs,
        "tools": tools.names,
    }
    return _completion(body, limits, chat=True, options=options, **call)


def _forced(tools: Tools, options: Mapping[str, Any]) -> dict[str, Any]:
    """The grammar that has the model call one of the tools that must be called."""
    if any(options.get(name) is not None for name in ("json_schema", "regex", "grammar", "choices")):
        raise _bad("tool_choice must not force a tool beside another form of the answer", "tool_choice")
    form = {"json_schema": tools.schema()}
    check_grammars(form)
    return form


def _completion(
    body: Mapping[str, Any],
    limits: Limits,
    *,
    chat: bool,
    options: dict[str, Any],
    inputs: Any,
    token_ids: Any,
    count: int,
    n: int,
    best_of: int,
    echo: bool,
    logprobs: int | None,
    tools: tuple[str, ...] = (),
) -> Completion:
    """What both endpoints come to: a call of text generation, and how its answer is told."""
    if count * best_of > limits.rows:
        raise _bad(f"prompts times n must be at most {limits.rows}; got {count * best_of}", "n")
    stream = bool(body.get("stream"))
    if stream and best_of > n:
        raise _bad("best_of must be n for a stream", "best_of")
    seed = body.get("seed")
    stops = options.pop("stop", ())
    if stops:
        options["stop_sequence"] = list(stops)
    wanted = logprobs if best_of == n else max(logprobs or 0, 0)
    asked = AskedText(
        inputs,
        {**options, "return_full_text": False},
        None if seed is None else _whole("seed", seed, -(1 << 63), (1 << 64) - 1) & ((1 << 63) - 1),
        logprobs=wanted,
        choices=best_of,
        token_ids=token_ids,
    )
    told = body.get("stream_options") or {}
    if not isinstance(told, Mapping):
        raise _bad("stream_options must be an object", "stream_options")
    usage = bool(told.get("include_usage"))
    prompts = (None,) * count if token_ids is not None or chat else tuple(inputs)
    return Completion(asked, chat, n, best_of, stream, usage, echo, tuple(stops), logprobs, prompts, tools)


def _given(body: Any, *, chat: bool) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        raise _bad(f"body must be an object; got {type(body).__name__}", None)
    given = {name: value for name, value in body.items() if value is not None and name not in _IGNORED}
    for name in ("stream", "seed"):
        given.pop(name, None)
    return given


def _options(given: dict[str, Any], limits: Limits, *, default_tokens: int) -> dict[str, Any]:
    """The options of a call from what is left of a body."""
    options: dict[str, Any] = {}
    most = given.pop("max_tokens", default_tokens)
    options["max_new_tokens"] = _whole("max_tokens", most, 1, limits.new_tokens)
    for name, (low, high) in _NUMBERS.items():
        if name in given:
            options[name] = _number(name, given.pop(name), low, high)
    temperature = options.pop("temperature", 1.0)
    options["do_sample"] = temperature > 0
    if temperature > 0:
        options |= {"temperature": float(temperature), "top_k": 0, "top_p": float(options.get("top_p", 1.0))}
    else:
        options.pop("top_p", None)
    options["stop"] = _stops(given.pop("stop", ()))
    form = given.pop("response_format", None)
    if form is not None and not isinstance(form, Mapping):
        raise _bad("response_format must be an object", "response_format")
    options |= {} if form is None else _form(form)
    if "logit_bias" in given:
        bias = _bias(given.pop("logit_bias"))
        options |= {"logit_bias": bias} if bias else {}
    for name in _FURTHER:
        if name in given:
            options[name] = given.pop(name)
    if given:
        raise _bad(f"{next(iter(given))} is not known here", next(iter(given)))
    check_grammars(options)
    check_options(options, limits)
    return options


def _form(form: Mapping[str, Any]) -> dict[str, Any]:
    """The grammar that ``response_format`` asks for, named so where it is none."""
    try:
        return grammar_options(form)
    except Refused as refused:
        raise invalid(refused.message.replace("grammar", "response_format", 1), param="response_format") from None


def _prompts(prompt: Any) -> tuple[list[str], list[list[int]] | None]:
    """Prompts as texts, or as token ids: one text, several, one list of ids, or several."""
    if isinstance(prompt, str):
        return [prompt], None
    if isinstance(prompt, list) and prompt:
        if all(isinstance(one, str) for one in prompt):
            return prompt, None
        lists = [prompt] if _token_ids(prompt) else prompt
        if all(_token_ids(one) for one in lists):
            return [""], lists
    raise _bad("prompt must be a text, texts, token ids, or lists of them", "prompt")


def _token_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int for one in value)


def _message(message: Any, place: int) -> dict[str, Any]:
    """A message with its text as one string, as templates of text models read it."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise _bad(
            f"messages must be objects with a role and content; got {type(message).__name__} at {place}", "messages"
        )
    content = message.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
            raise _bad(f"messages must hold texts alone for this model; got another part at {place}", "messages")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str | None):
        raise _bad(f"content must be a text; got {type(content).__name__} at {place}", "messages")
    return {**with_arguments(message), "content": content or ""}


def _stops(value: Any) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) and one for one in listed):
        raise _bad("stop must be a text or a list of texts", "stop")
    return tuple(listed)


def _bias(value: Any) -> dict[int, float] | None:
    """OpenAI's object of token ids and numbers; huggingface_hub's list of numbers, one a token, likewise."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        raise _bad("logit_bias must be an object of token ids and numbers", "logit_bias")
    try:
        return {int(token): float(bias) for token, bias in pairs if bias}
    except (ValueError, TypeError):
        raise _bad("logit_bias must be an object of token ids and numbers", "logit_bias") from None


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _bad(f"{name} must be in [{low:g}, {high:g}]; got {value!r}", name)
    return value


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _bad(f"{name} must be a whole number in [{low}, {high}]; got {value!r}", name)
    return value


def _bad(message: str, param: str | None) -> Refused:
    return Refused(400, message, param=param)
