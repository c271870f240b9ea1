"""Kill points: where a test may end this process as a power cut would, to prove that recovery decides from what is on disk.

`KIN_FAULT=<name>` kills at the point of that name, `KIN_FAULT=#<n>` at the n-th point passed, whatever its name;
`KIN_FAULT_GROUP=1` takes the whole process group along. `KIN_FAULT_LOG=FILE` collects the names passed. Without these
variables a point costs one dictionary look-up.
"""

import os

_passed = 0


def point(name: str) -> None:
    """Die here, without any clean-up, if a test asks for it."""
    global _passed
    wanted, log = os.environ.get("KIN_FAULT"), os.environ.get("KIN_FAULT_LOG")
    if wanted is None and log is None:
        return
    _passed += 1
    if log:
        with open(log, "a", encoding="utf-8") as out:
            out.write(f"{os.getpid()} {name}\n")
    if wanted in (name, f"#{_passed}"):
        import signal

        if os.environ.get("KIN_FAULT_GROUP"):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
