"""How the demonstration prints: titles, what goes in (``in``), what comes out (``out``)."""

import sys
import textwrap


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def show(mark: str, text: str) -> None:
    """One line in (``>``) or out, wrapped under itself."""
    indent = "  " + mark + " "
    print(textwrap.fill(" ".join(text.split()), 110, initial_indent=indent, subsequent_indent=" " * len(indent)))


def percent(score: float) -> str:
    return f"{100 * float(score):.1f} %"
