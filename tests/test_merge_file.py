"""Merging `.kin/`: the layout lets git do most of it alone, and the driver does the rest key by key."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import Repo, task_text
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import DATA, PROFILE, TEXTS, Style

from kin.errors import Invalid
from kin.store.decisions import add as add_decision
from kin.store.project import find
from kin.store.text.merge import merge
from kin.store.text.reader import read
from kin.store.text.splice import Remove, Set, edit

BASE = task_text(
    "KIN-1", "Log in", priority="3", assignee="Ada", created="2026-11-24", description="|\n  One\n  two\n  three\n  four"
)


def merged(base: str, ours: str, theirs: str, *clashes: str) -> str:
    """What the driver makes of three texts; `clashes` are the keys that must be left to a person."""
    found = merge(base.encode(), ours.encode(), theirs.encode(), cwd=os.getcwd())
    assert found.clashes == clashes, found.content.decode()
    return found.content.decode()


# On a server that knows nothing of kin


@pytest.fixture
def clones(tmp_path: Path, make_repo: Callable[[str], Repo]) -> tuple[Repo, Repo]:
    """Two clones of one bare repository with a task, without the driver."""
    first = make_repo("first")
    first.git("init", "-q", "--bare", str(tmp_path / "server.git"))
    first.git("remote", "add", "origin", str(tmp_path / "server.git"))
    first.kin("init", "--key", "KIN")
    yaml = first.read(".kin/kin.yaml")
    first.write(".kin/kin.yaml", yaml + "\nids: random\n")
    first.write(".kin/tasks/KIN-1.yaml", BASE)
    first.commit("kin")
    first.git("push", "-q", "-u", "origin", "main")
    first.git("clone", "-q", str(tmp_path / "server.git"), str(tmp_path / "second"))
    first.git("config", "--remove-section", "merge.kin")
    return first, Repo(tmp_path / "second")


def exchange(first: Repo, second: Repo, exit: int = 0) -> None:
    """Commit both sides' work, push the first and merge it into the second."""
    first.commit("first")
    first.git("push", "-q")
    second.commit("second")
    second.git("fetch", "-q")
    second.git("merge", "-q", "origin/main", "-m", "both", ok=(exit,))


def test_two_clones_that_change_different_things_merge_without_the_driver(clones: tuple[Repo, Repo]) -> None:
    first, second = clones
    first.kin("set", "1", "priority=1", "x-points=5")
    second.kin("set", "1", "assignee=Bo", "status=in_progress")
    for clone in clones:
        clone.kin("add", f"A task of {clone.path.name}")
        clone.kin("note", "1", "-m", f"A note of {clone.path.name}")
        add_decision(find(str(clone.path), os.environ), {"title": f"Of {clone.path.name}"}, today="2026-11-24")
    exchange(first, second)
    task = json.loads(second.kin("show", "1", "--json").stdout)["data"]
    assert (task["priority"], task["x-points"], task["assignee"], task["status"]) == (1, "5", "Bo", "in_progress")
    assert len(second.kin("list", "-q").stdout.split()) == 3
    assert [len(list((second.path / ".kin" / name).rglob("*.yaml"))) for name in ("tasks", "notes", "decisions")] == [3, 2, 2]


def test_a_key_that_both_clones_change_is_an_ordinary_conflict_without_the_driver(clones: tuple[Repo, Repo]) -> None:
    first, second = clones
    first.kin("set", "1", "priority=1")
    second.kin("set", "1", "priority=5")
    exchange(first, second, exit=1)
    text = second.read(".kin/tasks/KIN-1.yaml")
    assert "<<<<<<< HEAD\npriority: 5\n=======\npriority: 1\n>>>>>>> origin/main\n" in text
    second.kin("set", "1", "module=x", exit=7)
    assert second.read(".kin/tasks/KIN-1.yaml") == text


def test_with_the_driver_what_both_add_at_one_place_merges(clones: tuple[Repo, Repo]) -> None:
    first, second = clones
    second.kin("init")
    first.kin("set", "1", "labels=auth", "depends_on+=1", exit=2)
    first.kin("set", "1", "labels=auth,ux", "acceptance+=One", "mode=auto")
    second.kin("set", "1", "labels=auth,db", "acceptance+=Two", "module=login")
    exchange(first, second)
    task = json.loads(second.kin("show", "1", "--json").stdout)["data"]
    assert (task["labels"], task["acceptance"]) == (["auth", "db", "ux"], ["Two", "One"])
    assert (task["mode"], task["module"]) == ("auto", "login")
    assert second.git("diff", "--check", "HEAD~1") == "" and second.status() == ""


def test_with_the_driver_a_true_conflict_is_marked_at_its_key_alone(clones: tuple[Repo, Repo]) -> None:
    first, second = clones
    second.kin("init")
    first.kin("set", "1", "priority=1", "labels=a")
    second.kin("set", "1", "priority=5", "labels=b")
    exchange(first, second, exit=1)
    marked = "<<<<<<< ours\npriority: 5\n=======\npriority: 1\n>>>>>>> theirs\n"
    assert second.read(".kin/tasks/KIN-1.yaml") == BASE.replace("priority: 3\n", marked).replace(
        "created:", "labels:\n  - a\n  - b\n\ncreated:"
    )
    assert second.git("ls-files", "--unmerged").count("KIN-1.yaml") == 3


def test_the_driver_works_in_a_rebase_in_a_worktree_and_from_any_folder(clones: tuple[Repo, Repo], tmp_path: Path) -> None:
    first, second = clones
    second.kin("init")
    first.kin("set", "1", "labels=a")
    first.commit("first")
    first.git("push", "-q")
    second.kin("set", "1", "labels=b")
    second.commit("second")
    second.git("worktree", "add", "-q", "--detach", str(tmp_path / "side"))
    below = tmp_path / "side" / "src"
    below.mkdir()
    second.git("pull", "-q", "--rebase", "origin", "main", cwd=below)
    assert "labels:\n  - a\n  - b\n" in (tmp_path / "side/.kin/tasks/KIN-1.yaml").read_text()


def test_where_kin_is_not_installed_the_driver_is_git_itself(clones: tuple[Repo, Repo], tmp_path: Path) -> None:
    first, second = clones
    second.kin("init")
    command = second.git("config", "merge.kin.driver").replace(os.path.dirname(sys.executable), str(tmp_path))
    second.git("config", "merge.kin.driver", command.replace("command -v kin", "command -v no-such-kin"))
    first.kin("set", "1", "priority=1", "x-a=1")
    second.kin("set", "1", "priority=5", "status=in_progress")
    exchange(first, second, exit=1)
    text = second.read(".kin/tasks/KIN-1.yaml")
    assert "<<<<<<< ours\npriority: 5\n=======\npriority: 1\n>>>>>>> theirs\n" in text and "x-a: 1" in text


# The command


def test_the_command_replaces_ours_and_says_on_standard_error_what_is_left(tmp_path: Path) -> None:
    sides = {"base": BASE, "ours": BASE.replace("3", "1"), "theirs": BASE.replace("3", "5").replace("Ada", "Bo")}
    for name, text in sides.items():
        (tmp_path / name).write_text(text)
    here = Repo(tmp_path)
    done = here.kin("merge-file", "base", "ours", "theirs", ".kin/tasks/KIN-1.yaml", "--marker-size", "9", exit=1)
    assert (done.stdout, done.stderr) == ("", "warning: .kin/tasks/KIN-1.yaml: both sides changed priority\n")
    text = here.read("ours")
    assert f"{'<' * 9} ours\npriority: 1\n{'=' * 9}\npriority: 5\n{'>' * 9} theirs\n" in text and "assignee: Bo" in text
    assert here.read("theirs") == sides["theirs"]
    here.write("ours", sides["base"])
    assert here.kin("merge-file", "base", "ours", "theirs").stderr == ""
    assert here.read("ours") == sides["theirs"]
    assert "there is no nothing" in here.kin("merge-file", "base", "nothing", "theirs", exit=8).stderr


def test_the_style_of_markers_is_gits_setting(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.git("config", "merge.conflictStyle", "diff3")
    monkeypatch.chdir(repo.path)
    text = merged(BASE, BASE.replace("3", "1"), BASE.replace("3", "5"), "priority")
    assert "<<<<<<< ours\npriority: 1\n||||||| base\npriority: 3\n=======\npriority: 5\n>>>>>>> theirs\n" in text


# Key by key


def test_neighbouring_keys_changed_on_both_sides_merge_in_a_terse_file_too() -> None:
    base = "id: KIN-1\ntitle: A\nstatus: todo   # mine\npriority: 3\nassignee: Ada\n"
    ours, theirs = base.replace("3", "1").replace("todo", "blocked"), base.replace("A\n", "B\n", 1).replace("Ada", "Bo")
    assert merged(base, ours, theirs) == "id: KIN-1\ntitle: B\nstatus: blocked   # mine\npriority: 1\nassignee: Bo\n"


def test_comments_of_both_sides_are_kept() -> None:
    base = "id: KIN-1\ntitle: A\nstatus: todo\npriority: 3\n\nassignee: Ada\n"
    ours = base.replace("todo", "blocked  # ours").replace("id:", "# head\nid:")
    theirs = base.replace("3", "1  # theirs\n  # below").replace("assignee", "# tail\nassignee") + "x-new: [1]   # new\n"
    assert merged(base, ours, theirs) == (
        "# head\nid: KIN-1\ntitle: A\nstatus: blocked  # ours\npriority: 1  # theirs\n  # below\n\n"
        "# tail\nassignee: Ada\nx-new: [1]   # new\n"
    )


def test_comments_of_both_sides_on_one_line_are_left_to_a_person() -> None:
    base = "id: KIN-1\ntitle: A\nstatus: todo\npriority: 3\nassignee: Ada\n"
    ours, theirs = base.replace("todo", "done  # ours"), base.replace("todo", "todo  # theirs").replace("Ada", "Bo")
    hunk = "<<<<<<< ours\nstatus: done  # ours\n=======\nstatus: todo  # theirs\n>>>>>>> theirs\n"
    assert merged(base, ours, theirs, "the file") == theirs.replace("status: todo  # theirs\n", hunk)
    ours, theirs = (f"# {side}\n{base.replace('3', value)}" for side, value in (("ours", "3"), ("theirs", "1")))
    assert merged(base, ours, theirs, "comments") == "<<<<<<< ours\n# ours\n=======\n# theirs\n>>>>>>> theirs\n" + base.replace(
        "3", "1"
    )


def test_an_alias_is_the_key_that_it_stands_for() -> None:
    base = "id: KIN-1\ntitle: A\nstatus: todo\ndeps: [KIN-2]\n"
    ours, theirs = base.replace("KIN-2", "KIN-2, KIN-4"), base.replace("deps: [KIN-2]", "depends_on:\n  - KIN-2\n  - KIN-3")
    text = merged(base, ours, base.replace("KIN-2", "KIN-2, KIN-3"))
    assert text == base.replace("KIN-2", "KIN-2, KIN-3, KIN-4")
    assert read(merged(base, theirs, ours), "")["depends_on"] == ["KIN-2", "KIN-3", "KIN-4"]


def test_unknown_keys_and_mappings_inside_merge_like_any_other() -> None:
    base = "x-a:\n  one: 1\n  two: 2\n  three: {four: 4, five: 5}\n"
    ours = base.replace("one: 1", "one: 10").replace("four: 4", "four: 40")
    theirs = base.replace("two: 2", "two: 20").replace("five: 5", "five: 50, six: 6") + "x-b: [1]\n"
    wanted = "x-a:\n  one: 10\n  two: 20\n  three: {four: 40, five: 50, six: 6}\nx-b: [1]\n"
    assert read(merged(base, ours, theirs), "") == read(wanted, "")


def test_a_nested_key_is_marked_inside_its_mapping() -> None:
    base = BASE + "\nblocked:\n  kind: gate\n  reason: A\n"
    base = base.replace("todo", "blocked")
    ours, theirs = base.replace("reason: A", "reason: B"), base.replace("reason: A", "reason: C").replace("gate", "question")
    text = merged(base, ours, theirs, "blocked.reason")
    assert text.endswith("blocked:\n  kind: question\n<<<<<<< ours\n  reason: B\n=======\n  reason: C\n>>>>>>> theirs\n")


def test_a_blocked_block_goes_with_the_status() -> None:
    base = BASE.replace("todo", "blocked").replace("priority", "blocked:\n  kind: gate\n  reason: A\n\npriority")
    assert merged(base, BASE, base.replace("reason: A", "reason: B")) == BASE
    assert merged(base, base.replace("reason: A", "reason: B"), BASE) == BASE


def test_a_key_removed_here_and_changed_there_is_a_conflict() -> None:
    without, changed = BASE.replace("assignee: Ada\n\n", ""), BASE.replace("Ada", "Bo")
    assert "<<<<<<< ours\n=======\nassignee: Bo\n>>>>>>> theirs\n" in merged(BASE, without, changed, "assignee")
    assert "<<<<<<< ours\nassignee: Bo\n=======\n>>>>>>> theirs\n" in merged(BASE, changed, without, "assignee")
    assert merged(BASE, without, BASE.replace("Log in", "Log out")) == without.replace("Log in", "Log out")


def test_a_text_of_several_lines_is_merged_by_line() -> None:
    ours, theirs = BASE.replace("  One\n", "  1\n").replace("3", "2"), BASE.replace("  four\n", "  4\n").replace("Ada", "Bo")
    assert read(merged(BASE, ours, theirs), "")["description"] == "1\ntwo\nthree\n4\n"
    both = merged(BASE, ours, BASE.replace("  One\n", "  I\n"), "description")
    assert "description: |\n<<<<<<< ours\n  1\n=======\n  I\n>>>>>>> theirs\n  two\n" in both


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "wanted"),
    [
        ("[a]", "[a, o]", "[a, t]", ["a", "o", "t"]),
        ("[a, b]", "[b]", "[a]", []),
        ("[a, b, c]", "[b, c]", "[a, b]", ["b"]),
        ("[a, b]", "[a, b, o]", "[t, a, b]", ["t", "a", "b", "o"]),
        ("[a, b]", "[b, a]", "[a, b, t]", ["b", "t", "a"]),
        ("[a, b]", "[a, b, o]", "[b, a]", None),
        ("[a]", "[o]", "[t]", None),
        ("[a, a]", "[a, a, o]", "[t, a, a]", None),
        ("[a]", "null", "[a, t]", ["t"]),
        ("a", "[a, o]", "a", ["a", "o"]),
        (
            "[{r: a}, {r: b}]",
            "[{r: a, t: 1}, {r: b}]",
            "[{r: a}, {r: b}, {r: c}]",
            [{"r": "a", "t": "1"}, {"r": "b"}, {"r": "c"}],
        ),
        ("[{r: a}]", "[{r: a, t: 1}]", "[{r: a, t: 2}]", None),
    ],
)
def test_lists_merge_by_their_items(base: str, ours: str, theirs: str, wanted: list[Any] | None) -> None:
    texts = [f"id: x\nk: {value}\n" for value in (base, ours, theirs)]
    text = merged(*texts, *([] if wanted is not None else ["k"]))
    if wanted is None:
        assert text == f"id: x\n<<<<<<< ours\nk: {ours}\n=======\nk: {theirs}\n>>>>>>> theirs\n"
    else:
        assert read(text, "").get("k", []) == wanted


def test_lists_that_kin_keeps_sorted_never_clash() -> None:
    base = task_text("KIN-1", labels="[a, b]")
    text = merged(base, task_text("KIN-1", labels="[o]"), task_text("KIN-1", labels="[b, a, t]"))
    assert read(text, "")["labels"] == ["o", "t"]


# What cannot be merged by key


@pytest.mark.parametrize("odd", ["a: [\n", "- a\n", "a: 1\na: 2\n", "a: !x 1\n", "a: &a 1\nb: *a\n", "<<<<<<< x\n"])
def test_what_cannot_be_read_is_merged_by_line(odd: str) -> None:
    base = f"{odd}k: 1\n\n\n\nl: 2\n"
    assert merged(base, base.replace("1\n\n", "3\n\n"), base.replace("l: 2", "l: 4")).endswith("k: 3\n\n\n\nl: 4\n")
    assert "<<<<<<< ours\nk: 3\n=======\nk: 4\n>>>>>>> theirs\n" in merged(
        base, base.replace("k: 1", "k: 3"), base.replace("k: 1", "k: 4"), "the file"
    )


def test_what_is_no_utf_8_is_merged_by_line() -> None:
    base = "k: é\n\n\n\nl: 2\n".encode("latin-1")
    found = merge(base, base.replace(b"k", b"o"), base.replace(b"2", b"4"), cwd=os.getcwd())
    assert found == ("o: é\n\n\n\nl: 4\n".encode("latin-1"), ())


def test_two_tasks_with_one_id_are_not_mixed() -> None:
    ours, theirs = task_text("KIN-2", "Mine", labels="[a]"), task_text("KIN-2", "Yours", priority="1")
    text = merged("", ours, theirs, "the file")
    assert "<<<<<<< ours\ntitle: Mine\n" in text and "labels: [a]" in text


def test_keys_in_one_line_are_marked_as_a_whole() -> None:
    base = '{"id": "KIN-1", "title": "A", "status": "todo"}\n'
    assert merged(base, base.replace("A", "B"), base.replace("todo", "done")) == base.replace("A", "B").replace("todo", "done")
    text = merged(base, base.replace("A", "B"), base.replace("A", "C"), "the file")
    assert text == f"<<<<<<< ours\n{base.replace('A', 'B')}=======\n{base.replace('A', 'C')}>>>>>>> theirs\n"


def test_line_ends_of_one_side_do_not_make_a_conflict() -> None:
    theirs = BASE.replace("Ada", "Bo").replace("\n", "\r\n")
    assert merged(BASE, BASE.replace("3", "1"), theirs) == BASE.replace("3", "1").replace("Ada", "Bo")
    assert merged(BASE, theirs, BASE.replace("3", "1")) == theirs.replace("3", "1")


# Any file


def settled(text: str, side: str) -> str:
    """The text after a person took `side` of every conflict."""
    pattern = r"<<<<<<< ours\r?\n(?P<ours>.*?)=======\r?\n(?P<theirs>.*?)>>>>>>> theirs\r?\n"
    return re.sub(pattern, lambda match: match[side], text, flags=re.DOTALL)


@given(DATA, st.data(), st.randoms(use_true_random=False))
@settings(PROFILE, max_examples=PROFILE.max_examples // 8)
def test_any_changes_of_two_people_merge_or_are_marked(data: dict[str, Any], draw: st.DataObject, random: Random) -> None:
    """Whatever is drawn: no change of either side is lost, and a conflict settled one way leaves what that side wanted."""
    keys = sorted(data)
    base = Style(random).document({**data, "kept": "1"})  # a file without a key is none
    texts, wishes = [], []
    for _ in range(2):
        wish = draw.draw(
            st.dictionaries(st.sampled_from([*keys, "x-new", "new"]), st.none() | TEXTS | st.lists(TEXTS), max_size=3)
        )
        steps = [Set((key,), value) if value is not None else Remove((key,)) for key, value in wish.items()]
        try:
            read(base, "")
            texts.append(edit(base, steps, aliases={}))
        except Invalid:
            assume(False)
        wishes.append({key: read(texts[-1], "").get(key) for key in wish})
    ours, theirs = wishes
    both = [key for key in ours if key in theirs and ours[key] != theirs[key]]
    found = merge(base.encode(), texts[0].encode(), texts[1].encode(), cwd=os.getcwd())
    if found.clashes == ("the file",):  # keys that share a line: as git leaves it
        assert both
        return
    for side, first, second in (("ours", theirs, ours), ("theirs", ours, theirs)):
        said = read(settled(found.content.decode(), side), f"{found} {base!r} {texts!r}")
        for key, value in (first | second).items():
            by_line = key in both and not any(clash.partition(".")[0] == key for clash in found.clashes)
            assert said.get(key) == value or by_line or isinstance(value, list), (side, key, found.content.decode())
    assert both or not found.clashes, found.content.decode()
