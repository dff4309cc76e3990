"""TRL: trainers that generate their own samples, on an installed model: equal completions, losses and weights."""

import copy

import pytest
import torch

from afterlogits import install

from .matrix import close, compare
from .models import PROMPTS, decoder, tokenizer

trl = pytest.importorskip("trl", reason="TRL is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
STEPS = 2


def vowels(completions, **_):
    """A reward that differs from completion to completion."""
    return [sum(letter in "aeiou" for letter in text) / (1 + len(text)) for text in completions]


def settings(folder, **own):
    return {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "report_to": [],
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "seed": 3,
        **own,
    }


def prompts():
    return datasets.Dataset.from_dict({"prompt": PROMPTS * 4})


def trained(trainer):
    """Losses and rewards of every step, and the weights after the last."""
    trainer.train()
    logged = [
        {name: value for name, value in row.items() if name in ("loss", "reward", "kl", "grad_norm")}
        for row in trainer.state.log_history
    ]
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    return logged, weights


def equal(a, b):
    """Losses to the last bits, and every weight: one other completion would move them."""
    return close(a[0], b[0]) and torch.allclose(a[1], b[1], rtol=1e-4, atol=1e-6)


def grpo(folder, prepare, **own):
    config = trl.GRPOConfig(
        **settings(folder, num_generations=4, max_completion_length=12, temperature=0.9, top_k=30, **own)
    )
    return trl.GRPOTrainer(
        model=prepare(decoder()),
        reward_funcs=vowels,
        args=config,
        train_dataset=prompts(),
        processing_class=tokenizer(),
    )


@pytest.mark.parametrize("more", [{}, {"repetition_penalty": 1.2}, {"min_p": 0.05}])
def test_grpo(more, tmp_path):
    run = lambda prepare: trained(grpo(tmp_path, prepare, **more))  # noqa: E731
    told = "".join(f", {name}={value}" for name, value in more.items())
    what = f"`GRPOTrainer`, {STEPS} steps{told}"
    compare("trl", what, lambda: run(lambda model: model), lambda: run(install), same=equal, rounds=2)


def test_rloo(tmp_path):
    def run(prepare):
        config = trl.RLOOConfig(**settings(tmp_path, num_generations=4, max_completion_length=12))
        return trained(
            trl.RLOOTrainer(
                model=prepare(decoder()),
                reward_funcs=vowels,
                args=config,
                train_dataset=prompts(),
                processing_class=tokenizer(),
            )
        )

    what = f"`RLOOTrainer`, {STEPS} steps"
    compare("trl", what, lambda: run(lambda model: model), lambda: run(install), same=equal, rounds=2)


def test_online_dpo(tmp_path):
    online = pytest.importorskip("trl.experimental.online_dpo", reason="this TRL has no OnlineDPO trainer")

    def run(prepare):
        config = online.OnlineDPOConfig(**settings(tmp_path, max_new_tokens=12))
        return trained(
            online.OnlineDPOTrainer(
                model=prepare(decoder()),
                ref_model=copy.deepcopy(decoder()),
                reward_funcs=vowels,
                args=config,
                train_dataset=prompts(),
                processing_class=tokenizer(),
            )
        )

    what = f"`OnlineDPOTrainer`, {STEPS} steps"
    compare("trl", what, lambda: run(lambda model: model), lambda: run(install), same=equal, rounds=2)
