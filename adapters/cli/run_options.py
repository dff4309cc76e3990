"""The options of ``afterlogits run`` that every task has: files, model and batches, the job, other machines."""

import argparse
from typing import Any

from ..jobs.formats import INPUT_FORMATS, OUTPUT_FORMATS
from ..tasks.audio.formats import FORMATS

MAX_LINE = 8_000_000


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Files, model, job and engine, each a group of the help."""
    _add_files(parser.add_argument_group("files"))
    _add_model(parser.add_argument_group("model"))
    _add_job(parser.add_argument_group("the job"))
    _add_engine(parser.add_argument_group("many machines"))


def _add_files(group: Any) -> None:
    """What is read, what is written, and in which form."""
    group.add_argument("--input", required=True, help="a file or a folder; - is standard input")
    group.add_argument(
        "--output", required=True, help="the answers in input order, whole or absent; - is standard output"
    )
    group.add_argument(
        "--format", choices=INPUT_FORMATS, default="auto", help=f"of the input: {', '.join(INPUT_FORMATS)}"
    )
    group.add_argument(
        "--output-format", choices=OUTPUT_FORMATS, default="auto", help=f"of the output: {', '.join(OUTPUT_FORMATS)}"
    )
    group.add_argument(
        "--columns", metavar="FIELD=COLUMN,...", help="which column holds a field: question=q,context=doc"
    )
    group.add_argument("--keep", metavar="NAMES", help="input columns to carry into the output, or all")
    group.add_argument("--pictures", metavar="FOLDER", help="draw every answer on its picture, a PNG each")
    group.add_argument("--subtitles", metavar="FOLDER", help="write the words of every recording, a file each")
    group.add_argument(
        "--subtitle-format", choices=tuple(FORMATS), default="srt", help=f"{', '.join(FORMATS)} (default: srt)"
    )
    group.add_argument("--flat", action="store_true", help="one row an answer instead of one an item")
    group.add_argument(
        "--max-line",
        type=int,
        default=MAX_LINE,
        metavar="BYTES",
        help=f"a longer line is an error record (default: {MAX_LINE:,})",
    )


def _add_model(group: Any) -> None:
    """Which model, where it runs, and how large its batches are."""
    group.add_argument("--model", help="a folder or a name on the hub; default: the small one that ships")
    group.add_argument("--tokenizer", help="if it is not the model's own")
    group.add_argument("--revision", help="of a model on the hub")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: the first accelerator, else the CPU")
    group.add_argument("--dtype", help="float32, bfloat16, ...; default: the checkpoint's own")
    group.add_argument(
        "--batch-tokens", type=int, metavar="N", help="token budget of a batch; default: 2048, or 32768 on a GPU"
    )
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="most rows of a batch; default: as the budget allows"
    )
    group.add_argument("--corrected", action="store_true", help="the corrected results (compat=False)")
    group.add_argument(
        "--allow-new-weights",
        action="store_true",
        help="run a model whose head is not in the checkpoint: random answers",
    )


def _add_job(group: Any) -> None:
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws of a line come from N and its number (default: 0)"
    )
    group.add_argument("--restart", action="store_true", help="drop what an unfinished job has done")
    group.add_argument("--dry-run", action="store_true", help="answer five items, and say what the job would do")
    group.add_argument("--log", metavar="FILE", help="append JSON events: start, commit, failure, end")
    group.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_engine(group: Any) -> None:
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: the same job on Ray Data")
    group.add_argument("--workers", type=int, metavar="N", help="actors of Ray; default: one fewer than its CPUs")
    group.add_argument("--gpus-per-worker", type=float, metavar="F", help="GPUs, or a fraction of one, for each")
    group.add_argument("--address", help="of a running cluster; default: this machine")
