"""From a command line to an exit code: parsed, performed, shown; and the edge where every error ends."""

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kin.cli.output import Call, Result, fail, gone, show
from kin.cli.screen import Screen
from kin.errors import Bug, Interrupted, KinError, NotFound, of_system

if TYPE_CHECKING:
    from kin.cli.parse import Parsed

SIGINT = 2


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Parse and perform a command line; every way that it can end becomes an exit code here."""
    screen = Screen(environ, json="--json" in words, no_color="--no-color" in words)
    try:
        from kin.cli.parse import parse

        if (parsed := parse(words)) is None:
            from kin.cli.app import parse_fully

            parsed = parse_fully(words)
        values = parsed.values
        screen = Screen(
            environ,
            json=values["json"] or values.get("format") == "json",
            quiet=values["quiet"],
            verbose=values["verbose"],
            no_color=values["no_color"],
        )
        result = _perform(parsed, Call(values, environ, screen))
        show(result, screen)
        return result.exit
    except BrokenPipeError:
        return gone()
    except KeyboardInterrupt:
        return fail(Interrupted(SIGINT), screen)
    except KinError as error:
        return fail(error, screen)
    except OSError as error:
        return fail(of_system(error), screen)
    except Exception as error:  # the edge: what nobody expected becomes a report, not a traceback
        return fail(_report(error, words, environ), screen)


def _perform(parsed: "Parsed", call: Call) -> Result:
    from importlib import import_module

    if folder := call["directory"]:
        try:
            os.chdir(folder)
        except OSError as error:
            raise NotFound(f"cannot change to {folder}: {error.strerror}") from None
    function = getattr(import_module(f"kin.cli.{parsed.command.module}"), parsed.command.function)
    gc.freeze()  # what was imported stays to the end
    gc.enable()
    result: Result = function(call)
    return result


def _report(error: Exception, words: Sequence[str], environ: Mapping[str, str]) -> KinError:
    """Write down what happened for a bug report, and say where."""
    import traceback
    from time import strftime

    from kin import __version__
    from kin.store.project import state_folder

    text = f"kin {__version__}, Python {sys.version}, {sys.platform}\nkin {' '.join(words)}\n\n{traceback.format_exc()}"
    what = f"kin stumbled: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    try:
        folder = os.path.join(state_folder(environ), "reports")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = os.path.join(folder, f"{strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", errors="replace") as out:
            out.write(text)
    except OSError as reason:
        return Bug(what, f"no report could be written ({reason.strerror})")
    return Bug(what, f"the report is in {path}; please send it with what you did", report=path)
