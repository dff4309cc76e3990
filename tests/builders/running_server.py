"""A server on a free port of this machine, in a thread of the test's own process, for as long as a ``with`` lasts."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from afterlogits.adapters.serving.app import Application
from afterlogits.adapters.serving.loaded_models import load_served, of_pipeline
from afterlogits.adapters.serving.metrics import Metrics
from afterlogits.adapters.serving.server import Server
from afterlogits.adapters.serving.settings import Limits, Settings


@contextmanager
def running(*pipes: Any, names: Any = (), settings: Any = None, **limits: Any) -> Iterator[str]:
    """Serve pipelines; gives the address. limits: those of ``Limits``; names: of the models, "model" where there are
    none."""
    metrics = Metrics()
    bounds = Limits(**limits)
    served = [
        of_pipeline(pipe, bounds, metrics, names[place] if place < len(names) else "model")
        for place, pipe in enumerate(pipes)
    ]
    with _running(Application(served, Settings(port=0, limits=bounds, **(settings or {})), metrics)) as base:
        yield base


@contextmanager
def running_settings(settings: Settings) -> Iterator[str]:
    """Serve what a command's settings say, on a free port; gives the address."""
    metrics = Metrics()
    found = replace(settings, port=0)
    with _running(Application(load_served(found, metrics), found, metrics)) as base:
        yield base


@contextmanager
def _running(application: Application) -> Iterator[str]:
    server = Server(application)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        if time.monotonic() > until or not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.005)
    host, port = server.address
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"
