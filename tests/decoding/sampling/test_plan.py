"""Options read once for all draws with the same object of plain numbers."""

import copy

import torch

from afterlogits.decoding.sampling.params import SamplingParams
from afterlogits.decoding.sampling.plan import plan_of
from afterlogits.decoding.sampling.sample import Sampler

CPU = torch.device("cpu")


def test_the_same_numbers_have_one_plan_for_every_size_of_batch() -> None:
    params = SamplingParams(temperature=0.7, top_k=5)
    assert plan_of(params, 2, 9, CPU) is plan_of(params, 2, 9, CPU)
    for size in ((3, 9), (2, 8)):
        assert plan_of(params, *size, CPU) is not plan_of(params, 2, 9, CPU)
    assert plan_of(copy.copy(params), 2, 9, CPU) is not plan_of(params, 2, 9, CPU)
    sampler = Sampler(params, batch_size=2, vocab_size=9, device="cpu")
    assert sampler.plan is plan_of(params, 2, 9, CPU)


def test_what_can_be_written_into_is_read_every_time() -> None:
    bias = torch.zeros(9)
    for params in (
        SamplingParams(top_p=torch.tensor([0.5, 0.9])),
        SamplingParams(logit_bias=bias),
        SamplingParams(eos_token_id=[1]),
    ):
        assert not params.is_plain and plan_of(params, 2, 9, CPU) is not plan_of(params, 2, 9, CPU)


def test_samplers_of_one_plan_count_and_learn_apart() -> None:
    params, logits = SamplingParams(temperature=0.7, top_k=5), torch.randn(2, 9)
    one, other = (Sampler(params, batch_size=2, vocab_size=9, device="cpu", seeds=[1, 2]) for _ in range(2))
    drawn = one.select(logits, step=3)
    assert (one.drawn, other.drawn) == (2, 0) and torch.equal(other.select(logits, step=3), drawn)
    learning = SamplingParams(mirostat_tau=2.0)
    assert plan_of(learning, 2, 9, CPU) is not plan_of(learning, 2, 9, CPU)
