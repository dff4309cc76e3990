"""Sections of docs/parity.md: what a run of one of the parity programs counted, by task and model."""

import re


def section_of(title, counts, *, seed, minutes, note="", column="model"):
    """A run's section: {(task, model): (cases, mismatches, rounded apart)}, and their sums."""
    rows = [(f"{task} | {model}", *numbers) for (task, model), numbers in counts.items()]
    rows.append(("**all** |", *(sum(each) for each in zip(*counts.values(), strict=True))))
    lines = [f"| {name} | {cases:,} | {wrong} | {apart} |" for name, cases, wrong, apart in rows]
    head = [f"| task | {column} | cases | mismatches | rounded apart |", "|---|---|---:|---:|---:|"]
    said = [note, ""] if note else []
    return "\n".join([title, "", *said, f"One run, seed {seed}, {minutes:.0f} minutes.", "", *head, *lines])


def parts_without(text, title):
    """The parts of a page, each from its heading on, but for the one of this title."""
    return [part.strip() for part in re.split(r"(?m)^(?=## )", text) if not part.startswith(title)]


def replace_section(path, title, counts, **said):
    """Put a run's section at the end of the page, in place of the one of its title."""
    kept = parts_without(path.read_text(encoding="utf-8"), title)
    path.write_text("\n\n".join([*kept, section_of(title, counts, **said)]) + "\n", encoding="utf-8")
