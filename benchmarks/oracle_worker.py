"""The process with an older transformers: reads a job, then runs it as often as asked, timing itself.

It is started by path and imports nothing of this package, so that no other environment leaks into it.
"""

from __future__ import annotations

import pickle
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO


def yardstick() -> float:
    """Seconds of a fixed piece of torch work, some ten milliseconds, small enough to stay on one thread."""
    import torch

    values = torch.full((16_384,), 0.5)
    start = time.perf_counter()
    for _ in range(1500):
        values.sigmoid_()
    return time.perf_counter() - start


def send(stream: Any, message: Any) -> None:
    data = pickle.dumps(message)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def receive(stream: Any) -> Any:
    header = stream.read(8)
    if len(header) < 8:
        raise EOFError
    return pickle.loads(stream.read(struct.unpack("<Q", header)[0]))


def select_starts_ends(payload: dict[str, Any]) -> Callable[[], Any]:
    """One call per window, as the question-answering pipeline makes it."""
    from transformers.pipelines.question_answering import select_starts_ends

    start, end, p_mask = payload["start"], payload["end"], payload["p_mask"]
    options = {"top_k": payload["top_k"], "max_answer_len": payload["max_answer_len"]}

    def run() -> Any:
        windows = (slice(i, i + 1) for i in range(len(start)))
        return [select_starts_ends(start[i], end[i], p_mask[i], None, **options)[:3] for i in windows]

    return run


def question_answering(payload: dict[str, Any]) -> Callable[[], Any]:
    """The whole pipeline on a model of the given configuration and weights."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast, pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(payload["threads"])
    model = BertForQuestionAnswering(BertConfig(**payload["config"])).eval()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in payload["weights"].items()})
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=payload["tokenizer"], **payload["special"])
    call = pipeline("question-answering", model=model, tokenizer=tokenizer, device="cpu")
    pairs = payload["pairs"]

    def run() -> Any:
        return call(question=[q for q, _ in pairs], context=[c for _, c in pairs], **payload["options"])

    return run


def text_to_text(payload: dict[str, Any]) -> Callable[[], Any]:
    """A pipeline over an encoder-decoder that ships with this package."""
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(payload["threads"])
    call = pipeline(payload["task"], model=payload["folder"], tokenizer=payload["folder"], device="cpu")
    return lambda: call(payload["texts"], **payload["options"])


def generate(payload: dict[str, Any]) -> Callable[[], Any]:
    """``model.generate`` of a Llama of the given configuration and weights; the token ids as lists."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(payload["threads"])
    model = LlamaForCausalLM(LlamaConfig(**payload["config"])).eval()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in payload["weights"].items()})
    prompt = torch.from_numpy(payload["prompt"])
    options = {"attention_mask": torch.ones_like(prompt), **payload["options"]}
    return lambda: model.generate(prompt, **options).tolist()


JOBS = {
    "select_starts_ends": select_starts_ends,
    "question-answering": question_answering,
    "text-to-text": text_to_text,
    "generate": generate,
}


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until the other side closes."""
    import transformers

    run: Callable[[], Any] | None = None
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return
        try:
            if run is None or "prepare" in request:
                run = JOBS[request["prepare"]](request["payload"])
                send(replies, {"transformers": transformers.__version__})
                continue
            measured = yardstick()
            start = time.perf_counter()
            answer = run()
            seconds = time.perf_counter() - start
            send(replies, {"seconds": seconds, "yardstick": (measured + yardstick()) / 2, "answer": answer})
        except Exception as error:
            send(replies, {"error": repr(error)})


if __name__ == "__main__":
    # Whatever transformers prints goes to stderr: stdout carries the replies.
    output = sys.stdout.buffer
    sys.stdout = sys.stderr
    serve(sys.stdin.buffer, output)
