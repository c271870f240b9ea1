"""The same look at every project of which this person trusts a clone: `status --all`, `inbox --all`."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean
from kin.errors import KinError


def everywhere(call: Call, look: Callable[[Call], Result], kind: str) -> Result:
    """What `look` shows in each project, as a list of that kind; one that cannot be read is a warning."""
    from kin.store.project import find
    from kin.store.trust import clones

    environ = {k: v for k, v in call.environ.items() if k != "KIN_DIR"}
    found: list[tuple[str, Result]] = []
    warnings: list[str] = []
    for git_common in clones(environ):
        root = os.path.dirname(git_common)
        try:
            project = find(root, environ)
            found.append((project.root, look(call.within(project))))
        except (KinError, OSError) as error:
            warnings.append(f"{root}: {error}")
    data: list[dict[str, Any]] = []
    for root, result in found:
        said = result.data() if callable(result.data) else result.data
        data.append({"project": root, **(said if isinstance(said, dict) else {"items": said})})
        warnings += [f"{root}: {warning}" for warning in result.warnings]

    def lines(screen: Screen) -> Iterator[str]:
        for root, result in found:
            yield screen.paint(clean(root), "bold")
            yield from (f"  {line}" for line in (result.lines(screen) if callable(result.lines) else result.lines))

    return Result(f"{kind}.list", data, lines, [root for root, _ in found], warnings)
