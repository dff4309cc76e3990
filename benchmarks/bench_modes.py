"""The other modes of generate(): against transformers 5.23, or 4.55.4 for the modes that version 5 removed."""

from __future__ import annotations

import functools

import pytest
import torch

from afterlogits import generate
from afterlogits.benchmarks import bare, workloads
from afterlogits.benchmarks.oracle import Oracle

TABLE = "modes"
VOCAB = workloads.VOCABULARIES["llama-2"]
DRAFTED = 4096  # tokens of the models of assisted decoding
PROMPT, NEW = 32, 32
pytestmark = pytest.mark.full


@functools.cache
def model_on(device, layers=4):
    return workloads.tiny_llama(layers=layers, hidden=64, vocab_size=VOCAB).to(device)


REMOVED = {
    "group beam, 4 beams in 2 groups": (
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "do_sample": False},
        4,
    ),
    "constrained beam, 4 beams, two phrases": (
        {"num_beams": 4, "force_words_ids": [[11, 12], [[13], [14, 15]]], "do_sample": False},
        4,
    ),
    "contrastive search, top_k 4": ({"penalty_alpha": 0.6, "top_k": 4}, 1),
    "DoLa, low layers": ({"dola_layers": "low", "do_sample": False}, 1),
}


@pytest.mark.cpu_only
@pytest.mark.parametrize("mode", [*REMOVED])
def bench_removed_mode(pair, mode):
    """Transformers' last version that has the mode, in its own process; the bare loop runs one row per beam."""
    options, bare_rows = REMOVED[mode]
    model, prompt = model_on(pair.device), workloads.prompts(8, PROMPT, VOCAB)
    common = {"max_new_tokens": NEW, "pad_token_id": 0, **options}
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
    payload = {
        "config": {name: getattr(model.config, name) for name in names},
        "weights": {name: value.numpy() for name, value in model.state_dict().items()},
        "prompt": prompt.numpy(),
        "options": common,
        "threads": torch.get_num_threads(),
    }
    wide = prompt.repeat_interleave(bare_rows, dim=0)
    with Oracle("generate", payload, version="4.55.4") as library:
        pair(
            f"{mode}, B=8",
            table=TABLE,
            ours=lambda: generate(model, prompt, attention_mask=torch.ones_like(prompt), **common),
            rivals={"transformers 4.55.4": library},
            limits={"bare": lambda: bare.greedy(model, wide, NEW)},
            memory=("ours",),
            rounds=3,
        )


def bench_beam_sample(pair):
    """torch's stream: the same tokens as transformers', drawn from 4 beams of 8 prompts."""
    model, prompt = model_on(pair.device), workloads.prompts(8, PROMPT, VOCAB, device=pair.device)
    options = {"do_sample": True, "num_beams": 4, "top_k": 50, "top_p": 0.95, "max_new_tokens": NEW, "pad_token_id": 0}
    options["attention_mask"] = torch.ones_like(prompt)
    wide = prompt.repeat_interleave(4, dim=0)
    pair(
        "beam-sample, 4 beams, B=8",
        table=TABLE,
        ours=lambda: generate(model, prompt, **options),
        rivals={"transformers": lambda: model.generate(prompt, **options)},
        limits={"bare": lambda: bare.greedy(model, wide, NEW)},
        reset=lambda: torch.manual_seed(0),
        memory=("ours",),
        rounds=3,
    )


@functools.cache
def target_and_draft(device):
    """Twelve layers of which the last eleven change little, and a draft of the first: as a good draft model agrees.

    The vocabulary is small beside the layers, as in a model of real size, so that the draft is cheap.
    """
    target = workloads.tiny_llama(layers=12, hidden=256, vocab_size=DRAFTED).to(device)
    draft = workloads.tiny_llama(layers=1, hidden=256, vocab_size=DRAFTED).to(device)
    with torch.no_grad():
        for layer in target.model.layers[1:]:
            layer.self_attn.o_proj.weight.mul_(0.02)
            layer.mlp.down_proj.weight.mul_(0.02)
    missing, unexpected = draft.load_state_dict(target.state_dict(), strict=False)
    assert not missing and all(".layers." in name for name in unexpected)
    return target, draft


@pytest.mark.parametrize("batch_size", [1, 8])
def bench_assisted(pair, batch_size):
    """A draft model proposes, the model verifies. Transformers does it for one row at a time, we for the batch."""
    target, draft = target_and_draft(pair.device)
    prompt = workloads.prompts(batch_size, PROMPT, DRAFTED, device=pair.device)
    common = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}

    def theirs():
        rows = [
            target.generate(row, attention_mask=torch.ones_like(row), assistant_model=draft, **common)
            for row in prompt.split(1)
        ]
        return torch.cat(rows)

    mask = torch.ones_like(prompt)
    pair(
        f"assisted, 12 layers by a draft of 1, B={batch_size}",
        table=TABLE,
        ours=lambda: generate(target, prompt, attention_mask=mask, assistant_model=draft, **common),
        rivals={
            "transformers, row by row": theirs,
            "plain greedy": lambda: generate(target, prompt, attention_mask=mask, **common),
        },
        memory=("ours",),
        rounds=3,
    )
