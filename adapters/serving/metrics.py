"""Counts and times of a server in Prometheus' text format: requests, errors, queues, batches, latencies, tokens."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence

LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Values counted by upper bounds. Not locked: ``Metrics`` does that."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: Labels) -> list[str]:
        """The samples of one histogram: cumulative buckets, sum and count."""
        found, seen = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            shown = "+Inf" if bound == float("inf") else f"{bound:g}"
            found.append(f"{name}_bucket{_labels((*labels, ('le', shown)))} {seen}")
        return [*found, f"{name}_sum{_labels(labels)} {self.total:.6f}", f"{name}_count{_labels(labels)} {seen}"]


class Metrics:
    """What a server counts. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[Labels, int] = defaultdict(int)
        self._tokens: dict[Labels, int] = defaultdict(int)
        self._latencies: dict[Labels, Histogram] = {}
        self._batches: dict[Labels, Histogram] = {}
        self._dropped = 0
        self.queues: dict[str, Callable[[], int]] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered or refused."""
        with self._lock:
            self._requests[("route", route), ("status", str(status))] += 1
            self._latencies.setdefault((("route", route),), Histogram(LATENCIES)).add(seconds)

    def batch(self, model: str, size: int) -> None:
        """A batch, or a step of a running one, had so many rows."""
        with self._lock:
            self._batches.setdefault((("model", model),), Histogram(BATCHES)).add(size)

    def tokens(self, model: str, prompt: int, generated: int) -> None:
        """A model read and generated so many tokens."""
        with self._lock:
            self._tokens[("kind", "prompt"), ("model", model)] += prompt
            self._tokens[("kind", "generated"), ("model", model)] += generated

    def dropped(self) -> None:
        """A client left before its answer was there."""
        with self._lock:
            self._dropped += 1

    def text(self) -> str:
        """All of it, as Prometheus reads it."""
        with self._lock:
            lines = _family("requests_total", "counter", "Requests by route and status.")
            lines += [f"afterlogits_requests_total{_labels(key)} {n}" for key, n in sorted(self._requests.items())]
            errors: dict[Labels, int] = defaultdict(int)
            for key, n in self._requests.items():
                if int(dict(key)["status"]) >= 400:
                    errors[key[:1]] += n
            lines += _family("errors_total", "counter", "Requests that were refused or failed, by route.")
            lines += [f"afterlogits_errors_total{_labels(key)} {n}" for key, n in sorted(errors.items())]
            lines += _family("clients_left_total", "counter", "Clients that left before their answer was there.")
            lines += [f"afterlogits_clients_left_total {self._dropped}"]
            lines += _family("queue_length", "gauge", "Requests that wait for a model.")
            lines += [
                f"afterlogits_queue_length{_labels((('model', name),))} {length()}"
                for name, length in sorted(self.queues.items())
            ]
            lines += _family("tokens_total", "counter", "Tokens read and generated.")
            lines += [f"afterlogits_tokens_total{_labels(key)} {n}" for key, n in sorted(self._tokens.items())]
            lines += _family("request_seconds", "histogram", "Seconds from a request to its whole answer.")
            for key, each in sorted(self._latencies.items()):
                lines += each.lines("afterlogits_request_seconds", key)
            lines += _family("batch_size", "histogram", "Requests of a batch; of generated texts the rows of a step.")
            for key, each in sorted(self._batches.items()):
                lines += each.lines("afterlogits_batch_size", key)
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP afterlogits_{name} {text}", f"# TYPE afterlogits_{name} {kind}"]


def _labels(pairs: Labels) -> str:
    if not pairs:
        return ""
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    return "{" + inner + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
