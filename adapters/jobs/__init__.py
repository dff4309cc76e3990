"""Jobs: a task over a file or a folder, in every format, resumed where it stopped.

A job is read as entries, answered window by window, committed as shards, and joined into the output at the end.
Nothing here parses a command line; ``adapters.cli`` does.
"""
