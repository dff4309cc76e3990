"""A group's candidates: the short way against the scores of all tokens, and those against the plain formula."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afterlogits.decoding.search.group_candidates import Few, Whole, apply_diversity_penalty


def plain(scores: Tensor, taken: Tensor, penalty: float) -> Tensor:
    """The penalty by its definition: a count per token of the vocabulary."""
    counts = torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.long)
    counts.scatter_add_(1, taken, torch.ones_like(taken))
    return scores - (penalty * counts)[:, None, :]


def test_the_penalty_counts_every_group_that_took_a_token() -> None:
    """Token 2 twice: 1 - 2 * 0.25; token 0 once: 1 - 0.25; the scores given stay as they are."""
    scores = torch.ones(1, 2, 4)
    lowered = apply_diversity_penalty(scores, torch.tensor([[2, 0, 2]]), 0.25)
    assert lowered.tolist() == [[[0.75, 1.0, 0.5, 1.0]] * 2]
    assert bool((scores == 1).all())


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([3, 7, 40, 4100]),
    st.sampled_from([0.0, 0.3, 1.0, 30.0]),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 10**6),
)
def test_few_candidates_are_those_of_all_scores(
    batch: int, groups: int, size: int, vocab: int, penalty: float, grid: float, seed: int
) -> None:
    """Bit for bit for every group in turn, unless equal scores were noticed; distinct scores are never called equal."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch * groups * size, vocab, generator=generator) * 2
    # Groups that agree on the best tokens, so that the penalty changes the order.
    logits = logits.view(batch, groups, size, vocab)
    logits[:, 1:] = logits[:, :1] + 0.1 * logits[:, 1:]
    logits = (logits / grid).round() * grid if grid else logits
    log_probs = logits.flatten(0, 2).log_softmax(-1)
    scores = -torch.rand(batch, groups * size, generator=generator) * 3
    count = min(2 * size, size * vocab)
    few = Few(log_probs, scores, penalty, groups, count)
    whole = Whole(log_probs, scores, penalty, groups, count, torch.zeros(batch * groups * size, 1))
    taken = torch.zeros(batch, 0, dtype=torch.long)
    for group in range(groups):
        found = whole.of_group(group, taken)
        beams = slice(group * size, (group + 1) * size)
        full = plain(log_probs.view(batch, groups, size, vocab)[:, group], taken, penalty)
        best, where = (full + scores[:, beams, None]).flatten(1).topk(count)
        for one, other in zip(found, (best, where // vocab, where % vocab), strict=True):
            assert torch.equal(one, other)
        if few.enough:
            short = few.of_group(group, taken)
            more = (full + scores[:, beams, None]).flatten(1).topk(count + 1).values
            assert torch.equal(few.tied[group], (more[:, 1:] == more[:, :-1]).any(dim=1))
            clear = ~few.tied[group]
            for one, other in zip(short, found, strict=True):
                assert torch.equal(one[clear], other[clear])
        taken = torch.cat((taken, found[2][:, :size]), dim=1)
    assert few.enough or (count + 1 + (groups - 1) * size * size * (penalty > 0)) > size * vocab
