"""Every method of transformers' image processors is known here, or its reason is on the page."""

import ast
import re
from pathlib import Path

import pytest
import transformers

from afterlogits.adapters.tasks.vision.families import _SUFFIX
from afterlogits.adapters.tasks.vision.post_process import ALL_METHODS

PAGE = Path(__file__).parents[4] / "docs" / "semantics" / "vision-kernels.md"
V5 = not transformers.__version__.startswith("4.")


def methods_of_transformers():
    """(family, method) of every image processor, read from the source: many cannot be imported without torchvision."""
    models = Path(transformers.__file__).parent / "models"
    for path in sorted(models.glob("*/image_processing*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef) or "Kwargs" in node.name:
                continue
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and re.match(r"post_process_|filter_masks$", part.name):
                    yield _SUFFIX.sub("", node.name), part.name


def reasons():
    """(class, method) of the page's table of methods that run as they are."""
    section = PAGE.read_text().split("## `install_postprocess`")[1].split("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].startswith("`") and cells[1].startswith("`") and cells[2]:
            names = [re.findall(r"`([^`]+)`", cell) for cell in cells[:2]]
            yield from ((family, method) for family in names[0] for method in names[1])


@pytest.mark.skipif(not V5, reason="the page is that of 5.23")
def test_every_method_is_known_or_has_its_reason():
    there, known = set(methods_of_transformers()), {(f, m) for m, families in ALL_METHODS.items() for f in families}
    assert len(there) > 70
    explained = set(reasons())
    assert there - known - explained == set()
    assert explained <= there and not explained & known  # no reason for what is not there, or is known
