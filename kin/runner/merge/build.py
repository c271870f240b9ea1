"""Computes what a run brings to its target, as commits that only `refs/kin/merge/<ID>` points at.

No checkout, no index and no branch is touched: what is built here can be gated, shown, thrown away or moved (move.py).
The chain is the contract's (docs/pipeline.md): the first parent holds the task as `todo`, so `git revert -m 1` gives it
back; the state stands in a commit on the branch too, since `git pull --rebase` drops what a merge commit alone holds.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from kin import git
from kin.errors import Invalid, NotFound
from kin.model.status import TaskStatus
from kin.runner.merge.compose import NewCommit, Written, sign_again, write_commits
from kin.runner.merge.taskfile import Standing, standing, task_path, with_standing
from kin.store.project import Project, branch_here

_TODO, _DONE = Standing(TaskStatus.todo), Standing(TaskStatus.done)


class Built(NamedTuple):
    """Commits that wait to be moved to. `target` is a full ref, `old` its tip when this was built, `new` its next one.

    `code` is `code_key(new)`; `branch_tip` the work that it merges, None if it brings no code.
    """

    target: str
    old: str
    new: str
    code: str
    task: str
    run: str
    branch_tip: str | None


class Work(NamedTuple):
    """What a run brings to its target, a full ref, beside code.

    `whole` is the task's file in the working tree, used if the target never held it; `extra` are files that kin made, by
    their path below `.kin/`; `old` is the target's tip if that is not the branch here, but what the remote has.
    """

    target: str
    task: str
    run: str
    whole: bytes | None
    extra: Mapping[str, bytes]
    sign: bool = False
    old: str | None = None


class Clash(NamedTuple):
    """Paths that cannot be merged without a person or the integrator. Nothing was built."""

    paths: tuple[str, ...]


def merge_ref(task_id: str) -> str:
    """The ref that holds a task's merge while it is gated: nothing else would hold it against `git gc` (rule 14)."""
    return f"refs/kin/merge/{task_id}"


def home(project: Project) -> str:
    """A folder where git finds the repository: the checkout, or a bare repository itself."""
    return project.root or project.git_common


def code_key(cwd: str, treeish: str) -> str:
    """The identity of a tree without its `.kin`: what a gate's verdict is bound to. Equal keys mean equal code."""
    [tree] = git.objects(cwd, [f"{treeish}^{{tree}}"])
    return _code_key(tree)


def _code_key(tree: git.Object | None) -> str:
    import hashlib

    if tree is None:
        raise Invalid("the tree that is to be merged is gone", "was there a `git prune`? `git fsck` tells more")
    return hashlib.sha256(b"".join(entry for entry, name in git.entries(tree) if name != b".kin")).hexdigest()


def build_merge(project: Project, work: Work, branch: str, title: str) -> Built | Clash | None:
    """Build the merge of commit `branch` into the target, or say what conflicts; None if the target has it already.

    Raises NotFound if the target or the task is nowhere, CannotSign.
    """
    cwd, path, (target, task_id, run_id) = home(project), task_path(work.task), work[:3]
    old = work.old or target_tip(cwd, target)
    if branch == old:
        return None
    tree = merged_tree(project, target, old, branch, f"refs/heads/kin/{task_id}")
    if isinstance(tree, Clash):
        return tree
    names = (f"{old}:{path}", f"{old}:.kin", tree, f"{branch}:{path}", f"{old}^{{tree}}")
    held, kin, code, on_branch, before = git.objects(cwd, names)
    if before == code and git.is_ancestor(cwd, branch, old):  # what is contained changes nothing
        return None
    base, text, added = _first_parent(cwd, old, work, held, kin)
    done = _files(work, text, _DONE)
    chain = []
    if added or on_branch is None or standing(on_branch.content, path).status is not TaskStatus.todo:
        # a rebase applies the state as a patch: it fits only on a commit that holds the task as `todo`
        subject = f"kin: {task_id} meets {target.removeprefix('refs/heads/')}"
        chain.append(NewCommit((branch, base.oid), _message(subject, task_id, run_id), {}, tree, base.kin))
        chain.append(NewCommit((":1",), _message(f"kin: {task_id} is done", task_id, run_id), done))
    else:
        files = _files(work, on_branch.content, _DONE)
        chain.append(NewCommit((branch,), _message(f"kin: {task_id} is done", task_id, run_id), files))
    message = _message(f"kin: {task_id} {title}", task_id, run_id)
    chain.append(NewCommit((base.oid, f":{len(chain)}"), message, done, tree, base.kin))
    *_, second, merge = write_commits(cwd, merge_ref(task_id), chain)
    new = sign_again(cwd, merge_ref(task_id), merge.oid, (base.oid, second.oid), message) if work.sign else merge.oid
    return Built(target, old, new, _code_key(code), task_id, run_id, branch)


def build_state(project: Project, work: Work, wanted: Standing = _DONE) -> Built:
    """Build the commit by which the target tells that a task is `done` without code, or in `review` or `blocked`.

    The one before a `done` holds the task as `todo`. Raises as `build_merge`.
    """
    cwd, (target, task_id, run_id) = home(project), work[:3]
    old, status = work.old or target_tip(cwd, target), wanted.status
    held, kin, code = git.objects(cwd, [f"{old}:{task_path(task_id)}", f"{old}:.kin", f"{old}^{{tree}}"])
    if status is TaskStatus.done:
        base, text, _ = _first_parent(cwd, old, work, held, kin)
        parent = base.oid
    else:
        parent, text = old, _known_text(work, held)
    message = f"kin: {task_id} is {status}\n\nKin-State: {task_id} {status}\nKin-Run: {run_id}\n"
    [new] = write_commits(cwd, merge_ref(task_id), [NewCommit((parent,), message, _files(work, text, wanted))])
    oid = sign_again(cwd, merge_ref(task_id), new.oid, (parent,), message) if work.sign else new.oid
    return Built(target, old, oid, _code_key(code), task_id, run_id, None)


def target_tip(cwd: str, target: str) -> str:
    """The commit of a branch, given as a full ref; one that is only on `origin` is taken from there. Raises NotFound."""
    name = target.removeprefix("refs/heads/")
    tip = git.tip(cwd, target) or git.tip(cwd, f"refs/remotes/origin/{name}")
    if tip is None:
        raise NotFound(f"{name} has no commit", "commit once on it first, or name another --base")
    return tip


def merged_tree(project: Project, target: str, old: str, branch: str, branch_ref: str) -> str | Clash:
    """The tree of both commits merged by git, or where they conflict outside `.kin/` (what is in there is never taken)."""
    with _attributes_home(project, target, old, branch_ref) as (cwd, env):
        words = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", old, branch)
        out = git.git(cwd, *words, ok=(0, 1), env=env)
    tree, *names = out.out.decode("utf-8", "surrogateescape").split("\0")
    if not re.fullmatch("[0-9a-f]{40,64}", tree):
        raise git.GitError(words, out)  # rule 12: exit 1 without a tree is a mistake, not a conflict
    paths = tuple(sorted({name for name in names if name and name != ".kin" and not name.startswith(".kin/")}))
    return Clash(paths) if paths else tree


@contextmanager
def _attributes_home(project: Project, target: str, old: str, branch_ref: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Where `merge-tree` finds .gitattributes: it reads them from the work tree of its folder and nowhere else (rule 13)."""
    if project.root and branch_here(project) == target.removeprefix("refs/heads/"):
        yield project.root, {}
        return
    trees = {w.branch: w.path for w in reversed(git.worktrees(home(project))) if not w.bare and os.path.isdir(w.path)}
    found = trees.get(target) or trees.get(branch_ref)
    if found:
        yield found, {}
        return
    with tempfile.TemporaryDirectory(prefix="kin-attributes-") as folder:
        listed = git.git(home(project), "ls-tree", "-r", "-z", "--name-only", old).out.decode("utf-8", "surrogateescape")
        for name in listed.split("\0"):
            if os.path.basename(name) == ".gitattributes":
                os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                with open(os.path.join(folder, name), "wb") as out:
                    out.write(git.blob(home(project), old, name) or b"")
        yield folder, {"GIT_DIR": project.git_common, "GIT_WORK_TREE": folder}


def _known_text(work: Work, held: git.Object | None) -> bytes:
    text = held.content if held else work.whole
    if text is None:
        what = f"{work.task} is neither in the working tree nor on the target"
        raise NotFound(what, "commit it there first, or name another --base")
    return text


def _first_parent(
    cwd: str, old: str, work: Work, held: git.Object | None, kin: git.Object | None
) -> tuple[Written, bytes, bool]:
    """The commit that holds the task as `todo`, its text there, and whether it had to be written on top of `old`, which has
    the task as `held` and the store as `kin`."""
    path = task_path(work.task)
    if held is not None and standing(held.content, path).status is TaskStatus.todo:
        return Written(old, kin.oid if kin else None), held.content, False
    text = with_standing(_known_text(work, held), _TODO, path)
    # no Kin-Task trailer: that one is for what brings the work (undo.py looks for it on the first-parent line)
    commit = NewCommit((old,), f"kin: {work.task} is todo\n\nKin-Run: {work.run}\n", {path: text})
    return write_commits(cwd, merge_ref(work.task), [commit])[0], text, True


def _files(work: Work, text: bytes, wanted: Standing) -> dict[str, bytes]:
    """What a commit changes below `.kin/`: the task's file, `text`, says `wanted`, and what kin made comes in."""
    path = task_path(work.task)
    return {path: with_standing(text, wanted, path)} | {f".kin/{name}": content for name, content in work.extra.items()}


def _message(subject: str, task_id: str, run_id: str) -> str:
    return f"{subject}\n\nKin-Task: {task_id}\nKin-Run: {run_id}\n"
