"""``afterlogits serve`` in a process of its own, for programs that load it: started, asked, measured, ended."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class ServerProcess:
    """A server that runs. ``base``: its address."""

    def __init__(self, process: "subprocess.Popen[bytes]", base: str) -> None:
        self.process, self.base = process, base

    @property
    def memory(self) -> float:
        """Its resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else float("nan")

    @property
    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self, timeout: float = 120) -> http.client.HTTPConnection:
        parts = urlsplit(self.base)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)


@contextmanager
def serving(arguments: Sequence[str]) -> Iterator[ServerProcess]:
    """Run ``afterlogits serve`` on a free port; SIGTERM at the end, which must end it with status 0."""
    command = [sys.executable, "-m", "afterlogits", "serve", "--port", "0", *arguments]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            yield ServerProcess(process, _address(process, Path(log.name)))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise RuntimeError("the server did not end") from None
        if process.returncode != 0:
            raise RuntimeError(f"the server ended with {process.returncode}: {Path(log.name).read_text()[-500:]}")


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Where the server listens, once it says so."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        found = re.search(r"^afterlogits: (http://\S+)", log.read_text(), re.MULTILINE)
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text()[-500:]}")


def ask(connection: http.client.HTTPConnection, path: str, body: Any) -> tuple[int, Any]:
    """One request on a connection that stays open; status and JSON."""
    connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
