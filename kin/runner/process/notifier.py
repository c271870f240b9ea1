"""A program that tells one receiver: it runs the command or posts to the URL, and ends all that this leaves.

`python -m kin.runner.process.notifier LIMIT WHAT run|post` with the JSON on standard input and the command or URL in
KIN_NOTIFY. It writes how it went as a line to standard output. It lives apart from the run, which does not know of it any more.
"""

import marshal
import os
import signal
import sys
import time

from kin.runner.process import supervisor


def main(limit: float, what: str, how: str) -> None:
    """Tell the receiver, for at most `limit` seconds."""
    woken = supervisor.become_reaper()
    control, order = os.pipe()
    over: list[int] = []

    def end(*_: object) -> None:
        over.append(1)
        body = marshal.dumps(int(signal.SIGKILL))
        os.write(order, len(body).to_bytes(4, "big") + body)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    env = dict(os.environ)
    if how == "post":
        argv = [sys.executable, "-P", "-X", "utf8", "-m", "kin.runner.process.notifier", "--post"]
    else:
        argv = ["/bin/sh", "-c", env.pop("KIN_NOTIFY")]
    child, error = supervisor.start((argv, os.getcwd(), env, "/dev/stdin"), nowhere, nowhere)
    status = supervisor.see_off(child, control, woken)[0] if child else 0
    said = error or (f"ended after {limit:g} s" if over else f"exit {os.waitstatus_to_exitcode(status)}")
    os.write(1, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {what} {how}: {said}\n".encode())


def post() -> int:
    """POST standard input to the URL in KIN_NOTIFY; 0 if the answer is a success."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    head = {"Content-Type": "application/json", "User-Agent": "kin"}
    try:
        with urlopen(Request(os.environ["KIN_NOTIFY"], sys.stdin.buffer.read(), head)) as answer:
            return 0 if answer.status < 300 else 1
    except (URLError, OSError, ValueError):
        return 1


if __name__ == "__main__":
    if sys.argv[1] == "--post":
        os._exit(post())
    main(float(sys.argv[1]), *sys.argv[2:4])
