"""Client tests run in an environment of their own (``make test-clients``); elsewhere they are not collected."""

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


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "clients":
            item.add_marker(pytest.mark.filterwarnings("ignore"))


def pytest_sessionfinish(session):
    page = os.environ.get("AFTERLOGITS_CLIENTS_PAGE")
    if page and ROWS:
        write_page(page, complete=session.testsfailed == 0)
