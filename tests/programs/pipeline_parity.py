"""Every text task against transformers' own pipeline, on drawn texts, for every family of tokenizers.

``python -m tests.programs.pipeline_parity [--cases N] [--write docs/parity.md]`` prints the number of cases and of
mismatches per task and family, and writes them into the document: with transformers 5.23 the tasks that exist there,
with 4.57.6 the ones version 5 removed.
"""

import argparse
import copy
import random
import sys
import time
import warnings
from functools import cache
from pathlib import Path

import torch
import transformers
from packaging.version import Version

from afterlogits.adapters import pipeline
from tests.adapters.tasks.text.table_cases import draw_case, tapas_model, tapas_tokenizer
from tests.builders.text_models import FAMILIES, WORDS, tiny_decoder, tiny_model, tiny_seq2seq, tokenizer_of
from tests.programs.parity_page import parts_without, section_of

VERSION_4 = Version(transformers.__version__).major == 4
NLI = ("contradiction", "neutral", "entailment")
CHAT = (
    "{% for m in messages %}<{{m.role}}>{{m.content}}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
GAPS = (" ", " ", " ", "  ", "\t", "", "\n", "\u00a0")
PIECES = (*WORDS, "ŽŽ", "a\u0323\u0307", "نص", "ﬁ", "½", "''", "[UNK]", "\u200b", "naïveté", "x" * 30)

# Options of each task; every one is tried with every family.
OPTIONS = {
    "ner": [
        {"aggregation_strategy": "none"},
        {"aggregation_strategy": "simple"},
        {"aggregation_strategy": "first"},
        {"aggregation_strategy": "average"},
        {"aggregation_strategy": "max", "ignore_labels": []},
        {"aggregation_strategy": "simple", "stride": 8},
        {"aggregation_strategy": "first", "stride": 3, "ignore_labels": ["O", "LOC"]},
    ],
    "ner split into words": [
        {"aggregation_strategy": "none", "is_split_into_words": True},
        {"aggregation_strategy": "average", "is_split_into_words": True, "delimiter": "_"},
    ],
    "text-classification": [
        {},
        {"top_k": 3},
        {"top_k": None, "function_to_apply": "sigmoid"},
        {"function_to_apply": "none"},
        {"truncation": True, "max_length": 16, "padding": "max_length"},
    ],
    "text-classification of pairs": [{}, {"top_k": 2}, {"truncation": "only_first", "max_length": 40}],
    "zero-shot-classification": [
        {"candidate_labels": ["urgent", "not urgent", "Paris"]},
        {"candidate_labels": "one, two ,three", "multi_label": True},
        {"candidate_labels": "one", "hypothesis_template": "It is {}!"},
        {"candidate_labels": ("Maria", "a river"), "multi_label": True},
    ],
    "fill-mask": [{}, {"top_k": 2}, {"targets": ["Paris", "the", "Berlin"]}],
    "fill-mask with two masks": [{"top_k": 3}, {"tokenizer_kwargs": {"truncation": True, "max_length": 30}}],
    "feature-extraction": [
        {},
        {"truncation": True},
        {"return_tensors": True, "tokenize_kwargs": {"truncation": True, "max_length": 9, "padding": "max_length"}},
    ],
    "table-question-answering": [{}, {"sequential": True}],
    "table-question-answering with aggregation": [{}, {"sequential": True}],
    "text-generation": [
        {"do_sample": False, "max_new_tokens": 8},
        {"max_new_tokens": 6},
        {"do_sample": False, "max_new_tokens": 6, "return_full_text": False, "num_beams": 3, "num_return_sequences": 2},
        {"do_sample": False, "max_new_tokens": 6, "return_tensors": True},
        {"max_new_tokens": 5, "num_return_sequences": 2, "top_p": 0.9},
        {"do_sample": False, "prefix": "Paris is ", "max_length": 60},
        {"do_sample": False, "max_new_tokens": 8, "stop_sequence": "a", "skip_special_tokens": False},
        {"do_sample": False, "max_new_tokens": 50, "handle_long_generation": "hole", "return_full_text": False},
        {"do_sample": False, "max_new_tokens": 4, "tokenizer_encode_kwargs": {"truncation": True, "max_length": 5}},
    ],
    "text-generation from chats": [
        {"do_sample": False, "max_new_tokens": 5},
        {"do_sample": False, "max_new_tokens": 5, "return_full_text": False},
        {"do_sample": False, "max_new_tokens": 5, "continue_final_message": True},
    ],
    "question-answering": [
        {},
        {"top_k": 5},
        {"handle_impossible_answer": True, "max_seq_len": 32, "doc_stride": 8},
        {"align_to_words": False, "top_k": 3, "max_answer_len": 4},
        {"padding": "max_length", "max_seq_len": 48, "max_question_len": 3, "top_k": 2},
    ],
    "question-answering padded on the left": [
        {"top_k": 5},
        {"padding": "max_length", "max_seq_len": 40, "doc_stride": 8, "top_k": 3},
        {"padding": "max_length", "align_to_words": False, "top_k": 3, "handle_impossible_answer": True},
    ],
    "text2text-generation": [{"max_new_tokens": 8}, {"max_new_tokens": 6, "num_beams": 3, "num_return_sequences": 2}],
    "summarization": [{"max_new_tokens": 8}, {"max_new_tokens": 6, "do_sample": True, "num_beams": 1}],
    "translation": [
        {"max_new_tokens": 8, "return_tensors": True},
        {"max_length": 9, "min_length": 4, "return_text": True, "src_lang": "en", "tgt_lang": "fr", "truncation": True},
    ],
    "translation_en_to_fr": [
        {"max_new_tokens": 8, "clean_up_tokenization_spaces": True},
        {"stop_sequence": "a", "max_new_tokens": 12},
    ],
}
IN_VERSION_4 = ("question-answering", "text2text-generation", "summarization", "translation", "translation_en_to_fr")
NOW = [task for task in OPTIONS if task.split(" ")[0] not in IN_VERSION_4]
REMOVED = [task for task in OPTIONS if task not in NOW]
TASKS = REMOVED if VERSION_4 else NOW
WITHOUT_OFFSETS = (
    "question-answering",
    "text-classification",
    "zero-shot-classification",
    "fill-mask",
    "feature-extraction",
    "ner",
)


def families(task):
    """The families a task is tried with: the one without offsets where transformers takes it."""
    if task.startswith("table"):
        return ("tapas",)
    return (*FAMILIES, "characters") if task in WITHOUT_OFFSETS else FAMILIES


def options_of(task, family):
    """Its options; a slow tokenizer takes fewer."""
    slow = family == "characters" and task == "ner"
    return OPTIONS[task][:2] if slow else OPTIONS[task]


def draw_text(drawn, most=40):
    """Words of many scripts with gaps of many kinds; now and then characters from anywhere."""
    parts = []
    for _ in range(drawn.randint(1, most)):
        word = drawn.choice(PIECES)
        if drawn.random() < 0.05:
            word = "".join(
                chr(drawn.choice((drawn.randint(33, 0x7FF), drawn.randint(0x1F300, 0x1F64F)))) for _ in "abc"
            )
        parts += [word, drawn.choice(GAPS)]
    return "".join(parts).strip() or "x"


def draw_item(task, drawn, tokenizer):
    if task.startswith("table"):
        table, queries = draw_case(drawn.random())
        return {"table": table, "query": queries if len(queries) > 1 or drawn.random() < 0.5 else queries[0]}
    if task == "ner split into words":
        return draw_text(drawn, 20).split() or ["x"]
    if task == "text-classification of pairs":
        return {"text": draw_text(drawn, 15), "text_pair": draw_text(drawn, 15)}
    if task.startswith("fill-mask"):
        masks = 2 if task.endswith("two masks") else 1
        words = draw_text(drawn, 15).split(" ")
        for _ in range(masks):
            words.insert(drawn.randrange(len(words) + 1), tokenizer.mask_token)
        return " ".join(words)
    if task == "text-generation from chats":
        chat = [{"role": "user", "content": draw_text(drawn, 6)}]
        return chat + ([{"role": "assistant", "content": "Paris"}] if drawn.random() < 0.5 else [])
    if task.startswith("question-answering"):
        return {"question": draw_text(drawn, 4), "context": draw_text(drawn, 60)}
    return draw_text(drawn, 8 if task in ("text-generation", *REMOVED) else 40)


@cache
def pipes(task, family):
    """Transformers' pipeline and this one, over one model and tokenizer."""
    name = task.split(" ")[0]
    tokenizer = tapas_tokenizer() if family == "tapas" else copy.deepcopy(tokenizer_of(family, 64))
    if task.endswith("on the left"):
        tokenizer.padding_side = "left"
    if name == "text-generation":
        tokenizer.chat_template = CHAT
        model = tiny_decoder(tokenizer)
    elif name in IN_VERSION_4[1:]:
        model = tiny_seq2seq(tokenizer)
    elif name == "zero-shot-classification":
        model = tiny_model("text-classification", tokenizer, labels=NLI, spread=4.0)
    elif family == "tapas":
        model = tapas_model("aggregation" in task)
    else:
        model = tiny_model({"ner": "token-classification"}.get(name, name), tokenizer)
    arguments = {"model": model, "tokenizer": tokenizer, "device": "cpu"}
    return transformers.pipeline(name, **arguments), pipeline(name, **arguments), tokenizer


def answers(pipe, items, options):
    """What a pipeline gives for each item on its own terms: a result, or the exception it raises."""
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            inputs = copy.deepcopy(items) if isinstance(items, list) else items
            return list(pipe(inputs, **copy.deepcopy(options)))
        except BaseException as error:
            # The tokenizers' Rust side panics outside Exception where a question leaves no room for the context.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            return error


def equal(theirs, ours, tolerance=1e-6):
    """Equal texts, numbers, order and counts; floats within ``tolerance`` of their size or of 1."""
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.tolist()
    if isinstance(ours, torch.Tensor):
        ours = ours.tolist()
    if isinstance(theirs, dict):
        return (
            isinstance(ours, dict)
            and list(theirs) == list(ours)
            and all(equal(theirs[name], ours[name], tolerance) for name in theirs)
        )
    if isinstance(theirs, list | tuple):
        same = isinstance(ours, list | tuple) and len(theirs) == len(ours)
        return same and all(equal(a, b, tolerance) for a, b in zip(theirs, ours, strict=True))
    if theirs is None or isinstance(theirs, str | bool | int):
        return type(theirs) is type(ours) and theirs == ours
    return type(ours) is float and abs(float(theirs) - ours) <= tolerance * max(1.0, abs(float(theirs)))


def mismatches(task, family, items, options):
    """(items compared, descriptions of those that differ, how many more a forward pass alone had rounded apart).

    A call that raises on one side must raise on the other. An item that differs runs again with a batch of its own, as
    transformers runs it: if it is equal then, only the model's last bit, which depends on the shape of its batch, had
    made the difference (two labels that tie, the other way round).
    """
    library, ours, _ = pipes(task, family)
    theirs = answers(library, _at_least_two(items), options)
    if isinstance(theirs, BaseException):  # the items that transformers refuses are left out
        items = [item for item in items if not isinstance(answers(library, [item], options), BaseException)] or items
        theirs = answers(library, _at_least_two(items), options)
    items = _at_least_two(items)
    found = answers(ours, items, options)
    if isinstance(theirs, BaseException) or isinstance(found, BaseException):
        both = isinstance(theirs, BaseException) and isinstance(found, BaseException)
        return len(items), [] if both else [f"{task} {family} {options}: {theirs!r:.200} / {found!r:.200}"], 0
    if len(theirs) != len(found):
        return len(items), [f"{task} {family} {options}: {len(theirs)} results / {len(found)}"], 0
    # Hidden states are sums over a padded batch: their error is that of the sum, not of the value.
    tolerance = 1e-5 if task == "feature-extraction" else 1e-6
    differ = [number for number, pair in enumerate(zip(theirs, found, strict=True)) if not equal(*pair, tolerance)]
    alone = answers(ours, items, {**options, "batch_size": 1}) if differ else found
    wrong = [number for number in differ if not equal(theirs[number], alone[number], tolerance)]
    described = [
        f"{task} {family} {options}\n  item   {items[number]!r:.300}\n  theirs {theirs[number]!r:.600}\n"
        f"  ours   {found[number]!r:.600}"
        for number in wrong
    ]
    return len(items), described, len(differ) - len(wrong)


def _at_least_two(items):
    """Some tasks unwrap a list of one; two keep their shape."""
    return items * 2 if len(items) == 1 else items


HEADING = """# Parity of the text tasks

The number of drawn inputs answered by this package and by transformers' own pipeline of the same name, over one tiny
random model and one tokenizer of each family, and how many answers differ: in any text, label, offset, word, count or
order, or in a score by more than 1e-6 (1e-5 for hidden states). The options of each task are in
`tests/programs/pipeline_parity.py`; where transformers raises, this package must raise. "Rounded apart" are answers
that are transformers' once the item runs in a batch of its own, as transformers runs it: the last bit of a matrix
product depends on the shape of the batch, and turned two labels that tie. `make parity-tasks` prints these tables
and writes this page.
"""


def write_section(path, version, seed, minutes, counts):
    """Put a run's counts in the document, in place of its version's: {(task, family): (cases, mismatches, rounded)}."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    title = f"## transformers {version}"
    kept = parts_without(text, title)[1:]  # the heading is written anew
    section = section_of(title, counts, seed=seed, minutes=minutes, column="tokenizer")
    path.write_text("\n\n".join([HEADING.strip(), *sorted([*kept, section], reverse=True)]) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000, help="drawn inputs per task, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", choices=TASKS, metavar="TASK", help="these tasks alone; nothing written")
    parser.add_argument("--write", type=Path, help="the document that takes the counts")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, seed {arguments.seed}")
    print(f"{'task':44}{'tokenizer':12}{'cases':>8}{'mismatches':>12}{'rounded apart':>15}{'minutes':>9}")
    counts = {}
    started = time.monotonic()
    for task in arguments.tasks or TASKS:
        calls = sum(len(options_of(task, family)) for family in families(task))
        items = max(2, -(-arguments.cases // calls))
        for family in families(task):
            counts[task, family] = count_mismatches(task, family, items, arguments.seed)
            minutes = (time.monotonic() - started) / 60
            print("{:44}{:12}{:8}{:12}{:15}{:9.1f}".format(task, family, *counts[task, family], minutes), flush=True)
    total, wrong, rounded = (sum(column) for column in zip(*counts.values(), strict=True))
    print(f"{'all':56}{total:8}{wrong:12}{rounded:15}{minutes:9.1f}")
    if arguments.write and not arguments.tasks:
        write_section(arguments.write, transformers.__version__, arguments.seed, minutes, counts)
    return 1 if wrong else 0


def count_mismatches(task, family, items, seed):
    """(cases, mismatches, rounded apart) of one task with one tokenizer, 40 items a call; the first few are printed."""
    drawn = random.Random(f"{seed} {task} {family}")
    cases = wrong = rounded = 0
    for options in options_of(task, family):
        for first in range(0, items, 40):
            drawn_items = [draw_item(task, drawn, pipes(task, family)[2]) for _ in range(min(40, items - first))]
            count, differ, apart = mismatches(task, family, drawn_items, options)
            if wrong < 3:
                print(*differ[:3], sep="\n", end="\n" if differ else "", file=sys.stderr)
            cases, wrong, rounded = cases + count, wrong + len(differ), rounded + apart
    return cases, wrong, rounded


if __name__ == "__main__":
    sys.exit(main())
