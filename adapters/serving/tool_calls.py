"""Calls of tools in generated texts: what templates have models write, as OpenAI's objects, and the grammar of one.

Read are ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, as Hermes, Qwen and many after them write, and a
text that is nothing but such an object or a list of them (``parameters`` for ``arguments`` too, as Llama 3 writes).
What is no call of a tool that the request has stays text.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from .errors import Refused

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MOST = 128


@dataclass(frozen=True)
class ToolCall:
    """A call that a text holds. arguments: JSON."""

    name: str
    arguments: str

    def described(self, index: int | None = None) -> dict[str, Any]:
        """OpenAI's object; index: of a chunk's."""
        place = {} if index is None else {"index": index}
        function = {"name": self.name, "arguments": self.arguments}
        return {**place, "id": f"call_{token_hex(12)}", "type": "function", "function": function}


def read_calls(text: str, names: Collection[str]) -> tuple[str, list[ToolCall]]:
    """What of a text is no call, and the calls of tools ``names`` in it.

    >>> read_calls('Sure.<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', ["add"])
    ('Sure.', [ToolCall(name='add', arguments='{"a": 1}')])
    >>> read_calls('{"name": "add", "parameters": {}}', ["add"])
    ('', [ToolCall(name='add', arguments='{}')])
    >>> read_calls('{"name": "other", "arguments": {}}', ["add"])
    ('{"name": "other", "arguments": {}}', [])
    """
    whole = _calls_of(text, names)
    if whole:
        return "", whole
    found: list[ToolCall] = []
    rest, done = "", 0
    for begin, end, value in _tagged(text):
        calls = _named_calls(value, names)
        if calls:
            found += calls
            rest, done = rest + text[done:begin], end
    return ((rest + text[done:]).strip(), found) if found else (text, [])


def _tagged(text: str) -> Iterator[tuple[int, int, Any]]:
    """Where JSON stands between tags, or behind the first of them at the end of the text, and what it says.

    Its own end is where the JSON ends: a string of it may hold the closing tag.
    """
    at = text.find(_OPEN)
    while at >= 0:
        end = at + len(_OPEN)
        begin = len(text) - len(text[end:].lstrip())
        try:
            value, until = _JSON.raw_decode(text, begin)
        except (ValueError, RecursionError):
            pass
        else:
            behind = text[until:].lstrip()
            if not behind or behind.startswith(_CLOSE):
                end = len(text) - len(behind) + len(_CLOSE) * bool(behind)
                yield at, end, value
        at = text.find(_OPEN, end)


def _calls_of(text: str, names: Collection[str]) -> list[ToolCall]:
    """The calls that a text is, an object or a list of them; none where it is anything else beside."""
    if text.lstrip()[:1] not in ("{", "["):
        return []
    try:
        value = _JSON.decode(text)
    except (ValueError, RecursionError):
        return []
    return _named_calls(value, names)


def _named_calls(value: Any, names: Collection[str]) -> list[ToolCall]:
    """The calls of an object or a list of them; none where one of these is no call."""
    calls = [_call_of(each, names) for each in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call is not None] if all(calls) else []


def _refuse(constant: str) -> None:
    """NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"text must be JSON; got {constant}")


_JSON = json.JSONDecoder(parse_constant=_refuse)


def _call_of(value: Any, names: Collection[str]) -> ToolCall | None:
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = value["function"]
    if not isinstance(value, Mapping) or value.get("name") not in names:
        return None
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, Mapping):
        return ToolCall(value["name"], json.dumps(arguments, ensure_ascii=False))
    return ToolCall(value["name"], arguments) if isinstance(arguments, str) else None


class GrowingCalls:
    """A text that comes in pieces: what is certainly no call is given at once, the rest where the text ends."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held = ""
        self._shown = self._is_call = False

    def add(self, piece: str) -> str:
        """What of the text so far may be shown beyond what was."""
        self._held += piece
        start = self._held.lstrip()[:1]
        if self._is_call or (not self._shown and start in ("", "{", "[")):
            return ""  # nothing but spaces yet, or the beginning of an object
        at = self._held.find(_OPEN)
        self._is_call = at >= 0
        kept = len(self._held) - at if self._is_call else _begun(self._held)
        shown, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        self._shown = self._shown or bool(shown)
        return shown

    def end(self) -> tuple[str, list[ToolCall]]:
        """The rest of the text, and the calls."""
        held, self._held = self._held, ""
        return read_calls(held, self._names)


def _begun(text: str) -> int:
    """How many characters at the end of a text may begin a tag."""
    return next((n for n in range(min(len(_OPEN) - 1, len(text)), 0, -1) if text.endswith(_OPEN[:n])), 0)


@dataclass(frozen=True)
class Tools:
    """The tools of a request. names: those whose calls are read; forced: those of which one must be called."""

    listed: Sequence[Mapping[str, Any]] = ()
    names: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """The JSON schema of a call of one of the forced tools."""
        forced = [tool["function"] for tool in self.listed if self._is_forced(tool)]
        return {"anyOf": [self._call_schema(function, place) for place, function in enumerate(forced)]}

    def _is_forced(self, tool: Mapping[str, Any]) -> bool:
        return tool["function"]["name"] in self.forced

    @staticmethod
    def _call_schema(function: Mapping[str, Any], place: int) -> dict[str, Any]:
        """The schema of a call of ``function``, the ``place``-th of those that are allowed."""
        # What the parameters refer to, such as pydantic's "#/$defs/Item", now stands below them.
        root = f"#/anyOf/{place}/properties/arguments"
        arguments = _referring_to(root, function.get("parameters") or {"type": "object"})
        properties = {"name": {"const": function["name"]}, "arguments": arguments}
        return {
            "type": "object",
            "properties": properties,
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }


def _referring_to(root: str, schema: Any) -> Any:
    """A schema whose references to itself begin at ``root`` of the document that it becomes part of."""
    if isinstance(schema, list):
        return [_referring_to(root, each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {name: _referring_to(root, value) for name, value in schema.items()}
    target = schema.get("$ref")
    if isinstance(target, str) and (target == "#" or target.startswith("#/")):
        found["$ref"] = root + target[1:]
    return found


def read_tools(tools: Any, choice: Any) -> Tools:
    """``tools`` and ``tool_choice`` of a request. Raises Refused (400) naming the parameter."""
    if not tools:
        if choice not in (None, "auto", "none"):
            raise Refused(400, "tool_choice must come with tools", param="tool_choice")
        return Tools()
    if not isinstance(tools, list) or len(tools) > _MOST or not all(map(_is_tool, tools)):
        raise Refused(400, f"tools must be a list of at most {_MOST} functions with their names", param="tools")
    names = tuple(tool["function"]["name"] for tool in tools)
    if choice == "none":
        return Tools()
    if choice in (None, "auto"):
        return Tools(tools, names)
    forced = names if choice == "required" else (_named(choice),)
    if forced[0] not in names:
        raise Refused(
            400,
            f"tool_choice must be 'auto', 'none', 'required' or a function of tools; got {str(choice)[:100]}",
            param="tool_choice",
        )
    return Tools(tools, names, forced)


def _is_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("parameters", {}), Mapping | None):
        return False
    return isinstance(function.get("name"), str) and bool(function["name"])


def _named(choice: Any) -> Any:
    function = choice.get("function") if isinstance(choice, Mapping) else None
    return function.get("name") if isinstance(function, Mapping) else None


def with_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose calls have their arguments as templates read them: as objects, where clients send JSON."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return dict(message)
    return {**message, "tool_calls": [_with_object(call) for call in calls]}


def _with_object(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}
