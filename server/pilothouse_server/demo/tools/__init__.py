"""The work itself: programs of the standard library, each run in a process of its own by an agent.

A tool writes one JSON object, its report, as the last line of its output. Exit 0: done. Exit 1: the work was judged and
found wanting; `code`, `message` and `files` say how. Anything else: the tool itself broke. Tools are started ten times
a second, so they do without what is slow to import, `pathlib` among it.
"""
