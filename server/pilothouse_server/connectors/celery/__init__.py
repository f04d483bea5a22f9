"""A Celery app as Pilothouse sees it: root tasks are workflows, tasks are tasks, workers are agents, queues are
queues.

`signals`, `canvas` and `workers` are pure: what Celery says in, events out. `broker` is the only file that knows
Celery's library, all of whose calls block and so run in threads. `control` carries out commands, `recall` restores
from the server what a connector that was started again must know, and `connector` puts them together.
"""
