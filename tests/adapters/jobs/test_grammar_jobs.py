"""A job inside a grammar: every line keeps to it, and a stopped job writes what it would have written at once."""

import json

import pytest

pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'afterlogits[grammar]'")

SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["tool", "animal", "place"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["kind", "count"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("drawn", [False, True])
def test_a_stopped_job_goes_on_inside_its_grammar(run, records, tmp_path, stop_at, drawn):
    """48 lines, stopped at the 40th: 32 are kept; greedy, and drawn with each line's seed."""
    lines = [f"{word} {n}\n" for n, word in enumerate(["The baker", "Last week", "Anna", "It rained"] * 12)]
    (tmp_path / "in.txt").write_text("".join(lines))
    options = ["--json-schema", json.dumps(SCHEMA), "--max-new-tokens", 60, "--return-full-text", "false", "--quiet"]
    options += ["--temperature", 1.5, "--top-k", 0] if drawn else ["--do-sample", "false"]

    def write(target, *more):
        return run("in.txt", target, *options, *more, task="text-generation", model=None)

    assert write("whole.jsonl", "--batch-size", 5) == 0
    stop_at(40)
    assert write("out.jsonl") == 143
    seen = stop_at(None)
    assert write("out.jsonl") == 0
    assert seen == list(range(33, 49))
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    found = [json.loads(record["result"][0]["generated_text"]) for record in records("out.jsonl")]
    assert len(found) == 48
    assert all(value["kind"] in ("tool", "animal", "place") and 0 <= value["count"] <= 9 for value in found)
    assert len({value["count"] for value in found}) > (3 if drawn else 0)
