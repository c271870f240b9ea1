"""kin on checkouts and repositories in every state that a person's day brings them to. What is in the way is named and stays;
every error says what to do next and leaves everything as it was."""

import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import python
from conftest import AS_A_PERSON, KIN_YAML, Repo, wait_for
from killing import killed
from moving import litter, snapshot
from test_run import add, outcomes, settings, status_of

from kin import git

TASK = ".kin/tasks/KIN-1.yaml"
REWRITES = "echo new > f.txt; echo new > added.txt"


@pytest.fixture
def ready(project: Repo) -> Repo:
    """A project with a file that the work of KIN-1 changes, one that it leaves alone, and one that it adds."""
    project.commit("code", **{"f.txt": "old\n", "kept.txt": "old\n", ".gitignore": "*.log\n"})
    add(project, run=REWRITES)
    return project


def done(repo: Repo, status: str = "") -> None:
    """The task's code and state have arrived, and `git status` says no more than `status`."""
    assert repo.read("f.txt") == repo.read("added.txt") == "new\n" and status_of(repo) == "done"
    assert repo.status() == status and litter(repo) == []


def hook(repo: Repo, name: str, script: str, folder: str = ".git/hooks") -> None:
    path = repo.write(f"{folder}/{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def refused(repo: Repo, *words: str, exit: int, says: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """kin says no, with a way on behind the semicolon, and nothing at all has changed."""
    before = snapshot(repo)
    said = repo.kin(*words, exit=exit, env=env, cwd=cwd).stderr
    assert said.startswith("error: ") and says in said and "; " in said, said
    assert snapshot(repo) == before


def pending(repo: Repo, says: str) -> None:
    """kin run leaves the merge pending, for a reason with a way on; nothing but the task's status has changed."""
    before = snapshot(repo)
    (outcome,) = outcomes(repo, "KIN-1", exit=4)
    reason = str(outcome["reason"])
    assert says in reason and "kin approve KIN-1" in reason, reason
    assert status_of(repo) == "review"
    repo.git("checkout", "-q", "--", TASK)
    after = snapshot(repo)
    for seen in (before, after):
        seen["refs"] = [r for r in bytes(seen["refs"]).splitlines() if b"refs/heads/kin/" not in r]
        seen["litter"] = [name for name in litter(repo) if "/worktrees/" not in name]
    assert after == before


# ---- what lies in the checkout


def test_other_work_is_left_as_it_was(ready: Repo) -> None:
    """Unstaged, staged, both, untracked, ignored; and the same through an undo."""
    ready.write("kept.txt", "staged\n")
    ready.write("brand.txt", "new\n")
    ready.git("add", "kept.txt", "brand.txt")
    ready.write("kept.txt", "and unstaged\n")
    ready.write("untracked", "u\n")
    ready.write("x.log", "ignored\n")
    mine = "\n".join(["A  brand.txt", "MM kept.txt", "?? untracked"])
    ready.kin("run", "KIN-1")
    done(ready, mine)
    ready.kin("undo", "KIN-1")
    assert ready.read("f.txt") == "old\n" and status_of(ready) == "todo" and ready.status() == mine
    assert ready.read("kept.txt") == "and unstaged\n" and ready.git("show", ":kept.txt") == "staged"
    assert ready.read("x.log") == "ignored\n"


def _unstaged(repo: Repo) -> str:
    repo.write("f.txt", "mine\n")
    return "f.txt"


def _staged(repo: Repo) -> str:
    repo.git("add", _unstaged(repo))
    return "f.txt"


def _untracked(repo: Repo) -> str:
    repo.write("added.txt", "mine\n")
    return "added.txt"


def _ignored(repo: Repo) -> str:
    repo.write(".git/info/exclude", "added.txt\n")
    return _untracked(repo)


@pytest.mark.parametrize("lay", [_unstaged, _staged, _untracked, _ignored], ids=lambda f: f.__name__.strip("_"))
def test_what_is_in_the_way_is_named_and_stays_until_it_is_gone(ready: Repo, lay: Callable[[Repo], str]) -> None:
    add(ready, run=f"{REWRITES}; git add -f added.txt")
    path = lay(ready)
    pending(ready, says=path)
    assert ready.read(path) == "mine\n"
    ready.git("stash", "-q", "--all", "--", path)
    ready.kin("approve", "KIN-1")
    done(ready)


def test_hand_edits_of_the_task_file_staged_and_not_survive_together(ready: Repo) -> None:
    text = ready.read(TASK)
    ready.write(TASK, text.replace("title: A task", "title: Staged"))
    ready.git("add", TASK)
    ready.write(TASK, ready.read(TASK) + "\n# a comment\n")
    ready.kin("run", "KIN-1")
    done(ready, f"MM {TASK}")
    assert ready.read(TASK) == text.replace("A task", "Staged").replace("todo", "done") + "\n# a comment\n"
    assert ready.git("show", f":{TASK}") == text.replace("A task", "Staged").replace("todo", "done").rstrip()
    assert ready.git("show", f"main:{TASK}") == text.replace("todo", "done").rstrip()


def test_an_index_in_other_hands_stops_the_merge_and_the_undo(ready: Repo) -> None:
    lock = ready.write(".git/index.lock", "")
    (outcome,) = outcomes(ready, "KIN-1", exit=4)
    assert "index.lock" in str(outcome["reason"]) and ready.read("f.txt") == "old\n" and lock.read_text() == ""
    lock.unlink()
    ready.kin("approve", "KIN-1")
    done(ready)
    ready.write(".git/index.lock", "")
    refused(ready, "undo", "KIN-1", exit=4, says="index.lock")


# ---- where the target is


def test_a_switch_between_check_and_move_gets_no_merge(ready: Repo) -> None:
    """Before the index is kept a switch wins and the merge moves without a checkout; after that git itself refuses it."""
    ready.git("branch", "feature")
    assert killed(ready, "run", "KIN-1", point="move.journal") == -9
    ready.git("switch", "-q", "feature")
    ready.kin("run", "KIN-1", "--base", "main")
    assert ready.status() == "" and ready.read("f.txt") == "old\n" and status_of(ready) == "todo" and litter(ready) == []
    ready.git("switch", "-q", "main")
    done(ready)

    ready.kin("undo", "KIN-1")
    said = ready.path.parent / "said"
    script = 'test "$1" = prepared || exit 0; while read o n r; do test $r = refs/heads/main || continue'
    script += f'; rm "$0"; ({{}}) >{said} 2>&1; done; exit 0'
    hook(ready, "reference-transaction", script.replace("{}", f"env -u GIT_DIR git -C {ready.path} switch feature"))
    ready.kin("run", "KIN-1")
    assert "index.lock" in said.read_text() and ready.git("branch", "--show-current") == "main"
    done(ready)

    ready.kin("undo", "KIN-1")
    hook(ready, "reference-transaction", script.replace("{}", f"echo mine > {ready.path}/f.txt"))
    (outcome,) = outcomes(ready, "KIN-1", exit=4)
    assert "f.txt" in str(outcome["reason"]) and ready.read("f.txt") == "mine\n"
    assert ready.status() == f" M {TASK}\n M f.txt"


def test_a_switch_while_gates_run_is_no_trouble(ready: Repo) -> None:
    ready.git("branch", "feature")
    settings(ready, gates=(f"git -C {ready.path} switch -q feature",))
    (outcome,) = outcomes(ready, "KIN-1")
    assert outcome["status"] == "todo (done on main)" and ready.status() == "" and ready.read("f.txt") == "old\n"
    ready.git("switch", "-q", "main")
    done(ready)


def test_detached_head_needs_a_target_and_stays_where_it_is(ready: Repo) -> None:
    settings(ready, mode="review")
    ready.git("switch", "-q", "--detach")
    head = ready.tip()
    refused(ready, "run", "KIN-1", exit=2, says="`--base main`")
    outcomes(ready, "KIN-1", "--base", "main", exit=3)
    ready.kin("approve", "KIN-1")
    assert ready.tip() == head and ready.status() == "" and ready.read("f.txt") == "old\n"
    refused(ready, "undo", "KIN-1", exit=2, says="`--base main`")
    ready.git("switch", "-q", "main")
    done(ready)


def test_target_in_another_worktree_moves_there_beside_work_under_way(ready: Repo) -> None:
    ready.git("switch", "-q", "-c", "feature")
    ready.git("worktree", "add", "-q", "../second", "main")
    second = Repo(ready.path.parent / "second")
    second.write("kept.txt", "mine\n")
    ready.write("f.txt", "mine, on feature\n")
    ready.kin("run", "KIN-1", "--base", "main")
    assert second.read("f.txt") == "new\n" and status_of(second) == "done" and second.status() == " M kept.txt"
    assert ready.status() == " M f.txt" and status_of(ready) == "todo"
    second.kin("undo", "KIN-1")
    assert second.read("f.txt") == "old\n" and second.status() == " M kept.txt"


def test_target_that_is_checked_out_twice_waits_until_it_is_not(ready: Repo) -> None:
    ready.git("worktree", "add", "-q", "-f", "../second", "main")
    pending(ready, says="checked out twice")
    ready.git("worktree", "remove", "../second")
    ready.kin("approve", "KIN-1")
    done(ready)


# ---- repositories that kin cannot work in


@pytest.mark.parametrize("where", ["submodule", "separate"])
def test_a_checkout_whose_git_folder_lies_elsewhere(ready: Repo, tmp_path: Path, where: str) -> None:
    repo, gitdir = ready, tmp_path / "elsewhere"
    if where == "separate":
        ready.git("init", "-q", "--separate-git-dir", str(gitdir))
    else:
        Repo(tmp_path).git("init", "-q", "super")
        outer = Repo(tmp_path / "super")
        outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(ready.path), "inner")
        repo, gitdir = Repo(outer.path / "inner"), outer.path / ".git/modules/inner"
    repo.kin("run", "KIN-1")
    done(repo)
    repo.git("worktree", "add", "-q", str(tmp_path / "second"), "-b", "second")
    repo.kin("undo", "KIN-1", "--base", "main", cwd=tmp_path / "second", exit=0 if where == "submodule" else 4)
    if where == "separate":  # from there nobody can tell where main is checked out
        repo.kin("undo", "KIN-1")
    assert repo.read("f.txt") == "old\n" and status_of(repo) == "todo" and repo.status() == ""
    assert not (gitdir / ".kin").exists() and not (gitdir / "f.txt").exists()


def test_an_unborn_branch_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIN_TRUST", "1")
    monkeypatch.setenv("KIN_ALLOW_WRITE", "1")
    repo = Repo(tmp_path / "unborn")
    repo.path.mkdir()
    repo.git("init", "-q")
    repo.kin("init", "--key", "KIN")
    repo.kin("add", "x", "--run", "echo 1 > f", "--mode", "auto")
    for words in (("run", "KIN-1"), ("undo", "KIN-1")):
        refused(repo, *words, exit=7, says="commit once first: `git commit --allow-empty")
    repo.git("commit", "-q", "--allow-empty", "-m", "start")
    repo.kin("run", "KIN-1")
    assert repo.read("f") == "1\n" and status_of(repo) == "done"
    repo.git("update-ref", "-d", "refs/heads/main")
    refused(repo, "undo", "KIN-1", exit=7, says="was it deleted? `git reflog` tells where it was")


def test_a_bare_repository_is_refused_and_its_worktrees_work(ready: Repo) -> None:
    ready.git("clone", "-q", "--bare", ".", "../bare.git")
    bare = Repo(ready.path.parent / "bare.git")
    for words in (("init",), ("list",), ("run", "KIN-1")):
        said = bare.kin(*words, exit=7).stderr
        assert "bare repository" in said and "worktree" in said
    layout = Repo(ready.path.parent / "layout")  # a folder of worktrees around a bare repository
    layout.write(".git", "gitdir: ../bare.git\n")
    assert "in a worktree of it" in layout.kin("init", exit=7).stderr and os.listdir(layout.path) == [".git"]
    bare.git("worktree", "add", "-q", "../tree", "main")
    tree = Repo(ready.path.parent / "tree")
    tree.kin("run", "KIN-1")
    done(tree)
    assert "KIN-1" in ready.kin("list", cwd=ready.path / ".git").stdout, "where hooks of a push begin"


def test_a_git_that_is_too_old_or_missing_is_named_before_anything_happens(ready: Repo, tmp_path: Path) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    script = 'for w; do test "$w" = version && echo git version 2.30.1 && exit; done'
    (old / "git").write_text(f'#!/bin/sh\n{script}\nexec {shutil.which("git")} "$@"\n')
    (old / "git").chmod(0o755)
    env = {"PATH": f"{old}:{os.environ['PATH']}"}
    for words in (("run", "KIN-1"), ("init",), ("undo", "KIN-1")):
        refused(ready, *words, exit=7, says="git is 2.30, kin needs 2.38", env=env)
    refused(ready, "run", "KIN-1", exit=7, says="git is not installed", env={"PATH": str(tmp_path / "nowhere")})
    assert "KIN-1" in ready.kin("list", env=env).stdout


def test_nobody_and_a_foreign_owner_are_told_before_work_is_paid_for(ready: Repo) -> None:
    nobody = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.useConfigOnly", "GIT_CONFIG_VALUE_0": "true"}
    refused(ready, "run", "KIN-1", exit=7, says="git config user.name", env=nobody)
    committer = {"GIT_COMMITTER_NAME": "CI", "GIT_COMMITTER_EMAIL": "ci@example.org"}
    refused(ready, "run", "KIN-1", exit=7, says="git config user.name", env=nobody | committer)
    foreign = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    refused(ready, "run", "KIN-1", exit=7, says="safe.directory", env=foreign)


def test_a_container_that_names_its_person_in_the_environment_alone_runs_tasks(ready: Repo) -> None:
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.useConfigOnly", "GIT_CONFIG_VALUE_0": "true"}
    env |= {f"GIT_{who}_{what}": f"ci-{who}-{what}".lower() for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    ready.kin("run", "KIN-1", env=env)
    assert set(ready.git("log", "main@{1}..main", "--format=%an, %cn").splitlines()) == {"ci-author-name, ci-committer-name"}


def test_a_git_folder_that_cannot_be_written(ready: Repo) -> None:
    """Reading commands work; whatever would write says so, and starts nothing."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root writes anywhere")
    folders = [ready.path / ".git", *(p for p in (ready.path / ".git").rglob("*") if p.is_dir())]
    modes = [folder.stat().st_mode for folder in folders]
    before = snapshot(ready)
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        for words in (("run", "KIN-1"), ("add", "more"), ("undo", "KIN-1")):
            assert "is the git folder writable?" in ready.kin(*words, exit=7, wraps=AS_A_PERSON).stderr
        for words in (("list",), ("status",), ("show", "KIN-1"), ("inbox",)):
            ready.kin(*words, wraps=AS_A_PERSON)
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)
    assert snapshot(ready) == before
    ready.kin("run", "KIN-1")
    done(ready)


# ---- hooks, and kin called by them


def test_hooks_that_fail_for_people_do_not_fail_kin_and_post_merge_is_told(ready: Repo) -> None:
    for name in ("pre-commit", "commit-msg", "prepare-commit-msg", "pre-merge-commit", "post-commit", "post-checkout"):
        hook(ready, name, "exit 1")
    hook(ready, "post-merge", "echo no today >&2; exit 3")
    assert "post-merge hook failed: no today" in ready.kin("run", "KIN-1").stdout
    done(ready)
    assert "post-merge hook failed: no today" in ready.kin("undo", "KIN-1").stderr
    assert ready.read("f.txt") == "old\n" and ready.status() == ""


def test_a_post_merge_hook_that_hangs_holds_up_no_other_merge(ready: Repo, tmp_path: Path) -> None:
    add(ready, 2, "echo two > two.txt")
    os.mkfifo(tmp_path / "hangs")
    hook(ready, "post-merge", f"[ -e {tmp_path}/hooked ] || {{ touch {tmp_path}/hooked; cat {tmp_path}/hangs; }}")
    first = ready.start("run", "KIN-1", stdout=subprocess.DEVNULL)
    wait_for((tmp_path / "hooked").exists)
    assert status_of(ready) == "done" and "Nothing runs" in ready.kin("status").stdout
    ready.kin("run", "KIN-2")
    assert ready.read("two.txt") == "two\n" and first.poll() is None
    (tmp_path / "hangs").write_text("")
    assert first.wait(20) == 0


def test_what_a_post_merge_hook_leaves_in_the_background_is_not_waited_for(ready: Repo, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs")
    hook(ready, "post-merge", f"echo $$; cat {tmp_path}/hangs & exit 3")
    assert "post-merge hook failed: " in ready.kin("run", "KIN-1").stdout
    assert "post-merge hook failed: " in ready.kin("undo", "KIN-1").stderr
    (tmp_path / "hangs").write_text("")


def test_ctrl_c_ends_a_post_merge_hook_and_the_merge_stays(ready: Repo, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs")
    hook(ready, "post-merge", f"touch {tmp_path}/hooked; cat {tmp_path}/hangs")
    for words in (("run", "KIN-1"), ("undo", "KIN-1")):
        first = ready.start(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_for((tmp_path / "hooked").exists)
        (tmp_path / "hooked").unlink()
        first.send_signal(signal.SIGINT)
        said, _ = first.communicate(timeout=20)
        assert first.returncode == 0 and "the post-merge hook was ended: interrupted" in said
        assert status_of(ready) == ("done" if words[0] == "run" else "todo")


def test_a_reference_transaction_hook_has_its_veto(ready: Repo) -> None:
    def veto(ref: str) -> None:
        hook(
            ready,
            "reference-transaction",
            f'test "$1" = prepared || exit 0; while read o n r; do case $r in {ref}) echo not $r >&2; exit 1;; esac; done',
        )

    veto("refs/heads/kin/*")
    (outcome,) = outcomes(ready, "KIN-1", exit=1)
    assert "not refs/heads/kin/KIN-1" in str(outcome["reason"]) and outcome["status"] == "blocked"
    assert ready.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"
    ready.git("checkout", "-q", ".")
    ready.git("clean", "-qfd", ".kin")
    veto("refs/heads/main")
    pending(ready, says="not refs/heads/main")
    refused(ready, "undo", "KIN-1", exit=8, says="never merged")
    (ready.path / ".git/hooks/reference-transaction").unlink()
    ready.kin("approve", "KIN-1")
    done(ready)


def kin_command(repo: Repo, *words: str) -> str:
    return f"{python.stand_in(repo.path.parent / 'kin', '-m', 'kin')} {' '.join(words)}"


def test_kin_called_from_inside_hooks(ready: Repo) -> None:
    """GIT_DIR and GIT_INDEX_FILE of the caller mean another repository, or an index that is being written."""
    add(ready, 2, "echo two > two.txt")
    log = ready.path.parent / "log"
    hook(ready, "pre-commit", f'rm "$0"; {kin_command(ready, "run", "KIN-1")} >{log} 2>&1; exit 0')
    ready.write("kept.txt", "mine\n")
    ready.git("commit", "-q", "-a", "-m", "mine")  # holds the index for the time of the hook
    assert "index.lock" in log.read_text() and ready.status() == f" M {TASK}" and ready.read("f.txt") == "old\n"
    hook(ready, "post-commit", f'rm "$0"; {kin_command(ready, "approve", "KIN-1")} >{log} 2>&1')
    ready.git("commit", "-q", "--allow-empty", "-m", "more")
    done(ready)
    ready.git("worktree", "add", "-q", "-b", "side", "../side")
    side = Repo(ready.path.parent / "side")
    hook(ready, "post-commit", f'env >{log}; rm "$0"; {kin_command(ready, "run", "KIN-2", "--base", "main")}')
    side.commit("on the side", side="1\n")
    assert "GIT_DIR=" in log.read_text() and "GIT_INDEX_FILE=" in log.read_text()
    assert ready.read("two.txt") == "two\n" and ready.status() == "" and side.status() == ""
    assert side.git("log", "-1", "--format=%s") == "on the side"


def test_kin_inside_a_push_is_refused(ready: Repo) -> None:
    ready.git("clone", "-q", "--bare", ".", "../origin.git")
    log = ready.path.parent / "log"
    origin = Repo(ready.path.parent / "origin.git")
    calls = f"{kin_command(ready, 'run', 'KIN-1')}; {kin_command(ready, 'undo', 'KIN-1')}"
    hook(origin, "pre-receive", f"cd {ready.path}; exec >{log} 2>&1; {calls}; exit 0", folder="hooks")
    ready.commit("more", more="1\n")
    ready.git("push", "-q", "../origin.git", "main")
    assert log.read_text().count("error: kin cannot run while git receives a push; call it from") == 2
    assert ready.status() == "" and status_of(ready) == "todo"


# ---- settings of git


def test_commits_that_cannot_be_signed_wait_for_a_person(ready: Repo) -> None:
    unsigned = {"GIT_CONFIG_COUNT": "0"}
    for key, value in {"commit.gpgsign": "true", "user.signingkey": "nobody", "user.name": "Ada", "user.email": "a@b"}.items():
        ready.git("config", key, value)
    data = json.loads(ready.kin("run", "KIN-1", "--json", exit=3, env=unsigned).stdout)["data"]
    assert "could not sign" in data[0]["reason"] and "kin approve KIN-1" in data[0]["reason"]
    assert status_of(ready) == "review" and ready.status() == f" M {TASK}"
    ready.kin("approve", "KIN-1")
    done(ready)
    refused(ready, "undo", "KIN-1", exit=3, says="could not sign", env=unsigned)
    assert ready.git("for-each-ref", "refs/kin") == ""


def test_line_ends_that_git_converts(ready: Repo) -> None:
    """core.autocrlf, with core.safecrlf that stops a person's `git add`; the store without its .gitattributes."""
    ready.git("rm", "-q", ".kin/.gitattributes")
    ready.commit("no attributes")
    ready.git("config", "core.autocrlf", "true")
    ready.git("config", "core.safecrlf", "true")
    for name in ("f.txt", TASK):
        (ready.path / name).unlink()
    ready.git("checkout", "-q", ".")
    assert b"\r\n" in (ready.path / TASK).read_bytes()
    ready.kin("run", "KIN-1")
    assert ready.status() == "" and (ready.path / "f.txt").read_bytes() == b"new\r\n"
    assert b"status: done\r\n" in (ready.path / TASK).read_bytes() and "\r" not in ready.git("show", f"main:{TASK}")
    ready.kin("undo", "KIN-1")
    assert ready.status() == "" and (ready.path / "f.txt").read_bytes() == b"old\r\n"
    assert b"status: todo\r\n" in (ready.path / TASK).read_bytes()


HOSTILE = """
log.showSignature=true log.decorate=full log.abbrevCommit=true log.follow=true color.ui=always column.ui=always
status.showUntrackedFiles=no status.relativePaths=true status.short=true diff.noprefix=true diff.external=false
diff.ignoreSubmodules=all grep.lineNumber=true grep.patternType=fixed core.pager=false core.abbrev=5 core.editor=false
core.logAllRefUpdates=false core.commentChar=k core.splitIndex=true core.untrackedCache=true index.version=4
merge.ff=only merge.renames=false merge.conflictStyle=zdiff3 branch.autoSetupMerge=always worktree.guessRemote=true
format.pretty=oneline i18n.commitEncoding=ISO-8859-1 i18n.logOutputEncoding=ISO-8859-1 commit.template=/nonexistent
commit.verbose=true commit.cleanup=scissors submodule.recurse=true trailer.separators=% fetch.prune=true
tag.gpgSign=true revert.reference=true
"""


def test_a_person_s_settings_and_environment_change_nothing(ready: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    add(ready, title='"Größe – ✓"', run=REWRITES, base="main")
    ready.git("branch", "feature")
    for name in ("main", "kin/KIN-1"):
        ready.git("tag", name, "HEAD~1")
    for setting in HOSTILE.split():
        ready.git("config", *setting.split("="))
    for name in ("GIT_TRACE", "GIT_TRACE2", "GIT_GLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("LC_ALL", "C")
    ready.kin("run", "KIN-1")
    assert "+new" in ready.kin("diff", "KIN-1").stdout
    ready.git("switch", "-q", "feature")
    assert "todo (done on main)" in ready.kin("list").stdout
    ready.git("switch", "-q", "main")
    done(ready)
    assert ready.git("cat-file", "commit", "refs/heads/main").splitlines()[-4] == "kin: KIN-1 Größe – ✓"
    ready.kin("undo", "KIN-1")
    assert ready.git("status", "--porcelain", "--untracked-files=all") == "" and ready.read("f.txt") == "old\n"


def test_a_branch_and_a_folder_with_odd_names_in_a_repository_of_long_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIN_TRUST", "1")
    monkeypatch.setenv("KIN_ALLOW_WRITE", "1")
    repo = Repo(tmp_path / "a 'b'\nc\"d\" ü")
    repo.path.mkdir()
    repo.git("init", "-q", "--object-format=sha256", "-b", 'feat/grö"ße')
    repo.write(".kin/kin.yaml", KIN_YAML)
    repo.commit("code", **{"f.txt": "old\n"})
    add(repo, run=REWRITES)
    repo.kin("run", "KIN-1")
    done(repo)
    repo.kin("undo", "KIN-1")
    assert repo.read("f.txt") == "old\n" and repo.status() == ""


def test_a_submodule_stays_as_it_is_and_one_that_moves_is_told(ready: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'protocol.file.allow'='always'")
    library = ready.path.parent / "library"
    ready.git("init", "-q", str(library))
    Repo(library).commit("one", l="1\n")
    ready.git("submodule", "--quiet", "add", str(library), "lib")
    ready.git("commit", "-q", "-m", "a submodule")
    ready.write("lib/l", "mine\n")
    ready.kin("run", "KIN-1")
    done(ready, " M lib")
    ready.git("checkout", "-q", ".", cwd=ready.path / "lib")
    tip = Repo(library).commit("two", l="2\n")
    add(ready, 2, "git submodule -q update --init && cd lib && git pull -q origin main")
    assert "git submodule update" in ready.kin("run", "KIN-2").stdout
    assert ready.git("ls-tree", "main", "lib").split()[2] == tip
    ready.git("submodule", "--quiet", "update")
    assert ready.status() == "" and ready.read("lib/l") == "2\n"
    assert len(ready.git("worktree", "list").splitlines()) == 1


def test_a_person_s_own_sparse_checkout_is_kept_and_work_outside_of_it_arrives(ready: Repo) -> None:
    ready.commit("folders", a__f="1\n", b__f="1\n")
    add(ready, run=f"{REWRITES}; mkdir -p b; echo 2 > b/new")
    ready.git("sparse-checkout", "set", "a", ".kin")
    ready.kin("run", "KIN-1")
    done(ready)
    assert ready.git("show", "main:b/new") == "2" and ready.git("show", "main:b/f") == "1" and not (ready.path / "b").exists()
    ready.kin("undo", "KIN-1")
    assert ready.status() == "" and ready.git("ls-tree", "main", "b/new") == ""
    ready.git("sparse-checkout", "set", "a")
    refused(ready, "run", "KIN-1", exit=8, says="no .kin folder")


# ---- files and folders


def test_kin_dir_names_the_store_from_anywhere(ready: Repo, tmp_path: Path) -> None:
    there = {"KIN_DIR": str(ready.path / ".kin")}
    ready.kin("run", "KIN-1", env=there, cwd=tmp_path)
    done(ready)
    ready.kin("-C", str(ready.path), "undo", "KIN-1", cwd=tmp_path)
    assert ready.read("f.txt") == "old\n" and ready.status() == ""
    for wrong in (ready.path, tmp_path / "none/.kin"):
        refused(ready, "list", exit=8, says="KIN_DIR", env={"KIN_DIR": str(wrong)}, cwd=tmp_path)


STEP = "echo new > f.txt; echo new > added.txt"
FORMS = {
    "crlf": f"id: KIN-1\r\ntitle: A  # why\r\nstatus: todo # now\r\npipeline:\r\n  - run: {STEP}\r\n",
    "bom": f"\ufeffid: KIN-1\ntitle: A\nstatus: todo\npipeline:\n  - run: {STEP}\n",
    "flow": f"{{id: KIN-1, title: A, status: todo, pipeline: [{{run: {STEP}}}]}}\n",
    "json": f'{{"id": "KIN-1", "title": "A", "status": "todo", "pipeline": [{{"run": "{STEP}"}}]}}',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_task_file_in_any_form_changes_by_its_status_alone(ready: Repo, text: str) -> None:
    settings(ready, mode="review")
    (ready.path / TASK).write_bytes(text.encode())
    ready.commit("in another form")
    outcomes(ready, "KIN-1", exit=3)
    assert (ready.path / TASK).read_bytes() == text.replace("todo", "review").encode()
    ready.kin("approve", "KIN-1")
    assert (ready.path / TASK).read_bytes() == text.replace("todo", "done").encode()
    assert ready.status() == "" and ready.read("added.txt") == "new\n"
    ready.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert (ready.path / TASK).read_bytes().replace(b"\r\n", b"\n") == text.replace("\r\n", "\n").encode()


@pytest.mark.skipif(git.version("/") < (2, 46), reason="this git keeps refs in files")
def test_refs_may_lie_in_tables(ready: Repo) -> None:
    ready.git("refs", "migrate", "--ref-format=reftable")
    ready.kin("run", "KIN-1")
    done(ready)
    add(ready, 2, "git branch mine")
    assert "moved refs/heads/mine" in ready.kin("run", "KIN-2", exit=1).stdout
