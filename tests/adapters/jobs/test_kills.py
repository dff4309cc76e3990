"""Jobs killed with SIGKILL: the bounded form of ``python -m tests.programs.job_kills``."""

import random

import pytest

from tests.programs.job_kills import FORMATS, Kills, prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("kills")
    prepare(place, 400)
    return place


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_killed_jobs_give_the_bytes_of_uninterrupted_ones(folder, kind, capsys):
    kills = Kills(folder)
    seconds = kills.uninterrupted(kind)
    kills.before_each_call(kind, every=9)
    kills.at_random(kind, 3, seconds, random.Random(1))
    assert kills.kills >= 7 and kills.jobs >= 4
    assert (kills.differing, kills.early, kills.left) == (0, 0, 0), str(kills)


@pytest.mark.slow
def test_the_long_form(folder):
    for kind in FORMATS:
        kills = Kills(folder)
        seconds = kills.uninterrupted(kind)
        kills.before_each_call(kind)
        kills.at_random(kind, 40, seconds, random.Random(2))
        print(f"{kind}: {kills}")
        assert kills.bad() == 0
