"""The server ``afterlogits serve``: tasks over HTTP for the clients that exist, and a page to look at them.

One thread a model answers what waits for it in batches; the event loop reads, checks, waits and writes. Protocols
(pipelines', OpenAI's), limits and metrics are files of their own; nothing here decodes or postprocesses.
"""
