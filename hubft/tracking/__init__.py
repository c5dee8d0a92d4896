"""Trackers: tools that show a run's numbers beside those of other runs, a file a tool.

In: the numbers, files and end of a run, as `run/journal.py` hands them to a `feed.Feed`. Out: a run in the tool, and
tracked.json beside it. Each tool works in a process of its own (`worker.py`): one that hangs, prints or holds a lock
cannot stop a run, slow it, or keep it from its end. The room knows nothing of models, data or tasks, so it lies low.
"""
