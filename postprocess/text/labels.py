"""What a label name means for grouping: prefixes, types, and where a group of tokens opens and closes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

_Name = TypeVar("_Name", bound=Hashable)

# scheme -> (prefixes, those that open a group, those that close one)
SCHEMES: dict[str, tuple[str, str, str]] = {
    "iob1": ("BI", "B", ""),
    "iob2": ("BI", "B", ""),
    "bioes": ("BIES", "BS", "ES"),
    "bilou": ("BILU", "BU", "LU"),
    "plain": ("", "", ""),
}


@dataclass(frozen=True)
class LabelScheme:
    """Label ids turned into what grouping needs. C labels, G group names."""

    labels: tuple[str, ...]  # [C]
    names: tuple[str, ...]  # [G], the names groups are reported under
    name_of: Tensor  # [C] int64, index into ``names``
    type_of: Tensor  # [C] int64; neighbours group only if equal
    opens: Tensor  # [C] bool: a token of this label always starts a group
    closes: Tensor  # [C] bool: the token after one of this label always starts a group

    def to(self, device: torch.device) -> LabelScheme:
        """The same scheme with its tensors on ``device``."""
        if self.name_of.device == device:
            return self
        columns = (self.name_of, self.type_of, self.opens, self.closes)
        return LabelScheme(self.labels, self.names, *(column.to(device) for column in columns))


def read_labels(labels: Sequence[str], *, scheme: str | None = None, compat: bool = True) -> LabelScheme:
    """Read the label names of a model, in the order of their ids.

    compat=True without a scheme is transformers' reading: "B-" opens, "I-" continues, anything else continues a
    neighbour of the very same label, and a group is named by what follows the first "-" of its first label, so that
    "date-time" becomes "time" and the groups of E- and S- labels are split off.
    compat=False, or a ``scheme`` ("iob1", "iob2", "bioes", "bilou", "plain"), reads the prefixes of that scheme and
    nothing else: "date-time" stays whole. Without a scheme it is told from the prefixes in use. A continuation with
    nothing to continue opens a group, as in the CoNLL evaluation script; so IOB1 and IOB2 group alike.
    >>> read_labels(["O", "B-PER", "I-PER", "date-time"]).names
    ('O', 'PER', 'time')
    >>> read_labels(["O", "B-PER", "E-PER", "date-time"], compat=False).names
    ('O', 'PER', 'date-time')
    """
    if scheme is None and not compat:
        scheme = infer_scheme(labels)
    if scheme is not None and scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}; got {scheme!r}")
    prefixes, opening, closing = ("BI", "B", "") if scheme is None else SCHEMES[scheme]
    split = [_split(label, prefixes) for label in labels]
    names, kinds = _names_and_kinds(labels, split, scheme)
    name_ids, type_ids = _numbered(names), _numbered(kinds)
    return LabelScheme(
        labels=tuple(labels),
        names=tuple(name_ids),
        name_of=torch.tensor([name_ids[name] for name in names], dtype=torch.long, device="cpu"),
        type_of=torch.tensor([type_ids[kind] for kind in kinds], dtype=torch.long, device="cpu"),
        opens=_prefix_among(opening, split),
        closes=_prefix_among(closing, split),
    )


def _names_and_kinds(
    labels: Sequence[str], split: Sequence[tuple[str, str]], scheme: str | None
) -> tuple[list[str], list[tuple[bool, str]]]:
    """What each label's group is called, and what two neighbours must share to group, [C] each."""
    if scheme is None:
        # Transformers names a group after the first "-" of any label, and takes "O" and "I-O" for one kind.
        return [label.split("-", 1)[-1] for label in labels], [(False, kind) for _, kind in split]
    return [kind for _, kind in split], [(bool(prefix), kind) for prefix, kind in split]


def _numbered(names: Sequence[_Name]) -> dict[_Name, int]:
    """Distinct names, numbered in the order of their first use."""
    return {name: i for i, name in enumerate(dict.fromkeys(names))}


def _prefix_among(prefixes: str, split: Sequence[tuple[str, str]]) -> torch.Tensor:
    """Which labels have one of these prefixes, [C] bool."""
    return torch.tensor([prefix in tuple(prefixes) for prefix, _ in split], dtype=torch.bool, device="cpu")


def infer_scheme(labels: Sequence[str]) -> str:
    """The scheme whose prefixes the labels use: L- or U- make it "bilou", E- or S- "bioes", B- or I- "iob2".

    >>> infer_scheme(["O", "B-PER", "I-PER", "L-PER", "U-PER"])
    'bilou'
    """
    used = {label[0] for label in labels if len(label) > 2 and label[1] == "-"}
    if used & {"L", "U"} and used <= set("BILUO"):
        return "bilou"
    if used & {"E", "S"} and used <= set("BIESO"):
        return "bioes"
    return "iob2" if used & {"B", "I"} else "plain"


def _split(label: str, prefixes: str) -> tuple[str, str]:
    """("B", "PER") for "B-PER" if B is a prefix of the scheme, else ("", label)."""
    if len(label) >= 2 and label[1] == "-" and label[0] in prefixes:
        return label[0], label[2:]
    return "", label
