"""Runs ``generate`` of the transformers in this interpreter on cases from standard input; for transformers 4.55.4.

Standard input: a list of {"model", "inputs", "options"} as JSON. Standard output: per case its sequences, and with
``return_dict_in_generate`` whatever else came. Started as a script by the tests, with the oracle's own interpreter.
"""

import contextlib
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from builders.seeded_models import seeded_model


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """What 4.55.4 generates, as lists."""
    model = seeded_model(case["model"])
    inputs = {name: torch.tensor(value) for name, value in case["inputs"].items()}
    options = dict(case["options"])
    if options.pop("logits_only", False):
        with torch.no_grad():
            extra = {"decoder_input_ids": torch.tensor([[0]])} if model.config.is_encoder_decoder else {}
            return {"logits": model(**inputs, **extra).logits[:, -1].tolist()}
    torch.manual_seed(0)
    output = model.generate(**inputs, **options)
    if isinstance(output, torch.Tensor):
        return {"sequences": output.tolist()}
    result = {"sequences": output.sequences.tolist()}
    for name in ("sequences_scores", "beam_indices"):
        value = getattr(output, name, None)
        if value is not None:
            result[name] = value.tolist()
    if getattr(output, "scores", None):
        result["scores"] = [step.tolist() for step in output.scores]
    return result


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cases = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        results = []
        for case in cases:
            try:
                results.append(run_case(case))
            except Exception as error:
                results.append({"error": f"{type(error).__name__}: {error}"})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
