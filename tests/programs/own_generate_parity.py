"""Every class of the installed transformers with a ``generate`` of its own: our answer against its own.

``python -m tests.programs.own_generate_parity`` prints a line a class; ``architecture_parity`` writes them to
docs/architectures.md. A class is equal, or falls through with one warning; where its tiny random model cannot be made
or transformers itself fails on random inputs, that is said. Names as arguments run those classes alone.
"""

from __future__ import annotations

import inspect
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from transformers import GenerationMixin, PreTrainedModel

from afterlogits.adapters import generate
from afterlogits.adapters.generation.model_inputs import CACHE
from tests.builders.architectures import shrunk_class_config
from tests.builders.own_generate import NEEDS, Needs

SECONDS = 60  # of the processor: others may be at work beside
_IDS = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(0))


def classes() -> list[Any]:
    """The classes that generate and whose own ``generate`` is not GenerationMixin's."""
    found = set()
    for name in dir(transformers):
        try:
            kind = getattr(transformers, name)
        except (ImportError, RuntimeError):
            continue
        if not (inspect.isclass(kind) and issubclass(kind, PreTrainedModel) and issubclass(kind, GenerationMixin)):
            continue
        if next(one for one in kind.__mro__ if "generate" in vars(one)) is not GenerationMixin:
            found.add(kind)
    return sorted(found, key=lambda kind: kind.__name__)


def inputs(model: Any) -> Iterator[dict[str, Any]]:
    """What such a class may take: text, codebooks, a picture, a picture and text, sounds of several layouts."""
    config = model.config
    size = getattr(getattr(config, "vision_config", None), "image_size", 32)
    bins = getattr(getattr(config, "encoder_config", config), "num_mel_bins", 80)
    bins = bins if isinstance(bins, int) else 80
    picture = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))

    def sound(*shape: int) -> torch.Tensor:
        return torch.randn(2, *shape, generator=torch.Generator().manual_seed(2))

    if "features" not in model.main_input_name:
        yield {"input_ids": _IDS, "attention_mask": torch.ones_like(_IDS)}
        yield {"input_ids": _IDS.repeat(getattr(config, "num_codebooks", None) or 1, 1)}
        yield {"pixel_values": picture}
        yield {"pixel_values": picture, "input_ids": _IDS}
        yield {"input_values": sound(1, 4000)}
    yield {"input_features": sound(40, bins)}
    yield {"input_features": sound(40, 160)}
    yield {"input_features": sound(bins, 40)}
    yield {"input_features": sound(bins, 2 * (getattr(config, "max_source_positions", None) or 20))}
    yield {"input_features": sound(64, bins), "attention_mask": torch.ones(2, 64, dtype=torch.long)}


def _complete(model: Any) -> Any:
    """The model with what its checkpoints have in their generation configuration: first tokens, languages."""
    own = model.generation_config
    for name in ("bos_token_id", "decoder_start_token_id"):
        if getattr(own, name, None) is None:
            setattr(own, name, 1)
    if "SeamlessM4T" in type(model).__name__:
        for table in ("text_decoder_lang_to_code_id", "t2u_lang_code_to_id", "vocoder_lang_code_to_id"):
            setattr(own, table, {"eng": 3})
        own.id_to_text = own.char_to_id = {}
    return model


def compare(kind: Any) -> str:
    """ "same", "same, by transformers' own loops", what differs, or why nothing could be compared."""
    try:
        torch.manual_seed(0)
        needs = NEEDS.get(kind.__name__, Needs())
        model = _complete(kind(shrunk_class_config(kind.config_class, needs.config)).float().eval())
        for name, value in needs.own.items():
            setattr(model.generation_config, name, value)
    except Exception as error:
        return f"not compared: cannot be made small here ({_line(error)})"
    reasons = []
    speaks = "tgt_lang" in inspect.signature(model.generate).parameters
    for given in inputs(model) if needs.inputs is None else [needs.inputs(model)]:
        given = {**given, "tgt_lang": "eng"} if speaks else given
        options = {name: value for name, value in {"max_new_tokens": 6, **given}.items() if value is not None}
        try:
            expected = _answer(model.generate, options)
        except Exception as error:
            reasons.append(_line(error))
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = _answer(lambda **call: generate(model, **call), options)
            except Exception as error:
                return f"raises {_line(error)}"
        told = [str(one.message) for one in caught if issubclass(one.category, RuntimeWarning)]
        if found != expected:
            return "differs"
        fell = [text for text in told if "own loop" in text]
        return "same" if not fell else "same, by transformers' own loops, with a warning"
    return f"not compared: transformers fails on random inputs ({reasons[-1]})"


def _answer(call: Any, options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    copies = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in options.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return _plain(call(**copies)), torch.get_rng_state().tolist()


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if hasattr(value, "items"):
        return {name: _plain(inner) for name, inner in value.items() if name != CACHE}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, int | float | str | None) else type(value).__name__


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()).replace("|", "/")
    return f"{type(error).__name__}: {text[:90]}"


def run(names: list[str]) -> dict[str, str]:
    """Class name -> outcome, each within ``SECONDS``."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGPROF, stop)
    outcomes = {}
    for kind in classes():
        if names and kind.__name__ not in names:
            continue
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            outcomes[kind.__name__] = compare(kind)
        except KeyboardInterrupt:
            outcomes[kind.__name__] = f"not compared: over {SECONDS} s here"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(f"{kind.__name__:44} {outcomes[kind.__name__]}", file=sys.stderr, flush=True)
    return outcomes


def section(outcomes: dict[str, str]) -> list[str]:
    """The lines of docs/architectures.md."""
    compared = [text for text in outcomes.values() if not text.startswith("not compared")]
    return [
        f"## Classes with a `generate` of their own: {len(outcomes)}, {len(compared)} compared",
        "",
        "Answer and random stream of a call on random inputs. The many ways to call Whisper are tests of their own",
        "(`tests/adapters/generation/test_whisper.py`).",
        "",
        "| class | outcome |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in outcomes.items()),
        "",
    ]


def main(names: list[str]) -> int:
    """Print the outcomes; 1 if an answer differs."""
    transformers.utils.logging.set_verbosity_error()
    outcomes = run(names)
    wrong = [name for name, text in outcomes.items() if text.startswith(("differs", "raises"))]
    print(f"{len(outcomes)} classes, {len(wrong)} with a different answer: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
