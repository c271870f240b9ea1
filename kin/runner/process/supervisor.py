"""The supervisor: a bare program, one a run, that starts the agents and ends every process that they leave behind.

kin starts it as `python -I -S supervisor.py CONTROL OUT ERR KIDS RUN` and never imports it. It is a process of its own
because only a child subreaper is given daemons that forked twice and closed everything, because reaping whatever comes would
steal the children of the runner's other subprocesses, and because somebody has to be left when the runner is killed. It
imports next to nothing, so it is ready in some 15 ms and hard to break.

CONTROL is a socket to the runner: messages are a 4-byte length and a marshalled value. The runner sends a step as a tuple
(argv, cwd, environment, file for standard input or ""), or a signal's number for all that the step started; it is answered
with (wait status, error, whether the agent ended before any such signal, pids that KILL does not end) once nothing else of the
step is alive. End of file means that the runner is dead: all is killed at once.
OUT and ERR are the write ends of the pipes that the runner reads; KIDS is the run's kids lock, which agents inherit.

macOS has neither subreaper nor /proc: the agent's process group is signalled, and kin.runner.process.reap looks for the rest.
"""

# `signal` wraps this in enums, whose import takes a third of our start
import _signal as signal  # type: ignore[import-not-found]
import ctypes
import marshal
import os
import select
import sys
import time

Step = tuple[list[str], str, dict[str, str], str]
LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36
STRAY_GRACE = 0.5
"""Seconds between TERM and KILL for what outlives its agent: enough for a background git to take its lock files along."""
UNKILLABLE = 2.0
"""Seconds between two looks at whether any that is left can be killed at all."""


def main(control: int, out: int, err: int) -> None:
    """Do one step after the other until the runner is gone."""
    for fd in (control, out, err):  # KIDS alone is the agents' too
        os.set_inheritable(fd, False)
    woken = become_reaper()
    while (order := receive(control)) is not None:
        if isinstance(order, tuple):  # a signal's number here is for a step that ended meanwhile
            agent, error = start(order, out, err)
            status, unasked, left = see_off(agent, control, woken) if agent else (0, True, [])
            send(control, (status, error, unasked, left))


def become_reaper() -> int:
    """Be given all descendants that lose their parents; a descriptor that signals, and so children's ends, make readable."""
    if LINUX and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become the subreaper of the agents")
    # A handler that does nothing, not SIG_IGN: exec would hand SIG_IGN on to the agents. The runner alone says when to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def receive(control: int) -> Step | int | None:
    """The runner's next message, or None if it is gone."""
    head = read_exactly(control, 4)
    body = read_exactly(control, int.from_bytes(head, "big")) if head else b""
    message: Step | int | None = marshal.loads(body) if body else None
    return message


def read_exactly(fd: int, size: int) -> bytes:
    """`size` bytes, or none at all if the other side is gone before."""
    got = b""
    while len(got) < size:
        try:
            more = os.read(fd, size - len(got))
        except ConnectionResetError:
            return b""
        if not more:
            return b""
        got += more
    return got


def send(control: int, message: tuple[int, str, bool, list[int]]) -> None:
    """Answer the runner; if it is gone, the next receive says so."""
    body = marshal.dumps(message)
    try:
        os.write(control, len(body).to_bytes(4, "big") + body)
    except (BrokenPipeError, ConnectionResetError):
        return


def start(step: Step, out: int, err: int) -> tuple[int, str]:
    """Start the agent in a session of its own; its pid, or 0 and why it cannot start.

    posix_spawn shares our memory until the exec, which on a busy machine takes a sixth of the time of fork and exec. It knows
    no working folder, so ours is lent to it.
    """
    argv, cwd, env, stdin = step
    given, what = -1, f"working folder {cwd}"
    try:
        os.chdir(cwd)
        what = f"standard input {stdin}"
        given = os.open(stdin or os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        what = argv[0]
        return os.posix_spawn(
            find_program(argv[0], env),
            argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2)],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them, and exec would keep that
        ), ""
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        return 0, f"{what}: {said}"
    finally:
        os.chdir("/")
        if given >= 0:
            os.close(given)


def find_program(name: str, env: dict[str, str]) -> str:
    """The file that a command's first word means under the step's own PATH; with a slash in it, that file."""
    if "/" not in name:
        for folder in env.get("PATH", os.defpath).split(":"):
            path = os.path.join(folder or ".", name)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
        raise FileNotFoundError(2, "no such program on the PATH")
    return name


def see_off(agent: int, control: int, woken: int) -> tuple[int, bool, list[int]]:
    """Wait until the agent and all that it started are gone; its wait status, whether it ended before it was asked to, and
    what of it cannot be ended: another user's, say, whom it reached by sudo.
    """
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(woken, select.POLLIN)
    status, unasked, strays_until, killing = None, True, 0.0, False
    while True:
        ready = {fd for fd, _ in poller.poll(max(0.0, strays_until - time.monotonic()) * 1000 + 1 if strays_until else None)}
        if woken in ready:
            os.read(woken, 4096)  # before the children are looked at: one that dies afterwards wakes us again
        found, left = reap(agent)  # before an order is followed: what ended by itself in the same moment is finished work
        status = found if status is None else status
        if not left:
            return status or 0, unasked, []
        if control in ready:
            order = receive(control)
            unasked &= status is not None
            killing |= order in (None, signal.SIGKILL)
            if order is None:
                poller.unregister(control)
            elif isinstance(order, int) and not killing:
                signal_all(agent, order)
        if status is not None and not strays_until:
            strays_until = time.monotonic() + STRAY_GRACE
            if not killing:
                signal_all(agent, signal.SIGTERM)
        if strays_until and time.monotonic() >= strays_until:
            if killing and not signal_all(agent, signal.SIGKILL):
                return status or 0, unasked, children(os.getpid())
            killing, strays_until = True, time.monotonic() + UNKILLABLE
        if killing:  # again after each death, which may have given us children that were not seen before
            signal_all(agent, signal.SIGKILL)


def reap(agent: int) -> tuple[int | None, bool]:
    """Collect what died; the agent's status if it is among it, and whether any child is left."""
    status = None
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            if not LINUX:
                signal_group(agent, signal.SIGKILL)
            return status, False
        if not pid:
            return status, True
        status = how if pid == agent else status


def signal_all(agent: int, number: int) -> bool:
    """Signal every descendant, parents before their children, and never a stranger who was given a dead one's pid; whether
    any could be.

    A child of ours keeps its pid until we reap it. For a deeper one the pidfd is opened first and its parent read after:
    whoever the pid means by then, it is ours. Where there is no pidfd, deeper ones come to us as their parents die.
    """
    if not LINUX:
        signal_group(agent, number)
        return True
    me, reached = os.getpid(), False
    found = [(pid, me) for pid in children(me)]
    while found:
        pid, parent = found.pop()
        below = children(pid)
        try:
            if parent == me:
                os.kill(pid, number)
                reached = True
            else:
                reached |= signal_deeper(pid, (parent, me), number)
        except OSError:  # gone meanwhile, or another user's (sudo)
            pass
        found += [(child, pid) for child in below]
    return reached


def signal_group(agent: int, number: int) -> None:
    """Signal the agent's process group, which may be gone."""
    try:
        os.killpg(agent, number)
    except (ProcessLookupError, PermissionError):
        return


def signal_deeper(pid: int, parents: tuple[int, int], number: int) -> bool:
    """Signal a process that is no child of ours if it is still a child of one of `parents`; whether it was."""
    fd = os.pidfd_open(pid)
    try:
        ours = parent_of(pid) in parents
        if ours:
            signal.pidfd_send_signal(fd, number)
        return ours
    finally:
        os.close(fd)


def parent_of(pid: int) -> int:
    """The parent's pid, from behind the name, which may hold spaces and brackets; 0 of one that is dead and not collected."""
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:
        state, parent = stat.read().rpartition(b")")[2].split()[:2]
    return 0 if state == b"Z" else int(parent)


def children(pid: int) -> list[int]:
    """The children of a process; none if it is gone. Kernels without CONFIG_PROC_CHILDREN make us read all parents."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as listed:
                found += [int(word) for word in listed.read().split()]
    except FileNotFoundError:
        return found if os.path.exists("/proc/thread-self/children") else children_by_parent(pid)
    except OSError:
        return found
    return found


def children_by_parent(pid: int) -> list[int]:
    """The children of a process, found by reading every process's parent."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and parent_of(int(name)) == pid:
                found.append(int(name))
        except OSError:  # gone since it was listed
            continue
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
    os._exit(0)  # taking the interpreter down would keep the kids lock for milliseconds more
