"""`kin doctor`: looks for what is broken or left over in a clone, one function a check, and mends what is safe to mend.

Looking changes nothing but `cache/`. A mend never deletes what only it holds: recovery, registrations of worktrees that are
gone, branches that their target contains, the index of parsed files. Whatever holds work is named and left to its owner.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from zlib import crc32

from kin import git
from kin.agents import find_program, known
from kin.errors import Invalid, KinError
from kin.model import times
from kin.model.status import RunStatus
from kin.runner.merge.recover import recover_moves
from kin.runner.tree import worktree
from kin.runner.tree.kept import list_salvage
from kin.runner.upkeep import probes
from kin.runner.upkeep.case import Case, Row
from kin.runner.upkeep.collect import in_words, size_of
from kin.runner.upkeep.leftovers import check_branches, check_worktrees
from kin.runner.upkeep.watchdog import sweep
from kin.store import config, files, index, journal, locks, tasks
from kin.store.driver import register
from kin.store.project import Project

SPARE, PLENTY = 200 * 2**20, 2 * 2**30
"""Bytes of free disk below which a run will fail soon, or may."""

LOCK_AGE = 60.0
"""Seconds after which an `index.lock` is no passing `git status` any more."""

PROBES = ".kin-doctor-"


def examine(case: Case, checks: "Sequence[Check] | None" = None) -> list[Row]:
    """The rows of every check, or of some. One that cannot look is a fault of its own and keeps no other from looking."""
    rows: list[Row] = []
    for check in CHECKS if checks is None else checks:
        name, before = check.__name__.removeprefix("check_").replace("_", " "), len(rows)
        try:
            rows.extend(row._replace(name=name) for row in check(case))
        except (KinError, OSError) as error:
            # Broad on purpose: a doctor is called when things are broken.
            rows.append(Row("bad", str(error), name=name))
        if len(rows) == before:
            rows.append(Row("ok", OK.get(name, "nothing stands in the way"), name=name))
        if check is check_git and rows[-1].verdict == "bad":
            break  # whatever else is asked of it would be answered wrongly
    return rows


def mend(project: Project, environ: Mapping[str, str]) -> list[str]:
    """Recover, then mend what the checks find and can mend safely; a line for each thing that was done or could not be."""
    said: list[str] = []
    for part in (recover_moves, sweep):  # one after the other, as `recover`, but the damage of one does not keep the other
        try:
            said += part(project)
        except (KinError, OSError) as error:
            said.append(f"could not be mended: {error}")
    for row in examine(Case(project, environ)):
        try:
            if row.mend:
                done = row.mend()
                said.append(f"{row.name}: {row.did}" if row.did else str(done))
        except (KinError, OSError) as error:
            said.append(f"{row.name}: could not be mended: {error}")
    return said


def check_git(case: Case) -> Iterator[Row]:
    root = case.project.root
    found = git.version(root)
    words = ".".join(map(str, found))
    if found < git.MINIMUM:
        yield Row("bad", f"git is {words}", f"install git {'.'.join(map(str, git.MINIMUM))} or newer")
        return
    who = git.identity(root)
    if who is None:
        yield Row("warn", "git does not know who you are", "set `git config user.name` and `git config user.email`")
    else:
        yield Row("ok", f"git {words}, you are {who}")
    if git.is_shallow(root):
        yield Row("warn", "the clone is shallow: older branches may not merge", "`git fetch --unshallow`")


def check_settings(case: Case) -> Iterator[Row]:
    found = config.load_settings(case.project, case.environ)  # raises what is wrong, with its place
    for warning in config.quick(case.project).warnings:
        yield Row("warn", warning)
    for task in tasks.scan(case.project, bodies=False).broken:
        yield Row("warn", str(task.error))
    names = _names_of_attributes(case.project)
    if names is None:
        yield Row("warn", "there is no .kin/.gitattributes: a CRLF editor conflicts with every merge", "`kin init`")
    for driver in sorted(names or ()):
        if not git.git(case.project.root, "config", f"merge.{driver}.driver", ok=(0, 1)).out:
            words = f".kin/.gitattributes names the merge driver {driver}, which this clone does not have"
            mend = partial(register, case.project) if driver == "kin" else None
            fix = "`kin init` registers it" if mend else ""
            yield Row("warn", words, fix, mend, "the merge driver is registered")
    if found.worktrees and (case.root + "/").startswith(case.project.root + "/"):
        yield Row("warn", "worktrees lie inside the repository: test runners and linters walk into them", "")


def _names_of_attributes(project: Project) -> set[str] | None:
    """The merge drivers that `.kin/.gitattributes` names; None if it does not exist."""
    try:
        with open(os.path.join(project.store, ".gitattributes"), encoding="utf-8", errors="replace") as file:
            words = [word for line in file if not line.startswith("#") for word in line.split()[1:]]
    except FileNotFoundError:
        return None
    return {word.removeprefix("merge=") for word in words if word.startswith("merge=")} - {"union", "binary", "text"}


def check_file_system(case: Case) -> Iterator[Row]:
    cache = os.path.join(case.project.common, "cache")
    os.makedirs(cache, mode=0o700, exist_ok=True)
    places = {cache: "the git folder", case.project.store: "the checkout"}
    if os.stat(cache).st_dev == os.stat(case.project.store).st_dev:
        del places[case.project.store]
    for folder, where in places.items():
        for old in Path(folder).glob(f"{PROBES}*"):
            with suppress(FileNotFoundError):  # of a doctor at work beside this one; an old one's was killed
                if times.now().timestamp() - old.stat().st_mtime > LOCK_AGE:
                    shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=PROBES, dir=folder) as scratch:
            if where == "the git folder" and (fault := probes.locks_exclude(scratch)):
                yield Row("bad", f"{where}: {fault}", "keep the clone on a local disk")
            if fault := probes.renames_are_whole(scratch):
                yield Row("bad", f"{where}: {fault}", "keep the clone on a local disk")
            if fault := probes.changes_wake(scratch):
                yield Row("warn", f"{where}: {fault}; `kin log -f` looks twice a second instead")
            blind = probes.case_blind(scratch)
        if probes.is_network(kind := probes.mount_type(folder)):
            words = f"{where} lies on {kind}: other machines may neither see kin's locks nor wake its watchers"
            yield Row("warn", words, "keep the clone on a local disk, and run kin on one machine only")
    said = git.is_on(case.project.root, "core.ignorecase")
    if blind != said:
        words = f"names {'do not differ' if blind else 'differ'} by case here, and git's core.ignoreCase says otherwise"
        yield Row("warn", words, f"`git config core.ignoreCase {str(blind).lower()}`")


def check_disk(case: Case) -> Iterator[Row]:
    places = {"the git folder": case.project.git_common, "the checkout": case.project.root, "worktrees": _existing(case.root)}
    devices = {os.stat(path).st_dev: (where, path) for where, path in reversed(places.items())}
    least = float("inf")
    for where, found in ((where, os.statvfs(path)) for where, path in devices.values()):
        least = min(least, left := found.f_bavail * found.f_frsize)
        if left < PLENTY:
            yield Row("bad" if left < SPARE else "warn", f"{in_words(left)} free for {where}", "make room: `kin gc`")
        if found.f_files and found.f_favail < 10_000:
            yield Row("warn", f"only {found.f_favail} more files fit for {where}", "make room: `kin gc`")
    if least >= PLENTY:
        yield Row("ok", f"{in_words(least)} free; {_sizes(case)}")


def _existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _sizes(case: Case) -> str:
    sizes = {os.path.basename(w.path): size_of(w.path) for w in case.worktrees}
    if not sizes:
        return "no worktrees"
    largest = max(sizes, key=lambda name: sizes[name])
    return f"worktrees take {in_words(sum(sizes.values()))}, most of it {largest} ({in_words(sizes[largest])})"


def check_index(case: Case) -> Iterator[Row]:
    project = case.project
    lock = os.path.join(project.gitdir, "index.lock")
    try:
        age = times.now().timestamp() - os.lstat(lock).st_mtime
        if age > LOCK_AGE:
            yield Row("warn", f"{lock} is {age / 60:.0f} minutes old: a git was killed, or a commit's editor is open")
    except FileNotFoundError:
        pass
    out = git.git(project.root, "ls-files", "-z", ok=range(256))
    if out.code:
        fix = f"move {os.path.join(project.gitdir, 'index')} away; `git reset` makes it anew and leaves files as they are"
        yield Row("bad", f"git cannot read its index: {out.err.strip()}", fix)
    if wrong := _wrong_in_cache(project):
        words = f"the index of parsed tasks is wrong about {', '.join(wrong[:5])}"
        path = index.cache_path(project.common, os.path.join(project.store, "tasks"))
        did = "deleted; the next command reads the files"
        yield Row("warn", words, "it may be deleted at any time", partial(os.unlink, path), did)


def _wrong_in_cache(project: Project) -> list[str]:
    """Tasks that the index and the files themselves tell differently; looked at twice, since people edit meanwhile."""
    with tempfile.TemporaryDirectory(prefix="kin-doctor-") as nowhere:
        wrong: set[str] | None = None
        for _ in range(2):
            through, plain = _told(project), _told(project._replace(git_common=nowhere))
            found = {task for task in {*through, *plain} if through.get(task) != plain.get(task)}
            wrong = found if wrong is None else wrong & found
            if not wrong:
                break
            shutil.rmtree(os.path.join(nowhere, "kin"), ignore_errors=True)
    return sorted(wrong or ())


def _told(project: Project) -> dict[str, int]:
    """A checksum of each task: two times 100,000 tasks are 400 MB."""
    return {task_id: crc32(repr(task).encode()) for task_id, task in tasks.scan(project).tasks.items()}


def check_journal(case: Case) -> Iterator[Row]:
    entries, faults = journal.look(case.project)
    for fault in faults:
        yield Row("bad", str(fault), "what it was about is in `git reflog`; keep the file for a report")
    for name, entry in entries.items():
        if name not in case.held:
            words = f"a {entry.get('kind', 'side effect')} of {entry.get('task', 'a task')} was cut short"
            yield Row("warn", words, entry.get("fix", "`kin doctor --fix`, or the next `kin run`, puts it right"))


def check_runs(case: Case) -> Iterator[Row]:
    for name in files.names_in(os.path.join(case.project.common, "locks")):
        path = os.path.join(case.project.common, "locks", name)
        if os.path.isdir(path):
            yield Row("bad", f"the lock file {path} is a folder", "move it away")
            continue
        try:
            locks.is_held(path)
        except Invalid as fault:
            yield Row("bad", fault.message, fault.hint)
    runs, warnings = case.live
    for warning in warnings:
        way = "move that file away: `kin run` then keeps the branch aside and begins anew"
        yield Row("bad", f"a run's record cannot be read: {warning}", way)
    for task, run in runs.items():
        if task in case.held:
            continue
        if run.status in (RunStatus.running, RunStatus.completed):
            yield Row("warn", f"the process of {task}'s run is gone", f"`kin doctor --fix`, or `kin run {task}`")
        if f"{task}.kids" in case.held:
            words = f"processes that {task}'s dead run started still live"
            yield Row("warn", words, f"`kin run {task}` ends them before it starts anything")
        if run.live.pending_edit and git.under_way(case.project.gitdir) is None:
            yield Row("warn", f"{task}'s file was not told how its run ended", "`kin doctor --fix` writes it")
        if not os.path.exists(tasks.task_path(case.project, task)):
            yield Row("warn", f"{task} has a run ({run.status}) but no file here", "is it on another branch?")


def check_hidden_store(case: Case) -> Iterator[Row]:
    key, project = case.settings.key, case.project
    said = git.git(project.root, "config", "--local", f"includeIf.gitdir:./worktrees/{key}-*.path", ok=(0, 1)).text
    whole = said == "kin/worktree.gitconfig" and os.path.isfile(os.path.join(project.common, "worktree.gitconfig"))
    if (said or case.worktrees) and not whole:
        words = "worktrees do not hide .kin/: git's includeIf for them is incomplete"
        mend, did = partial(worktree.hide_store_config, project, key), "git's includeIf is set again"
        yield Row("warn", words, "`kin doctor --fix`, or the next worktree, sets it", mend, did)


def check_agents(case: Case) -> Iterator[Row]:
    agents, wanted = known(case.settings), case.settings.agent
    found = [name for name, agent in agents.items() if find_program(agent, case.environ)]
    if lost := [name for name in wanted if name not in (*found, "command")]:
        none = len(lost) == len(wanted)
        words = f"{', '.join(lost)} (`agent:`) {'is' if len(lost) == 1 else 'are'} not on PATH"
        fix = next((agents[name].install for name in lost if name in agents and agents[name].install), "")
        yield Row("bad" if none else "warn", words, f"`{fix}`, or name another" if fix else "name another")
    elif not found:
        yield Row("warn", "none on PATH: only steps with `run` can be played", "install one, or use `--run CMD`")
    else:
        yield Row("ok", f"on PATH: {', '.join(found)}; `kin agents` tells more")


def check_salvage(case: Case) -> Iterator[Row]:
    if found := list_salvage(case.project):
        words = f"{len(found)} kept, the oldest since {found[-1].at[:10]}; `kin salvage list` shows them"
        yield Row("ok", words)


def check_only_here(case: Case) -> Iterator[Row]:
    project = case.project
    unmerged = [task for task, oid in case.branches.items() if not case.is_merged(oid)]
    edited = [e for e in git.status(project.root).entries if e.path.startswith(".kin/")]
    waiting = sum(run.status == RunStatus.waiting for run in case.live[0].values())
    ahead = git.git(project.root, "rev-list", "--count", "--branches", "--not", "--remotes").text
    counted = (
        (len(unmerged), "branch with work that is not merged", "branches with work that is not merged"),
        (waiting, "run that waits", "runs that wait"),
        (len(list_salvage(project)), "salvage", "salvages"),
        (len(edited), "file of .kin/ that is not committed", "files of .kin/ that are not committed"),
        (int(ahead), "commit that no remote has", "commits that no remote has"),
    )
    found = [f"{number} {one if number == 1 else many}" for number, one, many in counted if number]
    if found:
        yield Row("ok", f"only in this clone: {', '.join(found)}")


Check = Callable[[Case], Iterator[Row]]

CHECKS: tuple[Check, ...] = (
    check_git,
    check_settings,
    check_file_system,
    check_disk,
    check_index,
    check_journal,
    check_runs,
    check_worktrees,
    check_branches,
    check_hidden_store,
    check_agents,
    check_salvage,
    check_only_here,
)

OK = {
    "settings": "kin.yaml and the task files can be read",
    "file system": "locks exclude, renames are whole, changes wake watchers",
    "index": "git's and kin's own are whole",
    "journal": "nothing was cut short",
    "runs": "none is dead",
    "worktrees": "each belongs to a run",
    "branches": "each belongs to a run",
    "hidden store": "agents do not see .kin/",
    "salvage": "nothing was interrupted",
    "only here": "nothing but what remotes have",
}
"""What a check that found nothing says."""
