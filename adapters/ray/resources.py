"""How much of a cluster an actor takes, so that reading is never starved."""

from typing import Any

from ..running.extras import need


def need_ray() -> Any:
    """The module ``ray`` with ``ray.data``."""
    need("ray.data", "ray", "Ray Data")
    return need("ray", "ray", "Ray Data")


def actor_count(workers: int | tuple[int, int] | None, cpus: float, reserve: float = 1) -> int | tuple[int, int]:
    """The actors to start: as many as were asked for, else one a CPU beside those that are reserved.

    >>> actor_count(None, 8), actor_count(None, 1), actor_count((1, 4), 2)
    (7, 1, (1, 4))
    """
    return max(1, int(cpus - reserve)) if workers is None else workers


def cpus_of_actor(actors: int | tuple[int, int], cpus: float, asked: float | None = None, reserve: float = 1) -> float:
    """The CPUs an actor takes: one, or the fraction that leaves ``reserve`` CPUs (half of the only one) to tasks.

    As many actors of one CPU as the cluster has leave nothing for the tasks that read: the job would wait for ever.
    >>> cpus_of_actor(1, 2), cpus_of_actor(2, 2), cpus_of_actor(4, 1)
    (1, 0.5, 0.125)
    """
    most = actors[1] if isinstance(actors, tuple) else actors
    room = cpus - reserve if cpus > reserve else cpus / 2
    if asked is not None:
        if asked * most > room:
            raise ValueError(
                f"{most} actors of {asked:g} CPUs must leave {reserve:g} of {cpus:g} CPUs to the tasks that read; "
                f"take fewer actors, or at most {room / most:g} CPUs for each"
            )
        return asked
    share = room / most
    # Below one CPU Ray takes fractions, above it whole ones.
    return 1 if share >= 1 else share


def pool(actors: int | tuple[int, int]) -> Any:
    """Ray's strategy for a pool of so many actors, or of a range of them."""
    from ray.data import ActorPoolStrategy

    if isinstance(actors, tuple):
        return ActorPoolStrategy(min_size=actors[0], max_size=actors[1])
    return ActorPoolStrategy(size=actors)
