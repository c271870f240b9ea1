"""`kin list`: one that the index can tell by itself imports nothing else."""

import gc

from kin.cli.output import Call, Result
from kin.cli.table import COLUMNS, drawn, line_of

AT_REST = {"directory", "quiet", "verbose", "no_color"}
"""Options with which a list is what the index can tell by itself."""


def list_(call: Call) -> Result:
    """List tasks, the open ones unless asked otherwise."""
    gc.disable()  # everything here lives until the process ends, and tens of thousands of tasks make no circles
    given = {name for name, value in call.values.items() if value is not None and value is not False and value != ()}
    if given <= AT_REST:
        from kin.store.resting import resting

        if (rows := resting(call.project)) is not None:
            titles = rows.titles if "".join(rows.titles).isprintable() else list(map(line_of, rows.titles))
            texts = [rows.ids, rows.statuses, rows.priorities, titles]
            lines = lambda screen: drawn(texts, COLUMNS, list(rows.statuses), screen)  # noqa: E731
            return Result("task.list", None, lines, list(rows.ids), rows.warnings)
    from kin.cli.listing import found

    return found(call)
