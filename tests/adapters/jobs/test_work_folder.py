"""Shards, the lock and the fingerprint: what survives, what is refused, what is left behind."""

import os
import subprocess
import sys

import pytest

from afterlogits.adapters.jobs.errors import UsageError
from afterlogits.adapters.jobs.work_folder import WorkFolder

FINGERPRINT = {"task": "ner", "option": {"top_k": 3}, "model files": {"a.bin": "00"}}


def digests(*names):
    return [name.encode().ljust(8) for name in names]


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.jsonl"


def commit(folder, *names, last=False, failed=0, reason=None):
    folder.commit(digests(*names), [f'"{name}"\n'.encode() for name in names], failed=failed, reason=reason, last=last)


def test_shards_come_back_in_order(target):
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        commit(folder, "a", "b")
        commit(folder, "c", failed=1, reason="line 3: bad")
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        assert (folder.done, folder.failed, folder.reason, folder.ended) == (3, 1, "line 3: bad", False)
        assert list(folder.digests()) == digests("a", "b", "c")
        commit(folder, "d", last=True)
        assert b"".join(folder.bodies()) == b'"a"\n"b"\n"c"\n"d"\n' == b"".join(folder.rows())
        folder.finish()
    assert os.listdir(target.parent) == []


def test_a_folder_without_shards_leaves_no_trace(target):
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "empty", "no head", "another head"])
def test_what_is_not_whole_is_answered_again(target, harm):
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        for name in "abc":
            commit(folder, name)
        second = folder._shards[1]
    data = second.read_bytes()
    second.unlink()
    if harm != "gone":
        harmed = {
            "cut": data[:-2],
            "changed": data.replace(b'"b"', b'"x"'),
            "empty": b"",
            "no head": b"\xff\n",
            "another head": b"{}\n",
        }
        second.write_bytes(harmed[harm])
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        assert folder.done == 1 and b"".join(folder.bodies()) == b'"a"\n'
        commit(folder, "b", "c", last=True)
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        assert folder.done == 3 and b"".join(folder.bodies()) == b'"a"\n"b"\n"c"\n'


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"task": "fill-mask"}, "task was 'ner', is 'fill-mask'"),
        ({"option": {"top_k": 5}}, "option top_k was 3, is 5"),
        ({"option": {"top_k": 3, "stride": 1}}, "option stride was None, is 1"),
        ({"model files": {"a.bin": "01"}}, "model file a.bin changed"),
        ({"model files": {"a.bin": "00", "b.bin": "00"}}, "model file b.bin changed"),
    ],
)
def test_another_job_is_refused_and_named(target, change, text):
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        commit(folder, "a")
    with pytest.raises(UsageError) as error, WorkFolder(target) as folder:
        folder.begin({**FINGERPRINT, **change})
    assert str(error.value) == f"{target} has an unfinished job: {text}; --restart drops it"
    with WorkFolder(target) as folder:
        folder.begin({**FINGERPRINT, **change}, restart=True)
        assert folder.done == 0
    assert os.listdir(target.parent) == []


def test_two_jobs_on_one_output(target):
    with WorkFolder(target), pytest.raises(UsageError) as error, WorkFolder(target):
        pass
    assert str(error.value) == f"another job is writing {target} (process {os.getpid()})"


def test_a_dead_job_holds_nothing(target):
    code = (
        "import os, sys, pathlib; from afterlogits.adapters.jobs.work_folder import WorkFolder\n"
        f"folder = WorkFolder(pathlib.Path({str(target)!r})).__enter__(); folder.begin({FINGERPRINT!r})\n"
        "folder.commit([b'a' * 8], [b'1'], failed=0, reason=None, last=False); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        assert folder.done == 1


def test_a_system_without_locks_says_so_in_one_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / "in.txt").write_text("Ada\n")
    assert run("in.txt", "out.jsonl") == 2
    error = capsys.readouterr().err
    assert error.startswith("afterlogits: --output needs file locks") and error.count("\n") == 1


def test_a_fingerprint_that_cannot_be_read_is_one_line(target):
    with WorkFolder(target) as folder:
        folder.begin(FINGERPRINT)
        commit(folder, "a")
    (folder.path / "job.json").write_text("{")
    with WorkFolder(target) as folder, pytest.raises(UsageError, match="unfinished job of no known kind; --restart"):
        folder.begin(FINGERPRINT)
