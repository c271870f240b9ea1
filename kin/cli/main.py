"""The entry point. `kin --version` imports nothing; everything else parses the short way, and by typer if it must."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(words: list[str] | None = None) -> int:
    """Run a command line and return the exit code; without `words` this process's own, which then ends here."""
    if words is None:
        _end(main(sys.argv[1:]))
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
    import gc

    gc.disable()  # until the command begins: imports make no garbage, and looking for some takes 5 % of a short command
    from kin.cli.dispatch import run

    return run(words, os.environ)


def _end(code: int) -> "NoReturn":
    """End the process at once: taking the interpreter apart costs a list of 10,000 tasks as much as reading them."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # a reader that left or a full disk: the interpreter knows what to say of that
    os._exit(code)
