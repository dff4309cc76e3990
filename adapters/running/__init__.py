"""What every task shares: loading, reading inputs, tokenising, batching, the one loop, columns and views.

Nothing here knows a task; the tasks are rows of ``adapters.tasks.table``.
"""
