"""Grammars of a call: every row inside its own, in every mode, with the tokens of a processor called step by step."""

from __future__ import annotations

import copy
import inspect
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from transformers import GenerationMixin, LogitsProcessor

from afterlogits.adapters import generate, generate_stream, install, pipeline
from afterlogits.adapters.generation import grammar_engines
from afterlogits.adapters.generation.grammar_engines import engine_of
from afterlogits.decoding.grammar.bitmask import unpack_bits
from tests.builders.text_models import bytelevel, tiny_decoder, tiny_seq2seq
from tests.oracles.json_schemas import draw_schema, is_valid

llguidance = pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'afterlogits[grammar]'")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"enum": ["x", "yy"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
PATTERN = r"( [a-z]{2,5}){3}\."
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True},
    "seeds": {"do_sample": True, "seeds": [4, 5, 6], "top_k": 40},
    "compact": {"do_sample": False, "compact": True},
    "samples": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"do_sample": False, "num_beams": 3},
    "beam samples": {"do_sample": True, "num_beams": 2},
    "lookup": {"do_sample": False, "prompt_lookup_num_tokens": 3},
    "penalty": {"do_sample": False, "repetition_penalty": 1.3, "no_repeat_ngram_size": 4},
    "groups": {"do_sample": False, "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return bytelevel()


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return tiny_decoder(tokenizer)


def inputs(tokenizer: Any, rows: int = 3) -> dict[str, Any]:
    ids = torch.tensor([tokenizer("the river")["input_ids"]] * rows)
    options = {"max_new_tokens": 60, "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return {"inputs": ids, "attention_mask": torch.ones_like(ids), "tokenizer": tokenizer, **options}


def texts(tokenizer: Any, found: Tensor, given: dict[str, Any]) -> list[str]:
    """What was generated, up to the end token; one without an end raises."""
    rows = [row[: row.index(tokenizer.eos_token_id)] for row in found[:, given["inputs"].shape[1] :].tolist()]
    written: list[str] = tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)
    return written


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_keeps_to_the_grammar(mode: str, model: Any, tokenizer: Any) -> None:
    """A schema for all rows; every row ends, and its text is a value of the schema."""
    torch.manual_seed(0)
    given = inputs(tokenizer)
    for text in texts(tokenizer, generate(model, **given, json_schema=SCHEMA, **MODES[mode]), given):
        value = json.loads(text)
        assert list(value) == ["a", "b"]
        assert text == json.dumps(value)


@pytest.mark.parametrize("mode", ["greedy", "sampling", "beams", "lookup"])
def test_every_row_has_its_own(mode: str, model: Any, tokenizer: Any) -> None:
    """A schema, choices, a regular expression, and a free row that writes what it writes without the others."""
    torch.manual_seed(0)
    given = inputs(tokenizer, 4)
    found = generate(
        model,
        **given,
        json_schema=[SCHEMA, None, None, None],
        choices=[None, ["perhaps", "no"], None, None],
        regex=[None, None, PATTERN, None],
        **MODES[mode],
    )
    new = found[:, given["inputs"].shape[1] :]
    written = texts(tokenizer, found[:3], given)
    assert set(json.loads(written[0])) == {"a", "b"}
    assert written[1] in ("perhaps", "no")
    assert re.fullmatch(PATTERN, written[2])
    if mode == "greedy":
        free = generate(
            model, **{**given, "inputs": given["inputs"][:1], "attention_mask": given["attention_mask"][:1]}
        )
        assert new[3].tolist()[: free.shape[1] - 4] == free[0, given["inputs"].shape[1] :].tolist()


class StepByStep(LogitsProcessor):
    """The oracle: the mask of every row by llguidance's own calls, a token at a time, nothing kept between calls."""

    def __init__(self, tokenizer: Any, vocab_size: int, grammar: str, prompt: int) -> None:
        import llguidance.hf

        self.vocabulary = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocab_size)
        self.grammar, self.prompt = grammar, prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        for row, ids in enumerate(input_ids[:, self.prompt :].tolist()):
            matcher = llguidance.LLMatcher(self.vocabulary, self.grammar)
            if matcher.consume_tokens(ids):
                bits = int.from_bytes(matcher.compute_bitmask(), "little")
                allowed = [bool(bits >> token & 1) for token in range(scores.shape[1])]
                scores[row] = scores[row].masked_fill(~torch.tensor(allowed), -torch.inf)
        return scores


@pytest.mark.parametrize("mode", ["greedy", "sampling", "beams"])
def test_tokens_are_those_of_a_processor_of_the_library_called_by_transformers(
    mode: str, model: Any, tokenizer: Any
) -> None:
    """transformers' own loop with the oracle's processor."""
    given = inputs(tokenizer)
    options = {name: value for name, value in given.items() if name != "tokenizer"}
    grammar = llguidance.LLMatcher.grammar_from_regex(PATTERN)
    oracle = StepByStep(tokenizer, model.config.vocab_size, grammar, given["inputs"].shape[1])
    torch.manual_seed(3)
    expected = model.generate(**options, logits_processor=[oracle], **MODES[mode])
    torch.manual_seed(3)
    found = generate(model, **given, regex=PATTERN, **MODES[mode])
    assert found.tolist() == expected.tolist()


def test_drawn_schemas_give_valid_json(model: Any, tokenizer: Any) -> None:
    """A model that knows nothing, sampled: every row ends and is valid JSON of its schema, 12 schemas a batch."""
    check_schemas(model, tokenizer, 5)


@pytest.mark.slow
def test_a_thousand_drawn_schemas_give_valid_json(model: Any, tokenizer: Any) -> None:
    """84 batches of 12."""
    check_schemas(model, tokenizer, 84)


def check_schemas(model: Any, tokenizer: Any, batches: int) -> None:
    rng, count = random.Random(5), 0
    given = inputs(tokenizer, 12)
    for batch in range(batches):
        schemas = [draw_schema(rng) for _ in range(12)]
        options = {**given, "max_new_tokens": 500, "do_sample": True, "temperature": 1.5}
        found = generate(model, **options, json_schema=schemas, seeds=range(batch, batch + 12), compact=True)
        for schema, text in zip(schemas, texts(tokenizer, found, given), strict=True):
            assert is_valid(json.loads(text), schema), (schema, text)
            count += 1
    print(f"{count} schemas, {count} valid")


@pytest.mark.parametrize("engine", ["llguidance", "xgrammar"])
def test_what_a_matcher_says_without_a_mask_is_what_its_mask_says(engine: str, tokenizer: Any) -> None:
    """Walks at random through drawn grammars: a forced token is the only one allowed; else every token is asked."""
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    vocab, ends = len(tokenizer), [tokenizer.eos_token_id]
    made, rng = engine_of(tokenizer, vocab, ends, engine), random.Random(3)
    kinds = [("json_schema", json.dumps(draw_schema(rng))) for _ in range(12)]
    kinds += [("regex", PATTERN), ("regex", "(abc|abd)*x?"), ("choices", ["yes", "yesterday", "nobody knows"])]
    asked = forced_steps = 0
    for kind in kinds:
        matcher = made.matcher(kind)
        for _ in range(25):
            if matcher.ended:
                break
            forced, bits = list(matcher.forced()), torch.zeros((1, (vocab + 31) // 32), dtype=torch.int32)
            matcher.fill(bits, 0)
            allowed = unpack_bits(bits)[0, :vocab].nonzero().flatten().tolist()
            if forced:
                forced_steps += 1
                assert allowed == forced[:1]
            else:
                some = range(vocab) if engine == "llguidance" else {*rng.sample(range(vocab), 60), *ends, *allowed[:9]}
                assert [token for token in some if matcher.allows(token)] == [one for one in some if one in allowed]
                asked += len(some)
            assert matcher.accept(rng.choice(allowed))
    print(f"{engine}: {asked} tokens asked, {forced_steps} steps forced")


KEYS = {
    "type": "object",
    "properties": {name: {"enum": ["yes", "no"]} for name in ("the first of the keys", "another key", "the last")},
    "required": ["the first of the keys", "another key", "the last"],
    "additionalProperties": False,
}
JUMPS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "seeds": {"do_sample": True, "seeds": [4, 5, 6], "temperature": 1.5, "top_k": 20},
    "compact": {"do_sample": False, "compact": True},
    "penalty": {"do_sample": False, "repetition_penalty": 1.2},
    "criteria": {"do_sample": False, "stop_strings": ["another"]},
    "short": {"do_sample": False, "max_new_tokens": 9},
    "rows of their own length": {"do_sample": False, "max_new_tokens": [9, 30, 60], "compact": True},
    "torch's stream": {"do_sample": True},
    "torch's stream, compact": {"do_sample": True, "top_p": 0.9, "temperature": 0.7, "compact": True},
    "drawn with xtc": {"do_sample": True, "xtc_probability": 0.5, "xtc_threshold": 0.01},
    "banned": {"do_sample": False, "suppress_tokens": [5]},
}


PER_ROW = ("seeds", "max_new_tokens")


def counted(model: Any, given: dict[str, Any], jump_ahead: bool) -> tuple[Any, int]:
    """The tokens and where they leave torch's stream, and how many forwards they took."""
    torch.manual_seed(1)
    with patch.object(model, "forward", wraps=model.forward) as forward:
        forward.__signature__ = inspect.signature(type(model).forward)
        found = generate(model, **given, json_schema=KEYS, jump_ahead=jump_ahead).tolist()
    return (found, torch.get_rng_state().tolist()), forward.call_count


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("mode", JUMPS)
def test_certain_tokens_are_read_together(mode: str, rows: int, model: Any, tokenizer: Any) -> None:
    """The same tokens in fewer forwards, and the same stream behind them; as many forwards where draws take from the
    stream what depends on the logits, or bans must be seen."""
    options = {
        name: value[:rows] if name in PER_ROW and isinstance(value, list) else value
        for name, value in JUMPS[mode].items()
    }
    given = inputs(tokenizer, rows) | options
    found, forwards = zip(*(counted(model, given, jump_ahead) for jump_ahead in (False, True)), strict=True)
    assert found[0] == found[1]
    if mode in ("drawn with xtc", "banned") or not hasattr(GenerationMixin, "_prefill"):
        assert forwards[0] == forwards[1]
    else:
        assert forwards[1] < 0.8 * forwards[0], forwards


def test_rows_of_every_kind_run_together(model: Any, tokenizer: Any) -> None:
    """Greedy and drawn rows, free and in grammars, with penalties before them: each has the tokens it has alone."""
    prompt, seeded = inputs(tokenizer)["inputs"][0], {"do_sample": True, "top_k": 20, "seed": 5}
    rows: list[dict[str, Any]] = [
        {"json_schema": SCHEMA},
        {},
        {"regex": "[a-z]{3,9}", **seeded},
        {"choices": ["yes", "no"], "repetition_penalty": 1.5},
        seeded,
        {"json_schema": SCHEMA, **seeded, "repetition_penalty": 1.2},
        {"regex": "([a-d]{2} ){2,5}"},
    ]
    common = {"tokenizer": tokenizer, "max_new_tokens": 30, "pad_token_id": tokenizer.pad_token_id}
    items = [{"input_ids": prompt, "do_sample": False, **own} for own in rows]
    found = list(generate_stream(model, items, max_rows=4, ordered=True, **common))
    for row, item in zip(found, items, strict=True):
        own = {name: value for name, value in item.items() if name not in ("input_ids", "seed")}
        seeds = {"seeds": [item["seed"]]} if "seed" in item else {}
        alone = generate(model, prompt[None], jump_ahead=False, **common, **own, **seeds)
        assert row.token_ids.tolist() == alone[0].tolist(), own


@pytest.mark.parametrize("mode", ["greedy", "seeds", "penalty", "criteria", "short", "banned"])
def test_certain_tokens_in_a_running_batch(mode: str, model: Any, tokenizer: Any) -> None:
    """Rows of grammars beside free ones, more than run at once: each as without jumping, in fewer forwards."""
    options = {"max_new_tokens": 60, "eos_token_id": tokenizer.eos_token_id, **JUMPS[mode]}
    options.pop("seeds", None)
    given = [tokenizer(text)["input_ids"] for text in ("the river", "a", "stone in the", "by", "the old")]
    schemas = [KEYS, KEYS, None, KEYS, KEYS]
    found, forwards = [], []
    for jumps in (False, True):
        with patch.object(model, "forward", wraps=model.forward) as forward:
            forward.__signature__ = inspect.signature(type(model).forward)
            stream = generate_stream(
                model, given, max_rows=2, ordered=True, json_schema=schemas, jump_ahead=jumps, tokenizer=tokenizer,
                seeds=[3, 4, 5, 6, 7], pad_token_id=0, **options,
            )  # fmt: skip
            found.append([(row.token_ids.tolist(), row.reason) for row in stream])
        forwards.append(forward.call_count)
    assert found[0] == found[1]
    for number, (ids, _) in enumerate(found[1]):
        own = {} if not options["do_sample"] else {"seeds": [3 + number]}
        prompt = torch.tensor([given[number]])
        expected = generate(
            model, prompt, attention_mask=torch.ones_like(prompt), json_schema=schemas[number], tokenizer=tokenizer,
            pad_token_id=0, **options, **own,
        )  # fmt: skip
        assert ids == expected[0].tolist()
    assert forwards[1] < (0.8 * forwards[0] if mode != "banned" else forwards[0] + 1), forwards


def test_streams_installed_models_and_pipelines(model: Any, tokenizer: Any) -> None:
    """The same options everywhere; a pipeline needs no tokenizer, its items have one grammar or one each."""
    given = inputs(tokenizer)
    expected = texts(tokenizer, generate(model, **given, json_schema=SCHEMA, do_sample=False), given)[0]
    common = {"tokenizer": tokenizer, "do_sample": False, "max_new_tokens": 60, "pad_token_id": tokenizer.pad_token_id}
    items = [{"input_ids": given["inputs"][0], "json_schema": SCHEMA}, {"input_ids": given["inputs"][0]}]
    rows = list(generate_stream(model, items, ordered=True, **common))
    assert tokenizer.decode(rows[0].new_ids, skip_special_tokens=True) == expected
    by_prompt = generate_stream(model, [given["inputs"][0]] * 2, regex=[None, "no"], ordered=True, **common)
    assert tokenizer.decode(list(by_prompt)[1].new_ids, skip_special_tokens=True) == "no"
    twin = install(tiny_decoder(tokenizer))
    assert texts(tokenizer, twin.generate(**given, json_schema=SCHEMA, do_sample=False), given)[0] == expected
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, do_sample=False, return_full_text=False)
    one = pipe("the river", json_schema=SCHEMA, max_new_tokens=60)
    assert set(json.loads(one[0]["generated_text"])) == {"a", "b"}
    several = pipe(["the river", "a stone"], json_schema=[SCHEMA, None], choices=[None, ["no"]], max_new_tokens=60)
    assert set(json.loads(several[0][0]["generated_text"])) == {"a", "b"}
    assert several[1][0]["generated_text"] == "no"
    alone = pipe(["the river", "a stone"], choices=["yes", "no"], max_new_tokens=60, running_batch=False)
    assert all(record[0]["generated_text"] in ("yes", "no") for record in alone)


def test_an_encoder_decoder() -> None:
    """The grammar begins where the decoder does."""
    tokenizer = bytelevel()
    model = tiny_seq2seq(tokenizer)
    ids = torch.tensor([tokenizer("the river")["input_ids"]])
    found = generate(
        model, ids, choices=["yes", "no"], tokenizer=tokenizer, do_sample=False, max_new_tokens=20,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    assert tokenizer.decode(found[0], skip_special_tokens=True) in ("yes", "no")


def test_grammars_in_the_two_notations(model: Any, tokenizer: Any) -> None:
    """Lark and GBNF."""
    given = inputs(tokenizer)
    for grammar in ('start: "ab" | "cd"', 'root ::= "ab" | "cd"'):
        assert set(texts(tokenizer, generate(model, **given, grammar=grammar, do_sample=False), given)) <= {"ab", "cd"}


@pytest.mark.parametrize("mode", ["greedy", "seeds", "samples", "beams", "lookup", "groups"])
def test_grammars_must_be_as_many_as_prompts(mode: str, model: Any, tokenizer: Any) -> None:
    """Two or three of them for four prompts are neither stretched nor cut; one a row is taken."""
    given, options = inputs(tokenizer, 4), {**MODES[mode], "max_new_tokens": 3}
    if "seeds" in options:
        options["seeds"] = [1, 2, 3, 4]
    copies = options.get("num_return_sequences", 1)
    for count in (2, 3, 5):
        wanted = "4 prompts" + (" or [0-9]+ rows" if copies * options.get("num_beams", 1) > 1 else "")
        with pytest.raises(ValueError, match=f"regex must have one value for each of the {wanted}; got {count}$"):
            generate(model, **{**given, **options}, regex=["ab", "cd", "ef", "gh", "ij"][:count])
    own = ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op"][: 4 * copies]
    assert texts(tokenizer, generate(model, **{**given, **options}, regex=own), given) == own


def test_the_schema_that_allows_everything(model: Any, tokenizer: Any) -> None:
    """True is {}."""
    given = inputs(tokenizer)
    plain = generate(model, **given, json_schema={}, do_sample=False)
    for schema in (True, "true", "{}"):
        assert torch.equal(generate(model, **given, json_schema=schema, do_sample=False), plain)


def test_tokens_that_were_added_to_a_tokenizer_are_known(tokenizer: Any) -> None:
    """The vocabulary is not that of the call before."""
    own = copy.deepcopy(tokenizer)
    model = tiny_decoder(own)
    model.resize_token_embeddings(len(own) + 8)
    given = {**inputs(own, 1), "do_sample": False, "max_new_tokens": 30}
    assert texts(own, generate(model, **given, choices=["<<word>>"]), given) == ["<<word>>"]
    own.add_tokens(["<<word>>"])
    written = generate(model, **given, logit_bias={len(own) - 1: 100.0}, choices=["<<word>>"])
    assert len(own) - 1 in written[0].tolist()


def test_grammars_and_vocabularies_used_last_are_kept(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than so many the one used longest ago goes, and is compiled again; the others are not."""
    own, vocab = copy.deepcopy(tokenizer), len(tokenizer)
    monkeypatch.setattr(grammar_engines, "COMPILED", 2)
    monkeypatch.setattr(grammar_engines, "VOCABULARIES", 2)
    made, compiled = engine_of(own, vocab, [0]), []
    compile_one = made._compile
    monkeypatch.setattr(made, "_compile", lambda kind, text: compiled.append(text) or compile_one(kind, text))
    for text in ("a", "b", "a", "c", "a", "b"):
        assert made.matcher(("regex", text)).accept(tokenizer.convert_tokens_to_ids(text))
    assert compiled == ["a", "b", "c", "b"]
    assert list(made._compiled) == ["regex:a", "regex:b"]
    assert [engine_of(own, vocab, [end]) is made for end in (1, 0, 2, 0)] == [False, True, False, True]
    assert engine_of(own, vocab, [1]) and engine_of(own, vocab, [2]) and engine_of(own, vocab, [0]) is not made


def test_errors(model: Any, tokenizer: Any) -> None:
    """Said before the model runs, with the option's name."""
    given = inputs(tokenizer)
    bare = {name: value for name, value in given.items() if name != "tokenizer"}
    with pytest.raises(ValueError, match="tokenizer must be given for a grammar; got None"):
        generate(model, **bare, regex="a")
    with pytest.raises(ValueError, match="regex must not be given beside json_schema; got both in row 0"):
        generate(model, **given, regex="a", json_schema={})
    with pytest.raises(ValueError, match=r"regex must be one that llguidance can read; got \(\["):
        generate(model, **given, regex="([")
    with pytest.raises(ValueError, match=r"json_schema must be JSON; got '\{'"):
        generate(model, **given, json_schema="{")
    with pytest.raises(TypeError, match="choices must be a list of texts; got 3"):
        generate(model, **given, choices=3)
    with pytest.raises(TypeError, match="json_schema must be a mapping, JSON or a pydantic model; got int"):
        generate(model, **given, json_schema=3)
    with pytest.raises(ValueError, match=r"grammar_engine must be one of \['llguidance', 'xgrammar'\]; got 'outlines'"):
        generate(model, **given, regex="a", grammar_engine="outlines")
    with pytest.raises(ValueError, match=r"regex must have one value or one for each prompt; got none"):
        generate(model, **given, regex=[])
    with pytest.raises(TypeError, match="jump_ahead must be True or False; got 'no'"):
        generate(model, **given, regex="a", jump_ahead="no")
    with pytest.raises(TypeError, match="tokenizer must be a tokenizer of transformers; got str"):
        generate(model, **{**given, "tokenizer": "a"}, regex="a")
    with pytest.raises(
        TypeError, match=r"json_schema must hold what JSON can; got \{'const': \{1\}\}: Object of type set"
    ):
        generate(model, **given, json_schema={"const": {1}})
    for nothing in (False, "false"):
        with pytest.raises(ValueError, match="json_schema must allow something; got false"):
            generate(model, **given, json_schema=nothing)
    for mode, named in (({"dola_layers": "low"}, "DoLa"), ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive search")):
        with pytest.raises(ValueError, match=f"regex must not be given for {named}: it "):
            generate(model, **given, regex="a", do_sample=False, **mode)
    with pytest.raises(ValueError, match="choices must have one value or one for each of the 3 prompts; got 2"):
        generate(model, **given, regex=["a", None, None], choices=[["b"], ["c"]])


def test_a_slow_grammar_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch, tokenizer: Any) -> None:
    """While one grammar is compiled another is; who asks for the same waits, and it is compiled once."""
    engine = grammar_engines.GrammarEngine("llguidance", tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    begun, go_on, compiled, compile_ = Event(), Event(), list[str](), engine._compile

    def slow(kind: str, text: Any) -> Any:
        compiled.append(text)
        if text == "slow":
            begun.set()
            assert go_on.wait(60)
        return compile_(kind, text)

    monkeypatch.setattr(engine, "_compile", slow)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(engine.matcher, ("regex", "slow")) for _ in range(2)]
        assert begun.wait(60)
        assert not engine.matcher(("regex", "quick")).ended
        assert not any(one.done() for one in waiting)
        go_on.set()
        for one in waiting:
            one.result(60)
    assert sorted(compiled) == ["quick", "slow"]
    for _ in range(2):  # what failed is not kept, and says so again
        with pytest.raises(ValueError, match="regex must be one that llguidance can read"):
            engine.matcher(("regex", "("))
    assert compiled.count("(") == 2
