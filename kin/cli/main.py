"""The entry point. `kin --version` imports nothing; everything else parses the short way, and by typer if it must."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(words: list[str] | None = None) -> int:
    """Run a command line and return the exit code; without `words` this process's own, which then ends here."""
    if words is None:
        if sys.getfilesystemencoding() != "utf-8":
            _speak_utf8()
        _take_no_signals_from_caller()
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


def _speak_utf8() -> None:
    """Begin again in Python's UTF-8 mode, in another language's encoding (`LANG=en_US`): the files of a project, its paths and
    commands are UTF-8 on every machine. What the person typed is taken over as they meant it."""
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    words = [os.fsencode(word) for word in (sys.executable, "-X", "utf8", *program)]
    os.execv(sys.executable, [*words, *(word.encode("utf-8", "surrogateescape") for word in sys.argv[1:])])


def _take_no_signals_from_caller() -> None:
    """Undo what some daemons leave to their children, and exec keeps. With SIGCHLD ignored the kernel forgets exit codes, so
    that each git would seem to have said yes; blocked, the signals that tell of an agent's end, or ask for ours, never come."""
    import _signal as signal  # type: ignore[import-not-found]  # without its enums

    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _end(code: int) -> "NoReturn":
    """End the process at once: taking the interpreter apart costs a list of 10,000 tasks as much as reading them."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # a reader that left or a full disk: the interpreter knows what to say of that
    os._exit(code)
