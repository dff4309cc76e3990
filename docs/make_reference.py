"""The reference of every public name, from the docstrings: ``make docs`` writes a static site to ``build/reference``.

Pages are the packages that users import from; each shows what its ``__all__`` lists, wherever that is defined.
"""

import importlib
import sys
import warnings
from pathlib import Path

import pdoc

PAGES = ("afterlogits", "afterlogits.decoding", "afterlogits.postprocess", "afterlogits.adapters")
ROOMS = ("text", "vision", "audio", "multimodal")


def public_names() -> dict[str, list[str]]:
    """Page to names, each name loaded into its page: the packages load theirs on first use, which pdoc cannot see."""
    found: dict[str, list[str]] = {}
    for page in [*PAGES, *(f"afterlogits.postprocess.{room}" for room in ROOMS)]:
        module = importlib.import_module(page)
        names = list(getattr(module, "__all__", ()))
        if names:
            vars(module).update({name: getattr(module, name) for name in names})
            found[page] = names
    return found


def main(out: Path) -> int:
    names = public_names()
    missing = [f"{page}.{name}" for page, listed in names.items() for name in listed if not _documented(page, name)]
    # The types of a named tuple's fields have no module that pdoc could read them from.
    warnings.filterwarnings("ignore", message="Error parsing type annotation ForwardRef")
    pdoc.render.configure(docformat="markdown", footer_text="afterlogits", show_source=True)
    hidden = [f"!{page}.{name}" for page, name in [*_rooms_without_names(names), *_files_named_as_functions(names)]]
    pdoc.pdoc(*names, *hidden, output_directory=out)
    print(f"{sum(map(len, names.values()))} names on {len(names)} pages: {out / 'index.html'}")
    for name in missing:
        print(f"without a docstring: {name}", file=sys.stderr)
    return 1 if missing else 0


def _documented(page: str, name: str) -> bool:
    value = getattr(importlib.import_module(page), name)
    return bool(getattr(value, "__doc__", None)) or not callable(value)


def _rooms_without_names(names: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Folders that pdoc would otherwise list as pages of their own."""
    found = []
    for page in names:
        folder = Path(importlib.import_module(page).__file__ or "").parent
        for room in sorted(path.parent.name for path in folder.glob("*/__init__.py")):
            if f"{page}.{room}" not in names:
                found.append((page, room))
    return found


def _files_named_as_functions(names: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Files such as ``nms.py``: the page of their package shows the function, theirs would show it again."""
    folders = {page: Path(importlib.import_module(page).__file__ or "").parent for page in names}
    return [
        (page, name) for page, listed in names.items() for name in listed if (folders[page] / f"{name}.py").exists()
    ]


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/reference")))
