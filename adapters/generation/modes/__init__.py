"""The modes of ``generate``, one a file: which loop of ``decoding.search`` runs, and what its output holds."""
