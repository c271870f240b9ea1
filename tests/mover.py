"""The process that tests of recovery kill: it moves, recovers or undoes where it is started (moving.run_killed)."""

import json
import os
import signal
import sys

from kin.runner.merge.build import Built
from kin.runner.merge.move import move
from kin.runner.merge.recover import recover_moves
from kin.runner.merge.undo import undo
from kin.store.project import find


def kill_children_first() -> None:
    """A kill point then takes the living git children along, as the end of a container does."""
    kill = os.kill

    def kill_all(pid: int, number: int) -> None:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            for child in map(int, children.read().split()):
                kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        kill(pid, number)

    os.kill = kill_all


if __name__ == "__main__":
    what, made, everything = sys.argv[1:]
    if everything:
        kill_children_first()
    with open("../pid", "w", encoding="ascii") as out:
        out.write(str(os.getpid()))
    project = find(".", os.environ)
    if what == "move":
        print(move(project, Built(*json.loads(made)), message="kin: merge KIN-1"))
    elif what == "undo":
        print(undo(project, "KIN-1", "refs/heads/main"))
    else:
        print(recover_moves(project))
