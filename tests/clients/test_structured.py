"""Structured output: xgrammar, llguidance, outlines and lm-format-enforcer as processors of an installed model."""

import json
import random
import re

import pytest
import torch

from afterlogits import generate, install
from tests.oracles.json_schemas import draw_schema, is_valid

from .matrix import compare
from .models import decoder, prompts, tokenizer

MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 50},
    "beams": {"num_beams": 3, "do_sample": False},
}
PATTERN = r"( [a-z]{2,5}){3}\."


@pytest.fixture(scope="module")
def models():
    return decoder(), install(decoder())


def run(model, mode, **options):
    given = prompts()
    tokens = model.generate(**given, max_new_tokens=24, **MODES[mode], **options)
    return tokenizer().batch_decode(tokens[:, given["input_ids"].shape[1] :], skip_special_tokens=True)


def both(client, what, models, mode, make, check):
    """``make`` gives the options of one call: processors hold state, so each call has its own."""
    theirs, ours = models
    found = run(ours, mode, **make())
    assert all(check(text) for text in found), found
    compare(client, f"{what}, {mode}", lambda: run(theirs, mode, **make()), lambda: run(ours, mode, **make()))


def matches(text):
    """The whole pattern, or a beginning of it where the tokens ran out."""
    return re.fullmatch(PATTERN, text) is not None or re.fullmatch(r"( [a-z]{0,5}){0,3}\.?", text) is not None


@pytest.mark.parametrize("mode", ["greedy", "sampling"])
def test_xgrammar(models, mode):
    xgrammar = pytest.importorskip("xgrammar", reason="xgrammar is not installed")
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer(), vocab_size=models[0].config.vocab_size)
    compiled = xgrammar.GrammarCompiler(info).compile_regex(PATTERN)

    def make():
        return {"logits_processor": [xgrammar.contrib.hf.LogitsProcessor(compiled)]}

    both("xgrammar", "`LogitsProcessor` of a regular expression", models, mode, make, matches)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Grace"]}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("mode", ["greedy", "sampling"])
@pytest.mark.parametrize("what", ["regex", "json_schema", "grammar"])
def test_grammars_by_xgrammar_give_the_tokens_of_its_own_processor(models, mode, what):
    """``generate(..., grammar_engine="xgrammar")`` beside transformers with xgrammar's processor."""
    xgrammar = pytest.importorskip("xgrammar", reason="xgrammar is not installed")
    theirs = models[0]
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer(), vocab_size=theirs.config.vocab_size)
    compiler = xgrammar.GrammarCompiler(info)
    sentence = 'root ::= "the " ("cat" | "dog") " sat"'
    given = {"regex": PATTERN, "json_schema": SCHEMA, "grammar": sentence}[what]
    if what == "regex":
        compiled = compiler.compile_regex(PATTERN)
    elif what == "grammar":
        compiled = compiler.compile_grammar(sentence)
    else:
        compiled = compiler.compile_json_schema(json.dumps(SCHEMA), any_whitespace=False)
    inputs = {**prompts(), "max_new_tokens": 40, **MODES[mode]}
    torch.manual_seed(1)
    expected = theirs.generate(**inputs, logits_processor=[xgrammar.contrib.hf.LogitsProcessor(compiled)])
    torch.manual_seed(1)
    found = generate(theirs, **inputs, tokenizer=tokenizer(), grammar_engine="xgrammar", **{what: given})
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("engine", ["xgrammar", "llguidance"])
def test_drawn_schemas_give_valid_json_with_either_engine(models, engine):
    """60 schemas, sampled from a model that writes stories. xgrammar lets control characters into strings of bounded
    length, which JSON does not: they are read all the same."""
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    rng = random.Random(8)
    for batch in range(5):
        schemas = [draw_schema(rng) for _ in range(12)]
        text = tokenizer()(["The baker"] * 12, return_tensors="pt")
        options = {"max_new_tokens": 400, "do_sample": True, "temperature": 1.5, "seeds": range(batch, batch + 12)}
        found = generate(
            models[0], **text, **options, tokenizer=tokenizer(), grammar_engine=engine, json_schema=schemas
        )
        new = tokenizer().batch_decode(found[:, text["input_ids"].shape[1] :], skip_special_tokens=True)
        for schema, written in zip(schemas, new, strict=True):
            assert is_valid(json.loads(written, strict=engine != "xgrammar"), schema), (schema, written)


@pytest.mark.parametrize("mode", ["greedy", "sampling"])
def test_llguidance(models, mode):
    """Its bitmasks on every step, through a processor that holds a matcher for every row."""
    pytest.importorskip("llguidance", reason="llguidance is not installed")
    import llguidance.hf
    import llguidance.torch
    from transformers import LogitsProcessor

    vocabulary = llguidance.hf.from_tokenizer(tokenizer(), n_vocab=models[0].config.vocab_size)
    grammar = llguidance.LLMatcher.grammar_from_regex(PATTERN)

    class Guided(LogitsProcessor):
        def __init__(self):
            self.matchers, self.seen = None, 0

        def __call__(self, input_ids, scores):
            if self.matchers is None:
                self.matchers = [llguidance.LLMatcher(vocabulary, grammar) for _ in input_ids]
            else:
                for matcher, row in zip(self.matchers, input_ids.tolist(), strict=True):
                    if not matcher.is_stopped():
                        matcher.consume_token(row[-1])
            mask = llguidance.torch.allocate_token_bitmask(len(scores), scores.shape[1])
            for index, matcher in enumerate(self.matchers):
                llguidance.torch.fill_next_token_bitmask(matcher, mask, index)
            scores = scores.clone()
            llguidance.torch.apply_token_bitmask_inplace(scores, mask)
            return scores

    both(
        "llguidance",
        "bitmasks of a regular expression",
        models,
        mode,
        lambda: {"logits_processor": [Guided()]},
        matches,
    )


@pytest.mark.parametrize("mode", ["greedy", "sampling", "beams"])
def test_lm_format_enforcer(models, mode):
    """A prefix function, asked for every beam."""
    pytest.importorskip("lmformatenforcer", reason="lm-format-enforcer is not installed")
    from lmformatenforcer import RegexParser

    try:
        from lmformatenforcer.integrations.transformers import build_transformers_prefix_allowed_tokens_fn
    except ImportError as error:  # 0.11.3 looks for a name where version 5 no longer has it
        pytest.skip(f"lm-format-enforcer's own code does not run on this transformers: {error}")
    allowed = build_transformers_prefix_allowed_tokens_fn(tokenizer(), RegexParser(PATTERN))
    make = lambda: {"prefix_allowed_tokens_fn": allowed}  # noqa: E731
    both("lm-format-enforcer", "prefix function of a regular expression", models, mode, make, matches)


@pytest.mark.parametrize("mode", ["greedy", "sampling"])
def test_outlines(models, mode):
    outlines = pytest.importorskip("outlines", reason="outlines is not installed")
    theirs, ours = (outlines.from_transformers(model, tokenizer()) for model in models)
    kind = outlines.regex(PATTERN)
    options = {"max_new_tokens": 24, **MODES[mode]}
    made = {id(model): outlines.Generator(model, kind) for model in (theirs, ours)}
    call = lambda model: made[id(model)]("The baker", **options)  # noqa: E731
    assert matches(call(ours))
    compare("outlines", f"`Generator` of a regular expression, {mode}", lambda: call(theirs), lambda: call(ours))


def test_outlines_json(models):
    """A JSON schema, greedy: whatever the model is like, the text is JSON of the schema."""
    outlines = pytest.importorskip("outlines", reason="outlines is not installed")
    schema = {"type": "object", "properties": {"name": {"enum": ["Anna", "Peter"]}}, "required": ["name"]}
    theirs, ours = (outlines.from_transformers(model, tokenizer()) for model in models)
    made = {id(model): outlines.Generator(model, outlines.json_schema(schema)) for model in (theirs, ours)}
    call = lambda model: made[id(model)]("The baker is", max_new_tokens=40, do_sample=False)  # noqa: E731
    assert json.loads(call(ours))["name"] in ("Anna", "Peter")
    compare("outlines", "`Generator` of a JSON schema", lambda: call(theirs), lambda: call(ours))
