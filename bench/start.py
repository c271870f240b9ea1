"""How long kin takes to start, as a multiple of the bare interpreter: `kin --version` against `python -c pass`.

Pairs are run in turn, so that a busy machine slows both alike; the medians' ratio is what counts. The interpreter is the
one that kin's own script names, with the same `site`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 2.0
"""`kin --version` takes at most this many bare interpreters."""


def seconds(argv: list[str]) -> float:
    """Wall-clock time of one process, start to end."""
    started = time.perf_counter()
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> int:
    """Measure, print one line a command, and exit 1 if the ratio is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=41, help="how many pairs to run (default 41)")
    pairs = max(21, parser.parse_args().pairs)
    kin = Path(sys.executable).parent / "kin"
    if not os.access(kin, os.X_OK):
        sys.exit(f"{kin} is not there: install kin into this environment first")
    commands = {"python -c pass": [sys.executable, "-c", "pass"], "kin --version": [str(kin), "--version"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for argv in commands.values():
        seconds(argv)  # once unmeasured: compiled files and page cache
    for _ in range(pairs):
        for name, argv in commands.items():
            times[name].append(seconds(argv))
    bare, ours = (statistics.median(taken) for taken in times.values())
    for name, taken in times.items():
        low, middle, high = (1000 * cut for cut in statistics.quantiles(taken, n=4))
        print(f"{name:16} {middle:6.1f} ms   (middle half {low:.1f} to {high:.1f})")
    print(f"ratio            {ours / bare:6.2f}      (at most {LIMIT:g}, {pairs} pairs)")
    return int(ours / bare > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
