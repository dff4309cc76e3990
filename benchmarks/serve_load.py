"""A server under load: ``python -m afterlogits.benchmarks.serve_load`` (``make serve-load``).

1,000 requests one at a time, then the same 32 at once, for an encoder and a decoder of 6 layers of width 384. Every
answer is compared with its answer alone; throughput, waiting times and memory are printed. Exit status 1 where an
answer differs or a bar is missed.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from afterlogits.adapters.checkpoints import path as shipped
from afterlogits.benchmarks.server_process import ServerProcess, ask, serving

LEAST_RATIO = 2.0
WORDS = (
    *("the", "baker", "went", "to", "market", "on", "Monday", "and", "Ada", "Lovelace", "met", "Charles", "Babbage"),
    *("in", "London", "with", "fresh", "bread"),
)

Request = tuple[str, dict[str, Any]]


def encoder(folder: Path) -> str:
    """A random BERT, 6 layers of 384, with the shipped tagger's tokenizer and labels."""
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(shipped("ner"))
    small = transformers.AutoConfig.from_pretrained(shipped("ner"))
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        initializer_range=0.1,
        id2label=small.id2label,
        label2id=small.label2id,
    )
    return _saved(folder / "encoder", transformers.BertForTokenClassification(config), tokenizer)


def decoder(folder: Path) -> str:
    """A random Llama, 6 layers of 384, with the shipped language model's tokenizer."""
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(shipped("text-generation"))
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        intermediate_size=1024,
        initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return _saved(folder / "decoder", transformers.LlamaForCausalLM(config), tokenizer)


def _saved(folder: Path, model: Any, tokenizer: Any) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def tagging(count: int) -> list[Request]:
    drawn = random.Random(0)
    texts = [" ".join(drawn.choices(WORDS, k=drawn.randint(4, 20))) + "." for _ in range(count)]
    return [("/token-classification", {"inputs": text}) for text in texts]


def writing(count: int) -> list[Request]:
    """Prompts of unlike lengths, options and seeds."""
    drawn = random.Random(1)
    found: list[Request] = []
    for number in range(count):
        options: dict[str, Any] = {"max_new_tokens": drawn.randint(4, 24), "seed": number}
        if number % 3 == 0:
            options |= {"do_sample": False}
        else:
            options |= {"temperature": drawn.choice((0.7, 1.0, 1.5)), "top_k": drawn.choice((0, 20, 50))}
        if number % 5 == 0:
            options |= {"repetition_penalty": 1.2}
        prompt = " ".join(drawn.choices(WORDS, k=drawn.randint(1, 12)))
        found.append(("/text-generation", {"inputs": prompt, "parameters": options}))
    return found


def run(server: ServerProcess, requests: Sequence[Request], at_once: int) -> tuple[list[Any], list[float], float]:
    """Answers, seconds each took, and seconds in all, with so many requests under way."""
    answers: list[Any] = [None] * len(requests)
    times = [0.0] * len(requests)
    numbers = iter(range(len(requests)))
    lock = threading.Lock()

    def work() -> None:
        connection = server.connect()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                connection.close()
                return
            start = time.monotonic()
            answers[number] = ask(connection, *requests[number])
            times[number] = time.monotonic() - start

    start = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, times, time.monotonic() - start


def same(one: Any, two: Any) -> bool:
    """Equal, and scores to a hundred thousandth."""
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= 1e-5 * max(1.0, abs(one))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[name], two[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


def measure(name: str, arguments: Sequence[str], requests: Sequence[Request], at_once: int) -> bool:
    """Load one server and print what came of it; whether every answer was right and the bar was met."""
    with serving([*arguments, "--max-queue", "1024"]) as server:
        run(server, requests[: 2 * at_once], at_once)  # what is loaded and compiled once
        before = server.memory
        alone, _, one_by_one = run(server, requests, 1)
        together, times, seconds = run(server, requests, at_once)
        after = server.memory
    failed = sum(status != 200 for status, _ in [*alone, *together])
    different = sum(not same(one, two) for one, two in zip(alone, together, strict=True))
    ratio = one_by_one / seconds
    ordered = sorted(times)
    print(
        f"{name}: {len(requests)} requests, {failed} failed, {different} differ from their answer alone\n"
        f"  one at a time {len(requests) / one_by_one:.0f}/s, {at_once} at once {len(requests) / seconds:.0f}/s: "
        f"{ratio:.2f} x (asked {LEAST_RATIO:g})\n"
        f"  waiting at {at_once} at once: median {ordered[len(ordered) // 2] * 1000:.0f} ms, "
        f"p99 {ordered[int(len(ordered) * 0.99)] * 1000:.0f} ms\n"
        f"  memory {before:.0f} MB before, {after:.0f} MB after",
        flush=True,
    )
    return not failed and not different and ratio >= LEAST_RATIO


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=32)
    known = parser.parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tagger = ["--task", "token-classification", "--model", encoder(folder)]
        writer = ["--task", "text-generation", "--model", decoder(folder)]
        met = [
            measure("encoder 6 x 384", tagger, tagging(known.requests), known.at_once),
            measure("decoder 6 x 384", writer, writing(known.requests), known.at_once),
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
