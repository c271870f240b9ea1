"""`kin run` from a YAML file to a merged commit, with real git, real processes and the `command` agent."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import AS_A_PERSON, Repo, task_text


def step(text: str, **more: str) -> str:
    """A one-step pipeline in kin's layout, as it stands behind `pipeline:`."""
    extra = "".join(f"\n    {key}: {value}" for key, value in more.items())
    return f"\n  - role: developer\n    run: {json.dumps(text)}{extra}"


def add(project: Repo, number: int = 1, run: str = "echo hello > hello.txt", commit: bool = True, **fields: str) -> str:
    """Write the file of KIN-<number> with one command step, and commit it."""
    task_id = f"KIN-{number}"
    fields.setdefault("pipeline", step(run))
    project.write(f".kin/tasks/{task_id}.yaml", task_text(task_id, **fields))
    if commit:
        project.commit(f"add {task_id}")
    return task_id


def settings(project: Repo, *lines: str, mode: str = "auto", gates: tuple[str, ...] = ()) -> None:
    """Write kin.yaml and commit it."""
    listed = "".join(f"\n  - {json.dumps(gate)}" for gate in gates)
    parts = ["format: 1", "key: KIN", f"mode: {mode}", *([f"gates:{listed}"] if gates else []), *lines]
    project.write(".kin/kin.yaml", "\n\n".join(parts) + "\n")
    project.commit("settings")


def outcomes(project: Repo, *words: str, exit: int | None = 0) -> list[dict[str, object]]:
    """Run kin with --json and return the outcomes of its pipelines."""
    document = json.loads(project.kin("run", *words, "--json", exit=exit).stdout)
    assert document["kind"] == "pipeline.list", document
    data: list[dict[str, object]] = document["data"]
    return data


def status_of(project: Repo, task_id: str = "KIN-1", at: str | None = None) -> str:
    """What the task's file says, in the working tree or at a revision."""
    name = f".kin/tasks/{task_id}.yaml"
    text = project.git("show", f"{at}:{name}") if at else project.read(name)
    return next(line.removeprefix("status: ") for line in text.splitlines() if line.startswith("status: "))


def test_a_task_becomes_a_merge_that_brings_code_state_and_record(project: Repo) -> None:
    add(project)
    before = project.tip()
    (outcome,) = outcomes(project, "KIN-1")
    merge = project.tip("main")
    assert outcome["merge"] == merge and outcome["status"] == "done" and outcome["exit"] == 0
    assert project.tip("main^1") == before
    assert project.read("hello.txt") == "hello\n"
    assert status_of(project) == "done"
    assert project.status() == ""
    changed = project.git("diff", "--stat", "--numstat", "main^1", "main", "--", ".kin/tasks").split("\n")[0]
    assert changed.split()[:2] == ["1", "1"]
    records = project.git("ls-tree", "-r", "--name-only", "main", ".kin/pipelines/KIN-1/").splitlines()
    assert len(records) == 1
    record = project.git("show", f"main:{records[0]}")
    assert "status: completed" in record and str(project.path) not in record
    assert project.git("branch", "--list", "kin/*") == ""
    assert len(project.git("worktree", "list").splitlines()) == 1
    assert project.git("for-each-ref", "refs/kin") == ""


def test_a_run_starts_few_gits(project: Repo, tmp_path: Path) -> None:
    """They are most of what it takes: 70 were started before what cannot have changed was asked once only."""
    if (project.path / ".git/reftable").exists():
        pytest.skip("git alone reads these refs")
    add(project)
    project.kin("run", "KIN-1", env={"GIT_TRACE2_EVENT": str(tmp_path / "trace")})
    assert 20 < (tmp_path / "trace").read_text().count('"event":"start"') <= 45


def test_a_revert_reopens_the_task_and_running_it_again_brings_the_work_back(project: Repo) -> None:
    add(project)
    project.kin("run", "KIN-1")
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert status_of(project) == "todo" and not (project.path / "hello.txt").exists()
    project.kin("run", "KIN-1")
    assert project.read("hello.txt") == "hello\n" and status_of(project) == "done" and project.status() == ""


def test_a_task_that_was_never_committed_goes_in_whole_and_reverts_to_todo(project: Repo) -> None:
    add(project, commit=False)
    project.kin("run", "KIN-1")
    assert project.status() == "" and status_of(project, at="main") == "done"
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert status_of(project) == "todo" and not (project.path / "hello.txt").exists()


def test_review_waits_for_a_person_and_approve_merges(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    (outcome,) = outcomes(project, "KIN-1", exit=3)
    assert outcome["status"] == "review" and outcome["merge"] is None
    assert status_of(project) == "review" and not (project.path / "hello.txt").exists()
    assert "+hello" in project.kin("diff", "KIN-1").stdout
    assert "KIN-1" in project.kin("inbox").stdout
    project.kin("run", "KIN-1", exit=3)
    project.kin("approve", "KIN-1")
    assert status_of(project) == "done" and project.read("hello.txt") == "hello\n" and project.status() == ""
    assert status_of(project, at="main^1") == "todo"


def test_an_approval_that_cannot_be_acted_on_leaves_the_review_waiting(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    main = project.tip()
    project.git("checkout", "-q", "--orphan", "elsewhere")
    project.git("commit", "-qm", "another history")
    project.git("branch", "-M", "main")
    assert "unrelated histories" in project.kin("approve", "KIN-1", exit=7).stderr
    project.kin("doctor", "--fix")
    assert status_of(project) == "review" and "review" in project.kin("inbox").stdout
    project.git("reset", "-q", "--hard", main)
    project.kin("approve", "KIN-1")
    assert status_of(project) == "done"


def test_a_worktree_that_cannot_be_removed_does_not_unmake_the_merge(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    (root,) = project.path.parent.glob("home/state/kin/worktrees/*")
    root.chmod(0o500)
    for word in ("approve", "run"):
        project.kin(word, "KIN-1", wraps=AS_A_PERSON)
        assert status_of(project) == "done"
    root.chmod(0o700)
    project.kin("doctor", "--fix")
    assert list(root.iterdir()) == []


def test_a_gate_that_says_no_stops_the_merge_and_a_revision_mends_it(project: Repo) -> None:
    settings(project, gates=("test ! -e bad",))
    add(project, run="if grep -q better; then rm -f bad; touch good; else touch bad; fi")
    before = project.tip()
    (outcome,) = outcomes(project, "KIN-1", exit=1)
    assert outcome["blocked"] == "gate" and project.tip() == before
    assert "blocked" in status_of(project) and "test ! -e bad" in project.read(".kin/tasks/KIN-1.yaml")
    assert str(project.path) not in project.read(".kin/tasks/KIN-1.yaml")
    project.kin("revise", "KIN-1", "-m", "do it better", "--run")
    assert project.git("ls-tree", "--name-only", "main", "good") == "good"
    assert project.git("ls-tree", "--name-only", "main", "bad") == ""
    assert project.status() == ""


def test_a_gate_that_cannot_run_is_told_from_one_that_says_no(project: Repo) -> None:
    settings(project, gates=("no-such-program",))
    add(project)
    (outcome,) = outcomes(project, "KIN-1", exit=1)
    assert "could not run" in str(outcome["reason"])


def test_a_failed_step_keeps_its_work_and_says_what_it_said(project: Repo) -> None:
    add(project, run="echo half > half.txt; echo out-word; echo err-word >&2; exit 3")
    (outcome,) = outcomes(project, "KIN-1", exit=1)
    reason = str(outcome["reason"])
    assert outcome["blocked"] == "failed" and "exit 3" in reason and "out-word" in reason and "err-word" in reason
    (ref,) = project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage/KIN-1").splitlines()
    assert project.git("show", f"{ref}:half.txt") == "half"
    assert "half" in project.kin("salvage", "show", ref.removeprefix("refs/kin/salvage/")).stdout


def test_a_step_that_failed_is_named_once_in_a_line(project: Repo) -> None:
    add(project, run="exit 3")
    assert "KIN-1  1-developer ended with exit 3 and said nothing" in project.kin("run", "KIN-1", exit=1).stdout


def test_a_do_that_may_not_run_names_the_task_that_it_added(project: Repo) -> None:
    said = project.kin("do", "It", "--run", "true", env={"KIN_ALLOW_WRITE": ""}, exit=3).stderr
    assert "`--allow-write`" in said and "KIN-1 is added, `kin run KIN-1` starts it" in said


def test_a_commit_that_is_not_here_is_no_branch_to_fetch(project: Repo) -> None:
    add(project, run="true")
    assert "`git fetch --unshallow` may" in project.kin("run", "KIN-1", "--at", "HEAD~99", exit=8).stderr


def test_a_file_too_large_to_be_kept_is_named_at_once_and_the_advice_lets_the_task_go_on(project: Repo) -> None:
    add(project, run="echo x > x.txt; [ -e big.bin ] || { truncate -s 60M big.bin; exit 1; }")
    for _ in range(2):
        (outcome,) = outcomes(project, "KIN-1", exit=1)
        assert "big.bin in KIN-1's worktree cannot be saved (larger than 50 MiB" in str(outcome["reason"])
        assert "or name it in .git/info/exclude" in str(outcome["reason"])
    project.write(".git/info/exclude", "big.bin\n")
    project.kin("run", "KIN-1")
    assert project.read("x.txt") == "x\n" and not (project.path / "big.bin").exists()


def test_only_unfinished_steps_run_again(project: Repo) -> None:
    counter = project.path.parent / "count"
    pipeline = (
        f'\n  - role: architect\n    run: "echo a >> {counter}; echo 1 > one.txt"'
        f'\n  - role: developer\n    run: "echo b >> {counter}; test -e {counter}.ok && echo 2 > two.txt"'
    )
    add(project, pipeline=pipeline)
    outcomes(project, "KIN-1", exit=1)
    (project.path.parent / "count.ok").touch()
    outcomes(project, "KIN-1")
    assert counter.read_text().split() == ["a", "b", "b"]
    assert project.read("one.txt") == "1\n" and project.read("two.txt") == "2\n"


def test_a_finished_step_that_was_edited_starts_the_run_over(project: Repo) -> None:
    pipeline = '\n  - role: architect\n    run: "echo %s > one.txt"\n  - role: developer\n    run: "%s"'
    add(project, pipeline=pipeline % ("old", "false"))
    outcomes(project, "KIN-1", exit=1)
    text = project.read(".kin/tasks/KIN-1.yaml").replace("echo old", "echo new").replace('"false"', '"true"')
    project.write(".kin/tasks/KIN-1.yaml", text)
    done = project.kin("run", "KIN-1")
    assert "edited since" in done.stdout
    assert project.read("one.txt") == "new\n"


def test_a_tester_sends_work_back_with_items_and_gets_better_work(project: Repo) -> None:
    pipeline = (
        '\n  - role: developer\n    run: "if grep -q needs-two; then echo 2 > n; else echo 1 > n; fi"'
        '\n  - role: tester\n    run: "grep -q 2 n || { echo needs-two; exit 1; }"\n    back_to: developer'
    )
    add(project, pipeline=pipeline)
    outcomes(project, "KIN-1")
    assert project.read("n") == "2\n"


def test_rounds_end_in_blocked(project: Repo) -> None:
    pipeline = (
        '\n  - role: developer\n    run: "echo x >> n"'
        '\n  - role: tester\n    run: "echo never; exit 1"\n    back_to: developer\n    rounds: 2'
    )
    add(project, pipeline=pipeline)
    (outcome,) = outcomes(project, "KIN-1", exit=1)
    assert "3 times" in str(outcome["reason"]) and "never" in str(outcome["reason"])


def test_a_result_file_asks_a_question_that_a_person_answers(project: Repo) -> None:
    result = json.dumps({"status": "blocked", "question": "Which colour?"})
    ask = f"if grep -q blue; then echo blue > c; else echo '{result}' > $KIN_RESULT; fi"
    add(project, run=ask)
    (outcome,) = outcomes(project, "KIN-1", exit=3)
    assert outcome["blocked"] == "question" and "Which colour?" in str(outcome["reason"])
    project.kin("answer", "KIN-1", "-m", "blue", "--decide", "--run")
    assert project.read("c") == "blue\n"
    decision = project.read(".kin/decisions/D-1.yaml")
    assert "title: blue" in decision and "Which colour?" in decision and "person: Ada Person" in decision


def test_a_pipe_in_the_results_place_is_a_malformed_result(project: Repo) -> None:
    add(project, run='rm -f "$KIN_RESULT"; mkfifo "$KIN_RESULT"')
    (outcome,) = outcomes(project, "KIN-1", exit=1)
    assert "malformed result: it is no regular file" in str(outcome["reason"])


def test_work_without_code_ends_in_a_state_commit(project: Repo) -> None:
    add(project, run="echo looked at it")
    before = project.tip()
    (outcome,) = outcomes(project, "KIN-1")
    assert outcome["status"] == "done" and project.tip("main^1") == before
    assert "Kin-State: KIN-1 done" in project.git("log", "-1", "--format=%B") and project.status() == ""
    project.git("revert", "--no-edit", "HEAD")
    assert status_of(project) == "todo"


def test_a_read_only_step_never_reaches_the_branch(project: Repo) -> None:
    pipeline = (
        '\n  - role: developer\n    run: "echo good > good"\n  - role: reviewer\n    run: "echo evil > evil"\n    access: read'
    )
    add(project, pipeline=pipeline)
    outcomes(project, "KIN-1")
    assert (project.path / "good").exists() and not (project.path / "evil").exists()
    refs = project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage/KIN-1").splitlines()
    assert [project.git("show", f"{ref}:evil") for ref in refs] == ["evil"]


def test_a_git_folder_that_a_step_put_in_place_of_its_own_is_not_read(project: Repo, tmp_path: Path) -> None:
    """What keeps an agent in lets it write its worktree. Settings in a git folder there name programs: they run elsewhere."""
    evil = (
        f"git init -q made && git -C made config filter.x.clean 'touch {tmp_path}/ran; cat' && mv made/.git fake &&"
        " echo '* filter=x' > .gitattributes && echo 'gitdir: fake' > .git"
    )
    project.write("once.sh", f"echo work > work.txt\ntest -e {tmp_path}/once || {{ touch {tmp_path}/once; {evil}; }}\n")
    add(project, run="sh once.sh")
    (outcome,) = outcomes(project, "KIN-1", exit=1)
    assert "leads elsewhere" in str(outcome["reason"])
    (outcome,) = outcomes(project, "KIN-1")
    assert outcome["status"] == "done" and project.read("work.txt") == "work\n"
    (ref,) = project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage/KIN-1").splitlines()
    assert project.git("show", f"{ref}:work.txt") == "work"
    assert not (tmp_path / "ran").exists()


def test_protected_paths_wait_for_a_person_in_auto_mode(project: Repo) -> None:
    add(project, run="mkdir -p .github && echo x > .github/ci.yml")
    (outcome,) = outcomes(project, "KIN-1", exit=3)
    assert ".github/ci.yml" in str(outcome["reason"])
    project.kin("approve", "KIN-1")
    assert (project.path / ".github/ci.yml").exists()


def test_a_conflict_blocks_names_the_paths_and_is_mended_by_hand(project: Repo) -> None:
    project.commit(**{"f.txt": "one\n"})
    add(project, run="echo two > f.txt")
    settings(project, mode="review")
    outcomes(project, "KIN-1", exit=3)
    project.commit(**{"f.txt": "three\n"})
    before = project.tip()
    done = project.kin("approve", "KIN-1", "--json", exit=4)
    (outcome,) = json.loads(done.stdout)["data"]
    assert outcome["blocked"] == "conflict" and "f.txt" in outcome["reason"] and project.tip() == before
    worktree = json.loads(project.kin("show", "KIN-1", "--json").stdout)["data"]["worktree"]

    tree = Repo(Path(worktree))
    tree.git("merge", "main", ok=(1,))
    tree.write("f.txt", "two and three\n")
    tree.git("commit", "-qam", "merge main")
    outcomes(project, "KIN-1", exit=3)
    project.kin("approve", "KIN-1")
    assert project.read("f.txt") == "two and three\n" and project.status() == ""


def test_what_a_gate_commits_is_no_part_of_the_work(project: Repo) -> None:
    settings(project, gates=("echo more >> gate.txt; git add gate.txt; git commit -qm gate; git checkout -q --detach",))
    add(project)
    outcomes(project, "KIN-1")
    assert project.git("show", "--name-only", "--format=", "main^2~1") == "hello.txt"
    assert not (project.path / "gate.txt").exists()


def test_main_that_moves_only_under_kin_costs_no_new_gates(project: Repo) -> None:
    counter = project.path.parent / "gates"
    settings(project, mode="review", gates=(f"echo x >> {counter}",))
    add(project)
    outcomes(project, "KIN-1", exit=3)
    project.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2"))
    project.commit("another task")
    project.kin("approve", "KIN-1")
    assert counter.read_text().split() == ["x"]


def test_code_that_breaks_only_in_combination_is_blocked(project: Repo) -> None:
    settings(project, mode="review", gates=("! test -e a || ! test -e b",))
    add(project, run="touch a")
    outcomes(project, "KIN-1", exit=3)
    project.commit(b="")
    before = project.tip()
    (outcome,) = json.loads(project.kin("approve", "KIN-1", "--json", exit=1).stdout)["data"]
    assert outcome["blocked"] == "gate" and project.tip() == before


def test_rejected_work_is_kept_aside_and_a_task_without_any_is_cancelled_otherwise(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    assert "`kin set KIN-1 status=cancelled`" in project.kin("reject", "KIN-1", exit=2).stderr
    outcomes(project, "KIN-1", exit=3)
    project.kin("reject", "KIN-1", "-m", "no")
    assert status_of(project) == "cancelled" and project.git("branch", "--list", "kin/*") == ""
    (ref,) = project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage/KIN-1").splitlines()
    assert ref.endswith("-rejected") and project.git("show", f"{ref}:hello.txt") == "hello"
    project.kin("run", "KIN-1", exit=2)
    project.kin("reopen", "KIN-1")
    assert status_of(project) == "todo"


def test_a_tasks_json_has_the_same_keys_whatever_was_done_to_it(project: Repo) -> None:
    settings(project, mode="review")
    add(project)

    def done(*words: str) -> dict[str, Any]:
        found = json.loads(project.kin(*words, "KIN-1", "--json").stdout)["data"]
        one: dict[str, Any] = found[0] if isinstance(found, list) else found
        assert set(listed) <= set(one) and one["title"] == listed["title"]
        return one

    (listed,) = json.loads(project.kin("list", "--json").stdout)["data"]
    outcomes(project, "KIN-1", exit=3)
    assert done("reject")["status"] == "cancelled"
    assert done("reopen")["stored_status"] == "todo"
    outcomes(project, "KIN-1", exit=3)
    project.kin("approve", "KIN-1")
    assert done("undo")["commit"] == project.tip()
    assert done("rm")["acceptance"] == listed["acceptance"]


def test_undo_takes_code_and_state_back(project: Repo) -> None:
    add(project)
    project.kin("run", "KIN-1")
    project.kin("undo", "KIN-1")
    assert status_of(project) == "todo" and not (project.path / "hello.txt").exists() and project.status() == ""
    outcomes(project, "KIN-1")
    assert project.read("hello.txt") == "hello\n"


def test_undo_is_refused_while_a_later_run_builds_on_what_it_would_take_back(project: Repo) -> None:
    settings(project, mode="review")
    add(project, run="date +%s%N > $KIN_RUN")
    outcomes(project, "KIN-1", exit=3)
    project.kin("approve", "KIN-1")
    first = {path.name for path in project.path.iterdir()}
    project.kin("reopen", "KIN-1")
    outcomes(project, "KIN-1", exit=3)
    before = project.tip()
    assert "`kin reject`" in project.kin("undo", "KIN-1", exit=2).stderr
    assert project.tip() == before and {path.name for path in project.path.iterdir()} == first
    project.kin("reject", "KIN-1")
    project.kin("undo", "KIN-1")
    assert {path.name for path in project.path.iterdir()} < first


@pytest.mark.parametrize("where", ["unstaged", "staged"])
def test_hand_edits_of_the_task_file_survive_the_merge(project: Repo, where: str) -> None:
    add(project)
    text = project.read(".kin/tasks/KIN-1.yaml")
    project.write(".kin/tasks/KIN-1.yaml", text.replace("title: A task", "title: A better title"))
    if where == "staged":
        project.git("add", "-A")
    outcomes(project, "KIN-1")
    assert "A better title" in project.read(".kin/tasks/KIN-1.yaml") and status_of(project) == "done"
    assert "A better title" not in project.git("show", "main:.kin/tasks/KIN-1.yaml")


def test_a_dirty_file_in_the_way_leaves_the_merge_pending_until_it_is_gone(project: Repo) -> None:
    project.commit(**{"f.txt": "one\n"})
    add(project, run="echo two > f.txt")
    project.write("f.txt", "mine\n")
    before = project.status()
    (outcome,) = outcomes(project, "KIN-1", exit=4)
    assert "f.txt" in str(outcome["reason"]) and project.read("f.txt") == "mine\n"
    assert [line for line in project.status().splitlines() if "f.txt" in line] == before.splitlines()
    project.git("checkout", "f.txt")
    project.kin("approve", "KIN-1")
    assert project.read("f.txt") == "two\n" and status_of(project) == "done" and project.status() == ""


def test_nothing_runs_without_leave_or_trust(project: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    add(project, run="touch ran")
    monkeypatch.delenv("KIN_ALLOW_WRITE")
    done = project.kin("run", "KIN-1", exit=3)
    assert "--allow-write" in done.stderr
    monkeypatch.setenv("KIN_ALLOW_WRITE", "1")
    monkeypatch.delenv("KIN_TRUST")
    done = project.kin("run", "KIN-1", exit=3)
    assert "kin trust" in done.stderr and project.git("branch", "--list", "kin/*") == ""


def test_dry_run_prints_the_plan_and_touches_nothing(project: Repo) -> None:
    settings(project, gates=("pytest -q",))
    add(project)
    before = (project.status(), project.git("for-each-ref"))
    said = project.kin("run", "KIN-1", "--dry-run").stdout
    assert "echo hello > hello.txt" in said and "pytest -q" in said and "1-developer" in said
    assert (project.status(), project.git("for-each-ref")) == before


def test_a_clone_that_is_moved_while_a_step_works_leaves_nothing_behind(project: Repo, tmp_path: Path) -> None:
    there = Repo(tmp_path / "elsewhere")
    add(project, run=f'test -e {there.path} || mv "$(dirname "$KIN_DIR")" {there.path}; echo hello > hello.txt')
    assert f"{project.path} is gone" in project.kin("run", "KIN-1", exit=7).stderr
    assert not project.path.exists()
    there.kin("run", "KIN-1")
    assert there.read("hello.txt") == "hello\n" and there.status() == ""


@pytest.mark.parametrize("tracked", [True, False])
def test_a_store_that_is_a_link_is_refused_before_anything_runs(project: Repo, tracked: bool) -> None:
    add(project)
    (project.path / ".kin").rename(project.path / "company")
    (project.path / ".kin").symlink_to("company")
    project.git("add", "." if tracked else "company")
    project.git("commit", "-qm", "a link")
    assert ".kin is a symbolic link" in project.kin("run", "1", exit=7).stderr
    assert project.git("branch", "--list", "kin/*") == ""


def test_a_role_without_an_agent_says_how_to_set_one_up(project: Repo) -> None:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1"))
    done = project.kin("run", "KIN-1", exit=7)
    assert "agent:" in done.stderr and "--run" in done.stderr


def test_what_a_person_closed_meanwhile_is_not_merged(project: Repo) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    project.write(".kin/tasks/KIN-1.yaml", project.read(".kin/tasks/KIN-1.yaml").replace("status: review", "status: cancelled"))
    before = project.tip()
    project.kin("approve", "KIN-1", exit=2)
    assert project.tip() == before


@pytest.mark.parametrize(("code", "was"), [(0, "review"), (3, "blocked")])
@pytest.mark.parametrize(("closed", "exit"), [("done", 0), ("cancelled", 2)])
def test_a_task_that_was_closed_by_hand_is_over_and_its_work_kept(
    project: Repo, code: int, was: str, closed: str, exit: int
) -> None:
    settings(project, mode="review")
    add(project, run=f"echo half > half.txt; exit {code}")
    outcomes(project, "KIN-1", exit=None)
    assert status_of(project) == was
    project.write(".kin/tasks/KIN-1.yaml", project.read(".kin/tasks/KIN-1.yaml").replace(f"status: {was}", f"status: {closed}"))
    assert "waits" not in project.kin("list", "--all").stdout + project.kin("status").stdout
    assert project.kin("inbox", "--quiet").stdout == ""
    for _ in range(2):
        said = project.kin("run", "KIN-1", exit=exit)
        assert f"KIN-1 is {'already done' if closed == 'done' else closed}" in said.stdout + said.stderr
    (run,) = json.loads(project.kin("status", "KIN-1", "--json").stdout)["data"]["ended"]
    assert run["status"] == ("cancelled" if was == "review" else "failed")
    assert project.git("for-each-ref", "refs/heads/kin/KIN-1", "refs/kin/salvage/KIN-1")
    project.kin("reopen", "KIN-1")
    assert status_of(project) == "todo"


def test_another_branch_as_target_is_merged_without_a_checkout(project: Repo) -> None:
    settings(project, "base: main")
    add(project)
    project.git("switch", "-q", "-c", "feature")
    (outcome,) = outcomes(project, "KIN-1")
    assert outcome["merge"] == project.tip("main") and project.status() == ""
    assert status_of(project) == "todo" and not (project.path / "hello.txt").exists()
    assert "done on main" in project.kin("list").stdout
    project.git("switch", "-q", "main")
    assert project.read("hello.txt") == "hello\n" and status_of(project) == "done"


def test_a_path_with_spaces_quotes_and_non_ascii_works(
    make_repo: Callable[[str], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repo('it\'s a "repo" für ü')
    monkeypatch.setenv("KIN_TRUST", "1")
    monkeypatch.setenv("KIN_ALLOW_WRITE", "1")
    repo.kin("init", "--key", "KIN")
    repo.kin("add", "Say hello", "--run", "echo hello > hello.txt", "--mode", "auto")
    repo.kin("run", "KIN-1")
    assert repo.read("hello.txt") == "hello\n"


def test_a_budget_of_minutes_ends_the_run_and_a_larger_one_lets_it_go_on(project: Repo, tmp_path: Path) -> None:
    add(project, run=f"test -e {tmp_path}/go || exec tail -f /dev/null", budget="\n  minutes: 0.005")
    (outcome,) = outcomes(project, "KIN-1", exit=5)
    assert outcome["blocked"] == "budget" and "0.005 minutes" in str(outcome["reason"])
    text = project.read(".kin/tasks/KIN-1.yaml")
    project.write(".kin/tasks/KIN-1.yaml", text.replace("0.005", "many"))
    assert "budget.minutes" in project.kin("run", "KIN-1", exit=7).stderr
    project.write(".kin/tasks/KIN-1.yaml", text.replace("0.005", "5"))
    (tmp_path / "go").touch()
    outcomes(project, "KIN-1")


def test_steps_run_in_pid_namespaces_of_their_own_where_that_is_asked_for(project: Repo) -> None:
    settings(project, "unshare: true")
    add(project, 1, "echo $PPID > parent.txt")
    said = project.kin("run", "KIN-1").stdout
    assert (project.read("parent.txt") == "1\n") != ("`unshare: true` cannot be had" in said)


def test_a_step_that_runs_into_its_limit_is_blocked_as_timeout(project: Repo) -> None:
    pipeline = '\n  - role: developer\n    run: "echo half > half; exec tail -f /dev/null"\n    timeout: "0.3"'
    add(project, pipeline=pipeline)
    (outcome,) = outcomes(project, "KIN-1", exit=5)
    assert outcome["blocked"] == "timeout"
    assert project.git("for-each-ref", "refs/kin/salvage/KIN-1") != ""


def test_a_branch_that_a_person_has_checked_out_is_never_deleted_under_them(project: Repo, tmp_path: Path) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    project.git("worktree", "add", "-qf", str(tmp_path / "look"), "kin/KIN-1")
    project.kin("reject", "KIN-1", exit=6)
    project.kin("approve", "KIN-1")
    look = Repo(tmp_path / "look")
    assert look.git("rev-parse", "HEAD") == project.tip("kin/KIN-1")


def test_gates_that_changed_by_a_pull_are_agreed_to_before_an_approval_runs_them(
    project: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(project, mode="review")
    add(project)
    outcomes(project, "KIN-1", exit=3)
    monkeypatch.delenv("KIN_TRUST")
    project.kin("trust", "--yes")
    settings(project, mode="review", gates=("touch ran-by-stranger",))
    project.kin("approve", "KIN-1", exit=3)
    project.kin("approve", "KIN-1", "--trust")


def test_with_commit_true_states_are_committed_and_the_merge_still_reverts_to_todo(project: Repo) -> None:
    settings(project, "commit: true", mode="review", gates=("test ! -e bad",))
    add(project, run="if grep -q better; then rm -f bad; touch good; else touch bad; fi")
    outcomes(project, "KIN-1", exit=1)
    assert status_of(project, at="main") == "blocked" and project.status() == ""
    assert "Kin-State: KIN-1 blocked" in project.git("log", "-1", "--format=%B")
    project.kin("revise", "KIN-1", "-m", "better", "--run", exit=3)
    assert status_of(project, at="main") == "review"
    project.kin("approve", "KIN-1")
    assert status_of(project, at="main") == "done" and status_of(project, at="main^1") == "todo" and project.status() == ""
    project.git("revert", "--no-edit", "-m", "1", "HEAD")
    assert status_of(project) == "todo" and not (project.path / "good").exists()


def test_a_failed_run_leaves_its_record_and_secrets_are_masked_everywhere(
    project: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2-hunter2")
    settings(project, "secrets:\n  - DEPLOY_TOKEN")
    add(project, run='echo "token: $DEPLOY_TOKEN"; exit 1')
    outcomes(project, "KIN-1", exit=1)
    (record,) = (project.path / ".kin/pipelines/KIN-1").iterdir()
    assert "status: failed" in record.read_text() and "token: ***" in project.read(".kin/tasks/KIN-1.yaml")
    assert "token: ***" in project.kin("log", "KIN-1").stdout
    everything = [p for folder in (".kin", ".git/kin") for p in (project.path / folder).rglob("*") if p.is_file()]
    assert not [p for p in everything if b"hunter2" in p.read_bytes()]
