"""What an actor takes of a cluster: the tasks that read keep a CPU."""

import pytest

from afterlogits.adapters.ray.resources import actor_count, cpus_of_actor


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 96])
@pytest.mark.parametrize("actors", [1, 2, 7, 96, 500, (1, 4)])
@pytest.mark.parametrize("reserve", [1, 1.5])
def test_reading_is_never_starved(cpus, actors, reserve):
    most = actors[1] if isinstance(actors, tuple) else actors
    share = cpus_of_actor(actors, cpus, reserve=reserve)
    assert 0 < share <= 1
    assert most * share <= (cpus - reserve if cpus > reserve else cpus / 2) + 1e-9


def test_an_actor_a_cpu_but_one_by_default():
    assert [actor_count(None, cpus) for cpus in (1, 2, 8)] == [1, 1, 7]
    assert cpus_of_actor(actor_count(None, 8), 8) == 1


def test_what_would_wait_for_ever_is_refused():
    with pytest.raises(ValueError) as error:
        cpus_of_actor(2, 2, 1)
    assert str(error.value) == (
        "2 actors of 1 CPUs must leave 1 of 2 CPUs to the tasks that read; "
        "take fewer actors, or at most 0.5 CPUs for each"
    )
    assert cpus_of_actor(2, 2, 0.5) == 0.5
