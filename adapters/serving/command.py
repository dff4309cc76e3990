"""``afterlogits serve``: settings to a running server, and how it ends."""

import sys
from collections.abc import Callable

from ..jobs.errors import OK, Stopped, UsageError
from .loaded_models import load_served
from .metrics import Metrics
from .settings import Settings

_MISSING = "afterlogits serve needs {name}: pip install 'afterlogits[serve]'"


def serve(settings: Settings, describe: Callable[[str], str] = lambda name: "", *, quiet: bool = False) -> int:
    """Load the models, serve until SIGTERM or SIGINT, let what is under way finish; the exit status.

    describe: the sentence of an option, for the page. Raises UsageError for what cannot be served.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(_MISSING.format(name=error.name)) from None
    import transformers

    from .app import Application
    from .server import Server

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    metrics = Metrics()
    served = load_served(settings, metrics)

    def announce(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        names = ", ".join(dict.fromkeys(each.task.name for each in served))
        if not quiet:
            print(f"afterlogits: serving {names}\nafterlogits: http://{shown}:{port}", file=sys.stderr, flush=True)

    server = Server(Application(served, settings, metrics, describe), announce=announce)
    try:
        server.run()
    except (Stopped, KeyboardInterrupt):  # uvicorn has ended in order, and raises the signal once more
        return OK
    except SystemExit:
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: is the port in use?") from None
    if not server.started:
        raise UsageError(f"cannot listen on {settings.host}:{settings.port}: is the port in use?")
    return OK
