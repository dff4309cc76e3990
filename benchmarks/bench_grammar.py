"""Grammars: what a step costs beside one without, and packed masks on the logits beside xgrammar's kernel."""

from __future__ import annotations

import functools

import pytest
import torch

from afterlogits import generate
from afterlogits.benchmarks import workloads
from afterlogits.benchmarks.answers import UnequalAnswers
from afterlogits.benchmarks.pairing import at_most
from afterlogits.decoding.grammar.bitmask import mask_tokens_

TABLE = "grammars"
ROWS, PROMPT, NEW = 16, 32, 48
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 2, "maxItems": 4},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
GRAMMARS = {
    "a JSON schema": {"json_schema": {"type": "array", "items": PERSON, "minItems": 60, "maxItems": 60}},
    "a regular expression": {"regex": "([a-z]{2,9} ){400}"},
}


@functools.cache
def tokenizer():
    return workloads.byte_pair_tokenizer()


@functools.cache
def model_on(device):
    return workloads.tiny_llama().to(device)


@pytest.mark.full
@pytest.mark.parametrize("described", GRAMMARS)
def bench_grammar_step(pair, described):
    """The same rows and tokens with and without a grammar: masks are made while the model runs."""
    options = {"max_new_tokens": NEW, "do_sample": False}
    name = f"greedy inside {described}, B={ROWS}, V=151,936"
    beside_without(pair, name, described, ROWS, options, asked=[at_most(1.1, "without")])


def beside_without(pair, name, described, prompts, options, **asked):
    """The same call with and without a grammar."""
    pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'afterlogits[grammar]'")
    model, prompt = model_on(pair.device), workloads.prompts(prompts, PROMPT, device=pair.device)
    common = {"attention_mask": torch.ones_like(prompt), "pad_token_id": 0, "eos_token_id": 0, **options}
    common["tokenizer"] = tokenizer()
    pair(
        name,
        table=TABLE,
        ours=lambda: generate(model, prompt, **common, **GRAMMARS[described]),
        limits={"without": lambda: generate(model, prompt, **common)},
        memory=(),
        **asked,
    )


OTHER_MODES = {
    "draws with top-k": {"do_sample": True, "top_k": 50, "seeds": list(range(ROWS))},
    "draws without filters": {"do_sample": True, "top_k": 0, "seeds": list(range(ROWS))},
    "4 x 4 beams": {"do_sample": False, "num_beams": 4},
}


@pytest.mark.full
@pytest.mark.parametrize("mode", OTHER_MODES)
@pytest.mark.parametrize("described", GRAMMARS)
def bench_grammar_modes(pair, described, mode):
    """Draws and beams with and without a grammar, 16 new tokens."""
    options = {"max_new_tokens": 16, **OTHER_MODES[mode]}
    name = f"{mode} inside {described}, {ROWS} rows, V=151,936"
    beside_without(pair, name, described, ROWS // options.get("num_beams", 1), options)


FIELDS = ["the customer's full name", "preferred language of contact", "order confirmed by the customer", "priority"]
FORM = {
    "type": "object",
    "properties": {name: {"enum": ["yes", "no", "unknown"]} for name in FIELDS},
    "required": FIELDS,
    "additionalProperties": False,
}


@functools.cache
def deeper_model():
    """Where a forward, and not the choice, is what a step costs."""
    return workloads.tiny_llama(hidden=256, layers=6)


def bench_jump_ahead(pair):
    """A form of long keys: what is certain is read in one forward, or a token at a time."""
    pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'afterlogits[grammar]'")
    model, prompt = deeper_model().to(pair.device), workloads.prompts(1, PROMPT, device=pair.device)
    common = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 200, "do_sample": False, "pad_token_id": 0}
    common |= {"eos_token_id": 0, "tokenizer": tokenizer(), "json_schema": FORM}
    pair(
        "greedy inside a form of four long keys, B=1, V=151,936, tokens that are certain at once",
        table=TABLE,
        ours=lambda: generate(model, prompt, **common),
        rivals={"a token a forward": lambda: generate(model, prompt, **common, jump_ahead=False)},
        memory=(),
    )


@functools.cache
def kernel():
    return pytest.importorskip("xgrammar", reason="xgrammar is not installed").apply_token_bitmask_inplace


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.5, 0.88, 0.97, 0.99, 0.999, 1.0])
def bench_bitmask(pair, share):
    """Masks of random bits: such as between two keys, in a number, in a string."""
    apply = kernel()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, workloads.LARGE_VOCABULARY, generator=generator)
    allowed = torch.rand(logits.shape, generator=generator) < share
    bits = (allowed.view(ROWS, -1, 32).long() << torch.arange(32)).sum(-1).to(torch.int32)

    def theirs(given):
        apply(given, bits)
        return given

    def same(one, other):
        if not torch.equal(one, other):
            raise UnequalAnswers("the masked logits differ")

    pair(
        f"packed masks in place, {share:.2%} of the tokens allowed, B={ROWS}, V=151,936",
        table=TABLE,
        ours=lambda given: mask_tokens_(given, bits),
        rivals={"xgrammar": theirs},
        prepare=lambda: (logits.clone(),),
        asked=[at_most(1.0, "xgrammar")],
        same=same,
        memory=(),
    )
