"""Client tests run in environments of their own (``make test-clients``); elsewhere they are not collected.

AFTERLOGITS_CLIENTS: "all", or "quick" for the first case of every test (``make test-clients-quick``).
AFTERLOGITS_CLIENTS_PAGE: the page that the rows of this run are written into.
"""

import os

import pytest

from .matrix import ROWS, write_page

if not os.environ.get("AFTERLOGITS_CLIENTS"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def unpatched():
    """No test leaves transformers patched behind it."""
    yield
    from afterlogits import unpatch

    unpatch()


def pytest_collection_modifyitems(config, items):
    if os.environ.get("AFTERLOGITS_CLIENTS") != "quick":
        return
    seen, kept, left = set(), [], []
    for item in items:
        name = (item.path, getattr(item, "originalname", item.name))
        (left if name in seen else kept).append(item)
        seen.add(name)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def pytest_sessionfinish(session):
    page = os.environ.get("AFTERLOGITS_CLIENTS_PAGE")
    if page and ROWS:
        write_page(page, complete=session.testsfailed == 0)
