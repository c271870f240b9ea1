"""The entry point. `kin --version` imports nothing; everything else parses the short way, and by typer if it must."""

import os
import sys

__all__ = ["main"]


def main(words: list[str] | None = None) -> int:
    """Run a command line (default: this process's) and return the exit code."""
    if words is None:
        words = sys.argv[1:]
    if words == ["--version"] and sys.stdout is not None:
        from kin import __version__

        try:
            sys.stdout.write(f"kin {__version__}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            from kin.cli.output import gone

            return gone()
        return 0
    if "_KIN_COMPLETE" in os.environ:
        from kin.cli.completion import answer

        return answer(words, os.environ)
    from kin.cli.output import run

    return run(words, os.environ)
