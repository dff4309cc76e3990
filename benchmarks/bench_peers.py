"""The same work in other engines that run on a CPU: CTranslate2, llama.cpp's samplers, onnxruntime-genai, seqeval.

They are optional: ``make bench-peers`` installs them into an environment of their own. An engine that is not installed
skips its entries with that reason.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from afterlogits import generate
from afterlogits.benchmarks import library, workloads
from afterlogits.benchmarks.answers import UnequalAnswers, require_same
from afterlogits.decoding import Sampler, SamplingParams
from afterlogits.postprocess.text.labels import read_labels
from afterlogits.postprocess.text.tagging import group_entities

TABLE = "peers"
pytestmark = [pytest.mark.peers, pytest.mark.cpu_only]
VOCAB = workloads.VOCABULARIES["llama-2"]
NEW = 48


def words(vocab_size):
    """A vocabulary of made-up words for engines that speak in tokens rather than ids."""
    return ["<unk>", "<s>", "</s>", *(f"w{index}" for index in range(3, vocab_size))]


def convert(model, vocab_size, folder):
    """A model converted by CTranslate2's own converter, without a tokenizer's files."""
    ctranslate2 = pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed (make bench-peers)")
    from ctranslate2.converters import transformers as converters

    tokens = words(vocab_size)
    tokenizer = SimpleNamespace(
        get_vocab=lambda: {token: index for index, token in enumerate(tokens)},
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        added_tokens_decoder={},
        convert_ids_to_tokens=tokens.__getitem__,
    )

    class Converter(converters.TransformersConverter):
        def load_model(self, model_class, path, **options):
            return model_class.from_pretrained(path, **options).eval()

        def load_tokenizer(self, tokenizer_class, path, **options):
            return tokenizer

    source, target = Path(folder) / "source", Path(folder) / "converted"
    model.save_pretrained(source)
    Converter(str(source)).convert(str(target), force=True)
    return ctranslate2, str(target), tokens


@functools.cache
def causal_model():
    model = workloads.tiny_llama(layers=2, hidden=64, vocab_size=VOCAB)
    model.config.bos_token_id, model.config.eos_token_id = 1, 2
    return model


MODES = {
    "greedy": ({"do_sample": False}, {"sampling_topk": 1, "beam_size": 1}),
    "top_k 50 + top_p 0.95": (
        {"do_sample": True, "top_k": 50, "top_p": 0.95, "seeds": list(range(16))},
        {"sampling_topk": 50, "sampling_topp": 0.95, "beam_size": 1},
    ),
    "beam 4": ({"do_sample": False, "num_beams": 4}, {"beam_size": 4, "length_penalty": 1}),
}


@pytest.mark.parametrize("mode", [*MODES])
def bench_ctranslate2_causal(pair, mode):
    """Every row writes as many tokens as asked: no token ends a sentence on either side."""
    ours_options, their_options = MODES[mode]
    model = causal_model()
    with tempfile.TemporaryDirectory() as folder:
        ctranslate2, path, tokens = convert(model, VOCAB, folder)
        threads = torch.get_num_threads()
        engine = ctranslate2.Generator(path, device="cpu", intra_threads=threads, inter_threads=1)
        prompt = workloads.prompts(16, 32, VOCAB - 3) + 2
        start = [[tokens[index] for index in row] for row in prompt.tolist()]
        common = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": NEW, "min_new_tokens": NEW}

        def ours():
            return generate(model, prompt, pad_token_id=0, **common, **ours_options)[:, prompt.shape[1] :]

        def theirs():
            results = engine.generate_batch(
                start,
                max_length=NEW,
                min_length=NEW,
                include_prompt_in_result=False,
                end_token=[],
                **their_options,
            )
            return torch.tensor([result.sequences_ids[0] for result in results])

        pair(
            f"CTranslate2: {mode}, Llama 2 x 64, V=32,000, B=16, 48 tokens",
            table=TABLE,
            ours=ours,
            rivals={"CTranslate2": theirs},
            same=same_shape if "top_k" in mode else require_same,
            memory=("ours",),
            note="its memory is its own and not measured",
        )


def bench_ctranslate2_translation(pair):
    """Beam search of an encoder-decoder of Marian's size, float32 on both sides."""
    vocab_size, length, num_beams = 58_101, 32, 4
    config = workloads.marian_sized(vocab_size)
    model = workloads.from_config("BartForConditionalGeneration", config)
    ids = {word: index for index, word in enumerate(words(vocab_size))}
    with tempfile.TemporaryDirectory() as folder:
        ctranslate2, path, tokens = convert(model, vocab_size, folder)
        threads = torch.get_num_threads()
        engine = ctranslate2.Translator(path, device="cpu", intra_threads=threads, inter_threads=1)
        source = workloads.prompts(8, 24, vocab_size - 3) + 2
        texts = [[tokens[index] for index in row] for row in source.tolist()]
        common = {"max_new_tokens": length, "min_new_tokens": length, "num_beams": num_beams, "do_sample": False}

        def ours():
            output = generate(model, source, attention_mask=torch.ones_like(source), early_stopping=False, **common)
            return output[:, 1 : length + 1]

        def theirs():
            results = engine.translate_batch(
                texts,
                beam_size=num_beams,
                max_decoding_length=length,
                min_decoding_length=length,
                length_penalty=1,
                end_token=[],
                suppress_sequences=[["</s>"]],  # as min_new_tokens does here: no beam spends a place on it
            )
            return torch.tensor([[ids[token] for token in result.hypotheses[0]] for result in results])

        pair(
            "CTranslate2: beam 4, encoder-decoder of Marian's size, B=8, 32 tokens",
            table=TABLE,
            ours=ours,
            rivals={"CTranslate2": theirs},
            memory=("ours",),
            rounds=3,
            note="its memory is its own and not measured",
        )


def same_shape(ours, theirs):
    if ours.shape != theirs.shape:
        raise UnequalAnswers(f"ours has shape {list(ours.shape)}, theirs {list(theirs.shape)}")


@pytest.mark.parametrize("batch_size", [1, 8])
def bench_llama_cpp_sampling(pair, batch_size):
    """llama.cpp's chain on the same logits: temperature, top-k, top-p, then the draw; one row after the other."""
    llama = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (make bench-peers)")
    np = pytest.importorskip("numpy")
    logits = workloads.peaked(batch_size)
    vocab_size = logits.shape[1]
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    for sampler in (
        llama.llama_sampler_init_temp(0.8),
        llama.llama_sampler_init_top_k(50),
        llama.llama_sampler_init_top_p(0.95, 1),
        llama.llama_sampler_init_dist(7),
    ):
        llama.llama_sampler_chain_add(chain, sampler)
    kind = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    table, rows = np.zeros(vocab_size, kind), logits.numpy()
    ids = np.arange(vocab_size, dtype=np.int32)
    data = table.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))

    def theirs():
        drawn = []
        for row in rows:  # as llama.cpp itself fills its candidates before every draw
            table["id"], table["logit"], table["p"] = ids, row, 0
            candidates = llama.llama_token_data_array(data=data, size=vocab_size, selected=-1, sorted=False)
            llama.llama_sampler_apply(chain, ctypes.byref(candidates))
            drawn.append(int(candidates.data[candidates.selected].id))
        return torch.tensor(drawn)

    params = SamplingParams(temperature=0.8, top_k=50, top_p=0.95)
    seeds = list(range(batch_size))
    sampler = Sampler(params, batch_size=batch_size, vocab_size=vocab_size, device="cpu", seeds=seeds)
    pair(
        f"llama.cpp: top_k 50 + top_p 0.95, B={batch_size}",
        table=TABLE,
        ours=lambda: sampler.select(logits),
        rivals={"llama.cpp": theirs},
        data=logits,
        same=library.in_support(library.warpers(temperature=0.8, top_k=50, top_p=0.95), logits),
        memory=("ours",),
        rounds=20,
        note="its table of candidates is filled with numpy in the clock: each draw needs a fresh one",
    )
    llama.llama_sampler_free(chain)


def bench_onnxruntime_genai(pair):
    """The same small model built for onnxruntime-genai, greedy; the builder needs onnx and no network."""
    genai = pytest.importorskip("onnxruntime_genai", reason="onnxruntime-genai is not installed (make bench-peers)")
    pytest.importorskip("onnx_ir", reason="onnx-ir, which its model builder needs, is not installed")
    model = causal_model()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "built"
        model.save_pretrained(source)
        workloads.wordpiece_tokenizer().save_pretrained(source)  # the builder copies one; token ids go in and out
        build = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", "fp32", "-e", "cpu"]
        build += ["-i", str(source), "-o", str(target), "-c", str(Path(folder) / "cache")]
        built = subprocess.run(build, capture_output=True, text=True, check=False)
        if built.returncode:
            pytest.skip(f"its model builder failed: {built.stderr.strip().splitlines()[-1]}")
        engine = genai.Model(str(target))
        prompt = workloads.prompts(16, 32, VOCAB - 3) + 2
        length = prompt.shape[1] + NEW
        common = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": NEW, "min_new_tokens": NEW}

        def theirs():
            options = genai.GeneratorParams(engine)
            options.set_search_options(max_length=length, min_length=length, batch_size=len(prompt), do_sample=False)
            generator = genai.Generator(engine, options)
            generator.append_tokens(prompt.numpy().astype("int32"))
            while not generator.is_done():
                generator.generate_next_token()
            return torch.stack([torch.as_tensor(generator.get_sequence(row)) for row in range(len(prompt))])

        pair(
            "onnxruntime-genai: greedy, Llama 2 x 64, V=32,000, B=16, 48 tokens",
            table=TABLE,
            ours=lambda: generate(model, prompt, pad_token_id=0, do_sample=False, **common),
            rivals={"onnxruntime-genai": theirs},
            memory=("ours",),
            rounds=3,
        )


def bench_seqeval_chunks(pair):
    """Entities as (item, name, first token, last token) from the same logits: argmax and labels there."""
    metrics = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="seqeval is not installed")
    labels = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    logits = torch.randn(256, 128, len(labels), generator=torch.Generator().manual_seed(0))
    logits[..., 0] += 2
    keep, scheme = torch.ones(logits.shape[:2], dtype=torch.bool), read_labels(labels)

    def ours():
        found = group_entities(logits, keep, scheme, aggregation_strategy="simple")
        columns = (found.item, found.name, found.first_token, found.last_token)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [(item, scheme.names[name], first, last) for item, name, first, last in rows]

    def theirs():
        tags = [[labels[index] for index in row] for row in logits.argmax(-1).tolist()]
        return [(item, *chunk) for item, row in enumerate(tags) for chunk in metrics.get_entities(row)]

    pair(
        "seqeval: chunks of 256 sentences of 128 tokens",
        table=TABLE,
        ours=ours,
        rivals={"seqeval": theirs},
        data=logits,
        note="ours computes the probabilities as well",
    )
