"""How every kernel and loop grows with each of its sizes, against the cost it documents."""

from __future__ import annotations

import functools
import itertools
import random

import pytest
import torch

from afterlogits import generate, pipeline
from afterlogits.benchmarks import workloads
from afterlogits.decoding import (
    CountPenaltyStep,
    RepetitionPenaltyStep,
    Sampler,
    SamplingParams,
    apply_min_p,
    apply_top_k,
    apply_top_p,
)
from afterlogits.decoding.processors.dry import DryStep
from afterlogits.decoding.processors.ngrams import NoRepeatNgramStep
from afterlogits.decoding.search.beam_candidates import top_candidates
from afterlogits.postprocess.text.labels import read_labels
from afterlogits.postprocess.text.masked import fill_mask
from afterlogits.postprocess.text.spans import select_spans
from afterlogits.postprocess.text.squad import select_squad_spans
from afterlogits.postprocess.text.tagging import group_entities

VOCABULARIES = [32_768, 65_536, 131_072, 262_144]
DRAWS = {
    "top_k 50 + top_p 0.95, seeds": ({"top_k": 50, "top_p": 0.95}, True),
    "top_p 0.9, seeds": ({"top_p": 0.9}, True),
    "min_p 0.05, seeds": ({"min_p": 0.05}, True),
    "top_k 50 + top_p 0.95, torch stream": ({"top_k": 50, "top_p": 0.95}, False),
}


def sampling_step(device, dtype, options, seeded, batch_size, vocab_size):
    logits = workloads.peaked(batch_size, vocab_size, device=device, dtype=dtype)
    params = SamplingParams(temperature=0.8, **options)
    seeds = list(range(batch_size)) if seeded else None
    sampler = Sampler(params, batch_size=batch_size, vocab_size=vocab_size, device=device, seeds=seeds)
    return lambda: sampler.select(logits)


@pytest.mark.parametrize("name", [*DRAWS])
def bench_sampling_over_vocabulary(growth, name):
    make = functools.partial(sampling_step, growth.device, growth.dtype, *DRAWS[name], 8)
    growth(f"{name}, B=8", axis="vocabulary", sizes=VOCABULARIES, make=make, time=1, memory=1)


@pytest.mark.full
@pytest.mark.parametrize("name", [*DRAWS])
def bench_sampling_over_batch(growth, name):
    def make(batch_size):
        return sampling_step(growth.device, growth.dtype, *DRAWS[name], batch_size, 32_000)

    # From 16 rows on: up to 8 are drawn in Python, in a fraction of the memory per row.
    growth(f"{name}, V=32,000", axis="batch", sizes=[16, 32, 64, 256], make=make, time=1, memory=1)


@pytest.mark.full
def bench_beam_step_over_beams(growth):
    def make(num_beams):
        logits = workloads.peaked(8 * num_beams, 32_000, device=growth.device, dtype=growth.dtype)
        scores = torch.zeros(8, num_beams, device=growth.device)
        return lambda: top_candidates(logits, scores, 2 * num_beams, normalized=False)

    growth("beam step, B=8, V=32,000", axis="beams", sizes=[2, 4, 8, 16], make=make, time=1, memory=1)


FILTERS = {"top_k": (apply_top_k, 50), "top_p": (apply_top_p, 0.9), "min_p": (apply_min_p, 0.05)}
PENALTIES = {
    "repetition penalty": lambda ids, size: RepetitionPenaltyStep(ids, 1.2, vocab_size=size),
    "no-repeat 3-gram": lambda ids, size: NoRepeatNgramStep(ids, 3),
    "presence + frequency": lambda ids, size: CountPenaltyStep(
        ids, frequency_penalty=0.2, presence_penalty=0.5, vocab_size=size
    ),
}


def words_of(count, length, vocab_size, *, batch_size=16):
    """A history [batch_size, length] of ``count`` different tokens."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randperm(vocab_size, generator=generator)[:count]
    return words[torch.randint(count, (batch_size, length), generator=generator)]


# A step costs as much as there are different tokens: 600, or those of text, which come back the more often the longer
# it is (about the square root of its length is new).
HISTORIES = {
    "600 words": (lambda length, vocab_size: words_of(600, length, vocab_size), 0),
    "text": (lambda length, vocab_size: workloads.history(16, length, vocab_size), 0.5),
}


@pytest.mark.full
@pytest.mark.parametrize("kind", [*HISTORIES])
@pytest.mark.parametrize("name", [*PENALTIES])
def bench_penalty_over_history(growth, name, kind):
    """One decode step: apply, then advance. The vocabulary is small enough for its words to repeat, as in text."""
    draw, documented = HISTORIES[kind]
    vocab_size, batch_size = 32_000, 16

    def make(length):
        logits = workloads.peaked(batch_size, vocab_size, device=growth.device, dtype=growth.dtype)
        token_ids = draw(length, vocab_size).to(growth.device)
        step = PENALTIES[name](token_ids, vocab_size)
        following = itertools.cycle(draw(64, vocab_size).to(growth.device).unbind(1))

        def run():
            step.apply(logits)
            step.advance(next(following))

        return run

    sizes = [2048, 4096, 8192, 16_384]
    growth(f"{name}, a step of 16 rows, {kind}", axis="history", sizes=sizes, make=make, time=documented)


def window_logits(windows, length):
    allowed = torch.zeros(windows, length, dtype=torch.bool)
    allowed[:, 16:-1] = True
    return workloads.flat(windows, length, seed=1) * 3, workloads.flat(windows, length, seed=2) * 3, allowed


SPANS = {
    "length": ([128, 256, 512, 1024], lambda size: (window_logits(32, size), 15)),
    "windows": ([32, 64, 128, 256], lambda size: (window_logits(size, 384), 15)),
    "answer length": ([15, 30, 60, 120], lambda size: (window_logits(32, 384), size)),
}


@pytest.mark.parametrize("axis", [*SPANS])
def bench_spans(growth, axis):
    sizes, arguments = SPANS[axis]

    def make(size):
        tensors, longest = arguments(size)
        return lambda: select_spans(*tensors, top_k=5, max_answer_len=longest)

    growth("span selection, top_k 5", axis=axis, sizes=sizes, make=make, time=1, memory=1)


@pytest.mark.full
@pytest.mark.parametrize("axis", ["sentences", "tokens"])
def bench_entities(growth, axis):
    scheme = read_labels(["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"])

    def make(size):
        batch_size, length = (size, 128) if axis == "sentences" else (32, size)
        logits = torch.randn(batch_size, length, 9, generator=torch.Generator().manual_seed(0))
        logits[..., 0] += 2
        keep = torch.ones(batch_size, length, dtype=torch.bool)
        return lambda: group_entities(logits, keep, scheme).records()

    growth("entity grouping, records", axis=axis, sizes=[64, 128, 256, 512], make=make, time=1, memory=1)


@pytest.mark.full
@pytest.mark.parametrize("name", ["top_k", "top_p", "min_p"])
def bench_filter_over_vocabulary(growth, name):
    """Masked logits out; a sort, where a shortcut cannot prove itself, grows a little faster than the vocabulary."""
    apply, value = FILTERS[name]

    def make(vocab_size):
        logits = workloads.peaked(4, vocab_size, device=growth.device, dtype=growth.dtype)
        return lambda: apply(logits, value)

    growth(f"apply_{name} {value}, B=4", axis="vocabulary", sizes=VOCABULARIES, make=make, time=1, memory=1, rounds=3)


@pytest.mark.full
def bench_dry_over_history(growth):
    """One decode step of DRY without a limit: it compares the whole history, so its cost follows it."""
    vocab_size, batch_size = 32_000, 16

    def make(length):
        logits = workloads.peaked(batch_size, vocab_size, device=growth.device, dtype=growth.dtype)
        step = DryStep(workloads.history(batch_size, length, vocab_size).to(growth.device), 0.8)
        following = itertools.cycle(workloads.history(batch_size, 64, vocab_size, seed=1).to(growth.device).unbind(1))

        def run():
            step.apply(logits)
            step.advance(next(following))

        return run

    growth("DRY, a step of 16 rows", axis="history", sizes=[2048, 4096, 8192, 16_384], make=make, time=1, rounds=3)


@pytest.mark.full
def bench_fill_mask_over_masks(growth):
    """Memory follows the answers, not masks times vocabulary."""

    def make(masks):
        logits = workloads.flat(masks, 30_522)
        return lambda: fill_mask(logits, top_k=5)

    growth("fill-mask, top_k 5, V=30,522", axis="masks", sizes=[16, 64, 256], make=make, time=1, memory=1, rounds=3)


@pytest.mark.full
def bench_squad_over_windows(growth):
    def make(windows):
        start, end, allowed = window_logits(windows, 384)
        offsets = torch.arange(384)[None, :, None] * 5 + torch.tensor([0, 4])
        offsets, question = offsets.expand(windows, -1, -1), torch.arange(windows) // 2
        return lambda: select_squad_spans(start, end, offsets, allowed, question, num_questions=windows // 2)

    growth("SQuAD script's spans", axis="windows", sizes=[32, 64, 128, 256], make=make, time=1, memory=1, rounds=3)


LOOPS = {
    "greedy": {"do_sample": False},
    "top_k 50, torch stream": {"do_sample": True, "top_k": 50},
    "beam 4": {"do_sample": False, "num_beams": 4},
    "group beam, 4 in 2": {"do_sample": False, "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0},
    "contrastive, top_k 4": {"penalty_alpha": 0.6, "top_k": 4},
    "prompt lookup": {"do_sample": False, "prompt_lookup_num_tokens": 4},
}


@functools.cache
def small_model(device):
    return workloads.tiny_llama(layers=1, hidden=32, vocab_size=8_000).to(device)


def generation(device, batch_size, new_tokens, options):
    model = small_model(device)
    prompt = workloads.prompts(batch_size, 8, 8_000, device=device)
    common = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": new_tokens, "pad_token_id": 0}
    return lambda: generate(model, prompt, **common, **options)


@pytest.mark.full
@pytest.mark.parametrize("name", [*LOOPS])
def bench_loop_over_length(growth, name):
    def make(length):
        return generation(growth.device, 4, length, LOOPS[name])

    growth(f"generate, {name}, B=4", axis="new tokens", sizes=[16, 32, 64], make=make, time=1, rounds=3)


@pytest.mark.full
@pytest.mark.parametrize("name", ["greedy", "top_k 50, torch stream", "beam 4"])
def bench_loop_over_batch(growth, name):
    def make(batch_size):
        return generation(growth.device, batch_size, 16, LOOPS[name])

    growth(f"generate, {name}, 16 tokens", axis="batch", sizes=[4, 16, 64], make=make, time=1, rounds=3)


@pytest.mark.full
def bench_loop_over_beams(growth):
    def make(num_beams):
        return generation(growth.device, 4, 16, {"do_sample": False, "num_beams": num_beams})

    growth("generate, beam, B=4, 16 tokens", axis="beams", sizes=[2, 4, 8, 16], make=make, time=1, rounds=3)


@pytest.mark.full
@pytest.mark.parametrize("task", ["ner", "question-answering"])
def bench_task_over_text(growth, task):
    """One text that grows: windows with a stride, so that time follows the text and never its square."""
    tokenizer = workloads.wordpiece_tokenizer()
    config = workloads.bert_config(layers=1, hidden=32, num_labels=2)
    names = {"ner": "BertForTokenClassification", "question-answering": "BertForQuestionAnswering"}
    model = workloads.from_config(names[task], config)
    options = {"aggregation_strategy": "simple", "stride": 32} if task == "ner" else {}
    call = pipeline(task, model=model, tokenizer=tokenizer, device=str(growth.device), **options)

    def make(words):
        text = " ".join(workloads.sentence(random.Random(index), 20) for index in range(words // 20))
        if task == "ner":
            return lambda: call(text)
        return lambda: call(question="Where did Ada live?", context=text)

    growth(f"pipeline, {task}, one text", axis="words", sizes=[1000, 2000, 4000, 8000], make=make, time=1, rounds=3)
