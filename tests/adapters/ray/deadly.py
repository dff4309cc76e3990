"""Actors that die: the first of them kills itself in the middle of a job."""

import os
from pathlib import Path

from afterlogits.adapters.ray.blocks import AnswerBlocks

MARK = "AFTERLOGITS_TEST_MARK"


class Deadly(AnswerBlocks):
    """Dies of SIGKILL at its third block, once in a job: a file says that it has happened."""

    seen = 0

    def __call__(self, block):
        self.seen += 1
        mark = Path(os.environ[MARK])
        if self.seen == 3 and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), 9)
        return super().__call__(block)
