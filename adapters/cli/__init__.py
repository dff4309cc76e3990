"""The command ``afterlogits``: ``demo``, ``run`` over files, ``bench``."""
