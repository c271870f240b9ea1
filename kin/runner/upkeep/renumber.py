"""Another id for a task or decision: two clones gave out the same one, and one of the two must go on under another.

The file is written under its new name, then every file that refers to it is rewritten, then what lies below its folders is
moved, then the old file goes. A journal entry says from the start where to; so a kin that was killed half-way is finished by
the same command, and nothing is ever referred to that is not there.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import NamedTuple

from kin import git
from kin.errors import Busy, Invalid, NotFound, Usage, Waits
from kin.faults import point
from kin.model.ids import TASK_ID, normalise, same_id, sort_key
from kin.model.ready import graph_of
from kin.model.status import RunStatus
from kin.runner.runs.claim import claim_task
from kin.store import config, decisions, files, journal, numbers, records, tasks
from kin.store.checking.check import listing
from kin.store.checking.inspection import kind_of
from kin.store.checking.mentions import KINDS, Change, rewritten
from kin.store.project import STORE, Project
from kin.store.text import splice


class Renumbered(NamedTuple):
    """What was changed, the files that name the old id in prose, and what could not be looked into."""

    old: str
    new: str
    changes: list[Change]
    mentions: list[str]
    warnings: list[str]


def renumber(project: Project, word: str, wanted: str | None, *, prose: bool = False) -> Renumbered:
    """Give the task or decision that `word` names the id `wanted`, or the next free one; `prose`: within texts, too.

    Raises Busy if it runs or git is in the middle of something, Waits if a run of it waits or can go on, Usage for an id
    that is taken, NotFound, Invalid.
    """
    config.refuse_newer_format(project)
    if doing := git.under_way(project.gitdir):
        raise Busy(f"git is in the middle of a {doing}", "finish or abort it first: kin changes no file until then")
    key = config.quick(project).key
    old = normalise(word, key)
    owed = journal.read(project, _entry(old)) if old else None
    if old is None or owed is None:
        old = _existing(project, word, old)
        new = _free(project, old, wanted, key)
    else:
        new, prose = owed["new"], owed["prose"]
        if wanted is not None and normalise(wanted, key) != new:
            raise Usage(f"{old} was becoming {new} when kin was killed", f"`kin renumber {old}` finishes that first")
    with ExitStack() as held:
        if _folder(old) == "tasks":
            for task_id in (old, new):
                held.enter_context(claim_task(project, task_id))
            _refuse_work(project, old)
        if owed is None:
            fix = f"`kin renumber {old}` finishes it"
            journal.write(project, _entry(old), {"kind": "renumber", "task": old, "new": new, "prose": prose, "fix": fix})
        done = _Work(project, old, new, prose).run()
        journal.remove(project, _entry(old))
    return done


def _entry(old: str) -> str:
    return f"renumber-{old}"


def _folder(an_id: str) -> str:
    return "decisions" if an_id.startswith("D-") else "tasks"


def _existing(project: Project, word: str, meant: str | None) -> str:
    if meant is not None and _folder(meant) == "decisions":
        decisions.load(project, meant)
        return meant
    task_id = tasks.resolve(project, word)
    try:
        tasks.load(project, task_id)
    except Invalid as error:
        hint = error.hint or "mend it first; in a merge abort that, give yours another id, and merge again"
        raise Invalid(error.message, hint, error.where, **error.data) from None
    return task_id


def _free(project: Project, old: str, wanted: str | None, key: str) -> str:
    folder = _folder(old)
    own_key, category, *_ = sort_key(old)
    if wanted is None:
        return numbers.new_ids(project, own_key, folder, 1, category)[0]
    new = normalise(wanted, key)
    if new is None or _folder(new) != folder:
        form = "D-<number>" if folder == "decisions" else "KEY-<number>, or KEY-<CATEGORY>-<number>"
        raise Usage(f"'{wanted}' cannot be the new id", form)
    names = {*os.listdir(os.path.join(project.store, folder)), *git.names_on_branches(project.root, f"{STORE}/{folder}")}
    for name in names:
        if TASK_ID.fullmatch(other := name.removesuffix(".yaml")) and same_id(other, new):
            raise Usage(f"{other} is there already, here or on a branch", "`kin renumber` without a new id takes a free one")
    return new


def _refuse_work(project: Project, task_id: str) -> None:
    """A run and a branch are named after the task; kin moves no work under an agent's feet."""
    run = records.live(project, task_id)
    if run is not None and run.status == RunStatus.waiting:
        raise Waits(f"a run of {task_id} waits", f"`kin approve {task_id}` or `kin reject {task_id}` first")
    if run is not None or git.tip(project.root, f"refs/heads/kin/{task_id}"):
        hint = f"`kin run {task_id}` finishes it, `kin reject {task_id}` puts it aside"
        raise Waits(f"{task_id} has work that is not merged, on the branch kin/{task_id}", hint)


class _Work:
    """The steps, each of which may have been done before."""

    def __init__(self, project: Project, old: str, new: str, prose: bool) -> None:
        self.project, self.old, self.new, self.prose = project, old, new, prose
        self.done = Renumbered(old, new, [], [], [])

    def run(self) -> Renumbered:
        old, new = (os.path.join(self.project.store, _folder(self.old), f"{one}.yaml") for one in (self.old, self.new))
        if os.path.lexists(old):
            self.copy(old, new)
        elif not os.path.lexists(new):
            journal.remove(self.project, _entry(self.old))
            raise NotFound(f"there is no {self.old} any more, nor {self.new}")
        words = self.words()
        for name in listing(self.project).names:
            if kind_of(name) in KINDS and name not in (self.name(self.old), self.name(self.new)):
                self.rewrite(name, words.get(os.path.basename(name).removesuffix(".yaml"), ()))
        if _folder(self.old) == "tasks":
            for folder in ("notes", "pipelines"):
                self.move(folder)
        files.remove_file(self.project, old)
        point("renumber.removed")
        return self.done

    def name(self, an_id: str) -> str:
        return f"{_folder(an_id)}/{an_id}.yaml"

    def copy(self, old: str, new: str) -> None:
        """The file under its new name and id. One that is there already must be a killed kin's."""
        text = files.read_text(old, f"{STORE}/{self.name(self.old)}")
        found = rewritten(self.name(self.old), text, self.old, self.new, prose=self.prose)
        copy = splice.edit(found.text, [splice.Set(("id",), self.new)], path=f"{STORE}/{self.name(self.old)}")
        try:
            files.add_file(self.project, new, copy)
        except FileExistsError:
            if files.read_text(new, f"{STORE}/{self.name(self.new)}") != copy:
                words = f"{self.old} was becoming {self.new} when kin was killed, and one of the two was changed since"
                raise Usage(words, "make both say the same again, but for the id") from None
        point("renumber.copied")
        self.done.changes.append(Change(f"{STORE}/{self.name(self.old)}", "", self.name(self.old), self.name(self.new)))
        self.note(found.changes, self.name(self.new), found.mentions)

    def words(self) -> Mapping[str, set[str]]:
        """By task, how it spells the old id in its dependencies and as its parent."""
        if _folder(self.old) != "tasks":
            return {}
        scan = tasks.scan(self.project, bodies=False)
        self.done.warnings.extend(f"not looked into: {broken.error}" for broken in scan.broken)
        graph = graph_of(scan.tasks)
        found: dict[str, set[str]] = {}
        for task_id, others in graph.depends_on.items():
            found.setdefault(task_id, set()).update(word for word, meant in others if meant == self.old)
        for child in graph.children.get(self.old, ()):
            found.setdefault(child, set()).update(filter(None, [scan.tasks[child].parent]))
        return found

    def rewrite(self, name: str, words: "set[str] | tuple[()]") -> None:
        """References in one file; most do not hold the id at all."""
        path = os.path.join(self.project.store, name)
        with suppress(NotFound):
            if not words and self.old not in files.read_text(path, f"{STORE}/{name}"):
                return
            found = None

            def change(text: str) -> str:
                nonlocal found
                found = rewritten(name, text, self.old, self.new, words=words, prose=self.prose)
                return found.text

            try:
                files.edit_file(self.project, path, change)
            except Invalid as error:
                self.done.warnings.append(f"not changed: {error}")
                return
            assert found is not None
            self.note(found.changes, name, found.mentions)

    def note(self, changes: list[Change], name: str, mentions: bool) -> None:
        self.done.changes.extend(changes)
        if mentions:
            self.done.mentions.append(f"{STORE}/{name}")

    def move(self, folder: str) -> None:
        """The files below the old id's folder go below the new one's."""
        here, there = (os.path.join(self.project.store, folder, one) for one in (self.old, self.new))
        for name in sorted(os.listdir(here)) if os.path.isdir(here) else ():
            files.make_folder(there)
            files.rename_file(self.project, os.path.join(here, name), os.path.join(there, name))
            point("renumber.moved")
            old, new = (f"{folder}/{one}/{name}" for one in (self.old, self.new))
            self.done.changes.append(Change(f"{STORE}/{old}", "", old, new))
        with suppress(FileNotFoundError):
            os.rmdir(here)
