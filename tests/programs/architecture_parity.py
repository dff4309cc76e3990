"""Every text-generating architecture of the installed transformers, tiny and random: our tokens against transformers'.

``python -m tests.programs.architecture_parity`` runs all of them and writes docs/architectures.md; names as arguments
run those alone and print what differs. ``--results FILE`` keeps what has been found, a line an architecture, and goes
on from there. The modes share one batch of left-padded prompts of unequal length.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from afterlogits.adapters import generate
from tests.builders.architectures import DECODER_ONLY, ENCODER_DECODER, EOS, PAD, class_name, tiny_inputs, tiny_model
from tests.programs import own_generate_parity

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_p": 0.9},
    "beam 4": {"num_beams": 4},
    "beam-sample": {"num_beams": 3, "do_sample": True},
    "3 samples each": {"do_sample": True, "num_return_sequences": 3},
    "beam 4, 2 returned": {"num_beams": 4, "num_return_sequences": 2, "repetition_penalty": 1.2},
}


# Their scans or experts keep default sizes that take minutes here.
LAST = frozenset(["blt", "falcon_h1", "kimi_linear", "nemotron_h", "vibevoice_asr"])


def prompts() -> torch.Tensor:
    """Three prompts of 9, 5 and 8 tokens, padded on the left."""
    ids = torch.randint(3, 99, (3, 9), generator=torch.Generator().manual_seed(5))
    ids[1, :4] = PAD
    ids[2, :1] = PAD
    return ids


def cases() -> list[tuple[str, bool]]:
    """(model type, whether it is encoder-decoder), every one once per kind, the slow ones last."""
    everything = [(name, False) for name in DECODER_ONLY] + [(name, True) for name in ENCODER_DECODER]
    return sorted(everything, key=lambda case: case[0] in LAST)


def compare(model_type: str, encoder_decoder: bool) -> dict[str, str]:
    """Mode -> "same", "library: why it fails itself", or what differs. {"model": why} where none can be made."""
    try:
        model = tiny_model(model_type, encoder_decoder=encoder_decoder)
        inputs = tiny_inputs(model, prompts())
    except Exception as error:
        return {"model": f"cannot be made small here: {_line(error)}"}
    return {mode: compare_mode(model, inputs, options) for mode, options in MODES.items()}


def compare_mode(model: Any, inputs: dict[str, Any], options: dict[str, Any]) -> str:
    """One mode of one model."""
    options = {**inputs, "max_new_tokens": 8, "pad_token_id": PAD, "eos_token_id": EOS, **options}
    try:
        if mode_changes_at_first_use(model):
            _seeded(model.generate, options)
        expected, expected_state = _seeded(model.generate, options)
    except Exception as error:
        return f"library: {_line(error)}"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            actual, actual_state = _seeded(lambda **options: generate(model, **options), options)
    except Exception as error:
        return f"raises {_line(error)}"
    if expected.tolist() != actual.tolist():
        return f"differs: {expected.tolist()} became {actual.tolist()}"
    if not torch.equal(expected_state, actual_state):
        return "differs: the random stream ends elsewhere"
    fell = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning) and "own loop" in str(w.message)]
    return f"library's loop: {fell[0]}" if fell else "same"


def mode_changes_at_first_use(model: Any) -> bool:
    """BigBird's first short input switches its attention from sparse and random to full, for good."""
    return "big_bird" in model.config.model_type or "bigbird" in model.config.model_type


def _seeded(call: Any, options: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(23)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        answer = call(**{name: _copy(value) for name, value in options.items()})
    return answer, torch.get_rng_state()


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"


def run(chosen: Iterable[tuple[str, bool]], kept: Path | None = None) -> dict[tuple[str, bool], dict[str, str]]:
    """Compare all ``chosen``, telling on stderr how it goes; what ``kept`` already holds is taken from there."""
    results = {}
    if kept is not None and kept.exists():
        for line in kept.read_text().splitlines():
            model_type, encoder_decoder, outcome = json.loads(line)
            results[model_type, encoder_decoder] = outcome
    for model_type, encoder_decoder in chosen:
        if (model_type, encoder_decoder) in results:
            continue
        start = time.perf_counter()
        results[model_type, encoder_decoder] = outcome = compare(model_type, encoder_decoder)
        if kept is not None:
            with kept.open("a") as file:
                file.write(json.dumps([model_type, encoder_decoder, outcome]) + "\n")
        bad = {mode: text for mode, text in outcome.items() if text != "same"}
        print(f"{model_type:32} {time.perf_counter() - start:5.1f} s  {bad or 'same'}", file=sys.stderr, flush=True)
    return results


def page(results: dict[tuple[str, bool], dict[str, str]], own: dict[str, str]) -> str:
    """docs/architectures.md."""
    same, rest = [], []
    for (model_type, encoder_decoder), outcome in results.items():
        kind = "encoder-decoder" if encoder_decoder else "decoder-only"
        good = [mode for mode, text in outcome.items() if text == "same"]
        other = {mode: text for mode, text in outcome.items() if text != "same"}
        # A mode transformers itself cannot run is no mismatch: the architecture passes in all that exist.
        if good and all(text.startswith("library:") for text in other.values()):
            note = "all" if not other else "all that transformers runs: " + ", ".join(good)
            same.append(f"| {model_type} | {kind} | {note} |")
        else:
            name = class_name(model_type, encoder_decoder)
            reasons = "; ".join(dict.fromkeys(other.values()))
            if name in own:
                reasons = f"`{name}` has a `generate` of its own, which takes other inputs: see below"
            rest.append(f"| {model_type} | {kind} | {', '.join(good) or 'none'} | {reasons} |")
    lines = [
        "# Architectures",
        "",
        "Written by `make parity`. Tiny random models of every architecture that transformers"
        f" {transformers.__version__} generates text with,",
        f"compared token for token with its own `generate`, random stream included: {', '.join(MODES)};",
        "a batch of three left-padded prompts of unequal length. Classes with a `generate` of their own stand last.",
        "",
        f"## The same tokens in every mode: {len(same)}",
        "",
        "| architecture | kind | modes |",
        "|---|---|---|",
        *same,
        "",
        f"## The others: {len(rest)}",
        "",
        "| architecture | kind | same in | why not in the rest |",
        "|---|---|---|---|",
        *rest,
        "",
        *own_generate_parity.section(own),
    ]
    return "\n".join(lines)


def main(names: list[str]) -> int:
    """Run the named architectures, or all and write the page; 1 if any answer differs."""
    transformers.utils.logging.set_verbosity_error()
    kept = None
    if names[:1] == ["--results"]:
        kept, names = Path(names[1]), names[2:]
    chosen = [case for case in cases() if not names or case[0] in names]
    results = run(chosen, kept)
    if not names:
        PAGE.write_text(page({case: results[case] for case in sorted(results)}, own_generate_parity.run([])))
    wrong = [
        case
        for case, outcome in results.items()
        if any(text.startswith(("differs", "raises")) for text in outcome.values())
    ]
    print(f"{len(results)} architectures, {len(wrong)} with a different answer: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
