"""`kin add --file`: many tasks in one go, whatever the form; all of them or none."""

import errno
import json
import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Repo, task_text

from kin.errors import Usage
from kin.store.bulk import add_all, finish
from kin.store.project import find
from kin.store.text.stream import items

TASKS = [
    {"ref": "api", "title": "The interface", "priority": 1, "labels": ["b", "a"], "x-own": {"deep": [True, None, 1.50]}},
    {"title": "The page", "depends_on": ["api", "KIN-1"], "parent": "#3", "tags": ["ui"]},
    {"title": "All of it", "description": "One\ntwo\n"},
]
YAML = """\
# a backlog
- ref: api
  title: The interface
  priority: 1
  labels: [b, a]
  x-own: {deep: [true, null, 1.50]}   # as it is

- title: The page
  depends_on: [api, KIN-1]
  parent: "#3"
  tags:
  - ui
-   title: All of it
    description: |
      One
      two
"""
DOCUMENTS = """\
%YAML 1.2
---
# first
ref: api
title: The interface
priority: 1
labels: [b, a]
x-own: {deep: [true, null, 1.50]}
--- # next
{title: The page, depends_on: [api, KIN-1], parent: "#3", tags: [ui]}
---

title: All of it
description: |
  One
  two
...
"""
FORMS = {
    "list.yaml": YAML,
    "documents.yaml": DOCUMENTS,
    "wrapped.yaml": "about: a backlog\ntasks:\n" + "".join(f"  {line}\n" if line else "\n" for line in YAML.splitlines()[1:]),
    "windows.yaml": "\ufeff" + YAML.replace("\n", "\r\n"),
    "list.json": json.dumps(TASKS, indent=2),
    "one-line.json": json.dumps(TASKS),
    "wrapped.json": json.dumps({"tasks": TASKS}),
    "lines.jsonl": "".join(json.dumps(t) + "\n" for t in TASKS),
    "pretty.json": "\n".join(json.dumps(t, indent=1) for t in TASKS),
}


@pytest.fixture
def store(project: Repo) -> Repo:
    project.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", "There already", created="2026-11-01"))
    return project


def names(repo: Repo) -> list[str]:
    return sorted(p.stem for p in (repo.path / ".kin/tasks").glob("*.yaml"))


def fields(repo: Repo, number: int) -> dict[str, Any]:
    """What a task says, without what every task has."""
    task = json.loads(repo.kin("show", str(number), "--json").stdout)["data"]
    usual = ("id", "status", "created", "ready", "run", "stored_status")
    return {key: value for key, value in task.items() if value not in (None, []) and key not in usual}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(store: Repo, form: str) -> None:
    store.write(form, FORMS[form]) if form != "windows.yaml" else (store.path / form).write_bytes(FORMS[form].encode())
    assert store.kin("add", "--file", form, "-q").stdout == "KIN-2\nKIN-3\nKIN-4\n"
    first, second, third = (fields(store, number) for number in (2, 3, 4))
    number = "1.5" if form.endswith(("json", "jsonl")) else "1.50"
    assert {k: first[k] for k in ("title", "priority", "labels", "x-own")} == {
        "title": "The interface",
        "priority": 1,
        "labels": ["a", "b"],
        "x-own": {"deep": ["true", None, number]},
    }
    assert (second["depends_on"], second["parent"], second["labels"]) == (["KIN-1", "KIN-2"], "KIN-4", ["ui"])
    assert third["description"] == "One\ntwo\n"
    assert "ref" not in store.read(".kin/tasks/KIN-2.yaml")


def test_it_comes_through_a_pipe_and_texts_alone_are_titles(store: Repo) -> None:
    said = store.kin("add", "--file", "-", input="- Buy milk\n- 'Feed: the cat'\n- 1.10\n")
    assert said.stdout.splitlines()[0] == "KIN-2  .kin/tasks/KIN-2.yaml"
    assert [fields(store, n)["title"] for n in (2, 3, 4)] == ["Buy milk", "Feed: the cat", "1.10"]


def test_a_file_looks_as_if_it_was_added_alone(store: Repo) -> None:
    store.kin("add", "One", "-l", "b,a", "-p", "2", "--depends-on", "1", "-d", "Why")
    store.kin(
        "add", "-F", "-", input="depends_on: ['1']\ndescription: Why\npriority: high\nlabels: [b, a]\ntitle: One\n", exit=0
    )
    assert store.read(".kin/tasks/KIN-3.yaml") == store.read(".kin/tasks/KIN-2.yaml").replace("KIN-2", "KIN-3").replace(
        "priority: 2", "priority: 1"
    )


def test_options_fill_in_what_a_task_leaves_open(store: Repo) -> None:
    words = ("-l", "sprint", "-p", "2", "--draft", "--depends-on", "1", "--run", "make")
    store.kin("add", "--file", "-", *words, input="- One\n- {title: Two, priority: 5, labels: [own], status: todo}\n")
    one, two = json.loads(store.kin("list", "--json", "--sort", "id").stdout)["data"][1:]
    assert (one["labels"], one["priority"], one["status"], one["depends_on"]) == (["sprint"], 2, "draft", ["KIN-1"])
    assert (two["labels"], two["priority"], two["status"], two["pipeline"]) == (["own"], 5, "todo", [{"run": "make"}])


def test_what_kin_prints_can_be_read_again_elsewhere(store: Repo, make_repo: Any) -> None:
    store.kin("add", "--file", "-", input=YAML)
    listed = store.kin("list", "--all", "--json").stdout
    other = make_repo("other")
    other.kin("init", "--key", "KIN")
    assert sorted(other.kin("add", "-F", "-", "-q", input=listed).stdout.split()) == ["KIN-1", "KIN-2", "KIN-3", "KIN-4"]
    again = other.kin("list", "--all", "--json").stdout
    assert json.loads(again)["data"] == json.loads(listed)["data"]
    lines = store.kin("list", "--all", "--format", "jsonl").stdout
    assert "KIN-2 is there already" in other.kin("add", "-F", "-", input=lines, exit=7).stderr


def test_names_are_found_in_this_order_and_ids_of_other_kinds_are_names(store: Repo) -> None:
    store.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2"))
    text = json.dumps(
        [
            {"id": 2, "title": "A"},
            {"id": "GH-login", "title": "B", "depends_on": "2"},
            {"id": "KIN-9", "title": "GH-login2", "depends_on": ["GH-login", "a title of this"]},
            {"title": "a title of this", "depends_on": ["kin-1", "#1"]},
            {"title": "KIN-1", "ref": "x", "parent": "KIN-9"},
        ]
    )
    assert store.kin("add", "-F", "-", "-q", input=text).stdout.split() == ["KIN-3", "KIN-4", "KIN-9", "KIN-5", "KIN-6"]
    found = {n: fields(store, n).get("depends_on") for n in (4, 9, 5)}
    assert found == {4: ["KIN-3"], 9: ["KIN-4", "KIN-5"], 5: ["KIN-1", "KIN-3"]}
    assert fields(store, 6)["parent"] == "KIN-9"


def test_new_ids_keep_out_of_the_way_of_those_in_the_file(store: Repo) -> None:
    said = store.kin(
        "add", "-F", "-", "-q", input="- A\n- {id: KIN-2, title: B}\n- C\n- {id: kin-3, title: D}\n"
    ).stdout.split()
    assert said[1] == "KIN-2" and said[3] == "KIN-3" and len({*said, "KIN-1"}) == 5
    assert names(store) == sorted({*said, "KIN-1"})


FAULTS = [
    ("- One\n- {title: Two, priority: 9}\n", 7, "f:2:26: priority: expected a whole number from 1 to 5"),
    ("- One\n-\n", 7, "f:2:2: this is no task"),
    ("- status: todo\n", 7, "`title` is missing"),
    ("# so\nabout: it\ntasks: # all\n\n  - A\n  - title: B\n    priority: 9\n", 7, "f:7:15: priority: expected a whole number"),
    ("about: [\ntasks:\n  - A\n", 7, "f:3:3: a bracket that is never closed"),
    ("tasks:\n  - A\ntitle: One\n", 0, ""),
    ("title: One\ndata:\n- A\n", 0, ""),
    ("title: A\n---\ntitle: [\n", 7, "f:4:1: a bracket that is never closed"),
    ("- A\n- title: B\n  depends_on: [Q]\n", 7, "f:2: it needs 'Q', which is no task here nor in the stream"),
    ("- A\n- A\n- {title: B, parent: A}\n", 7, "f:3: several tasks of the stream are called 'A'; give them a `ref:`"),
    ("- {title: A, ref: x}\n- {title: B, ref: x}\n", 7, "f:2:19: two tasks of the stream are called 'x'"),
    (
        "- {title: A, depends_on: B}\n- {title: B, depends_on: A}\n",
        7,
        "wait for one another: 'A' depends on 'B', 'B' depends on 'A'",
    ),
    ("- {title: A, parent: B}\n- {title: B, depends_on: A}\n- {title: C, depends_on: C}\n", 7, "'C' depends on 'C'"),
    ("- {title: A, depends_on: B}\n- {title: B, parent: A}\n", 0, ""),
    ("- {title: A, parent: B}\n- {title: B, parent: A}\n", 7, "has the part"),
    ("- {id: KIN-1, title: A}\n", 7, "f:1: KIN-1 is there already; without `id` it gets a new one"),
    ("- {id: KIN-001, title: A}\n", 7, "KIN-1 is there already"),
    ("- {title: A, status: review}\n", 7, "only a run sets the status review"),
    ("- {title: A, pipeline: nosuch}\n", 7, "f:1:24: no pipeline is called 'nosuch'"),
    ("- {title: A, plan: maybe}\n", 7, "f:1:20: plan: expected true, false or approve"),
    ("- {title: A, budget: {usd: -1}}\n", 7, "f:1:28: usd: expected at least 0, found"),
    ("- {title: A, pipeline: [nosuch]}\n", 7, "no role is called 'nosuch'"),
    ("- {title: A, pipeline: [{role: tester, back_to: developer}]}\n", 7, "no earlier step is played by `developer`"),
    ("- title: A\n  depends_on:\n    - #1\n", 7, "f:3:5: depends_on holds an empty item; in YAML a `#` begins a comment"),
    ("- {title: A, tags: [a], labels: [b]}\n", 7, "another spelling of `labels`"),
    (f"- A\n- {{title: B, description: '{'x' * 300_000}'}}\n", 7, "at most 262,144"),
    (json.dumps([{"title": "A"}, {"title": "B", "description": "x" * 300_000}]), 7, "more than 262,144 bytes"),
    ('[{"title": "A"}, {"title": "B"', 7, "f:1:31: this is no JSON"),
    ('{"title": "A"}\n{"title": "B", "title": "C"}\n', 7, "f:2:1: the key `title` stands there twice"),
    ('{"title": "A", "x": ' + "[" * 60 + "]" * 60 + "}", 7, "nested deeper than 40 levels"),
    ('{"title": "A", "x": ' + "[" * 100_000, 7, "nested deeper than 40 levels"),
    ("", 2, "holds no task"),
    ("# nothing\n", 2, "holds no task"),
    ("[]\n", 2, "holds no task"),
    ("just words\n", 7, "f:1:1: the file is no mapping"),
]


@pytest.mark.parametrize(("text", "exit", "says"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_told_with_its_place_and_nothing_is_added(store: Repo, text: str, exit: int, says: str) -> None:
    store.write("f", text)
    said = store.kin("add", "--file", "f", exit=exit).stderr
    assert says in said
    if exit:
        assert names(store) == ["KIN-1"] and not (store.path / ".git/kin/given/KIN").exists()


def test_all_faults_are_told_at_once_to_programs(store: Repo) -> None:
    error = json.loads(store.kin("add", "-F", "-", "--json", input="- {title: A, priority: 9}\n- {mode: x}\n", exit=7).stdout)[
        "error"
    ]
    assert [line.partition(":")[0] for line in error["problems"]] == ["standard input"] * 3
    assert error["line"] == 1 and "2 more" in error["hint"]


def test_a_key_that_looks_misspelled_is_kept_and_said(store: Repo) -> None:
    said = store.kin("add", "-F", "-", input="- title: A\n  prioritiy: 2\n  x-other: 1\n")
    assert "standard input:2:14: `prioritiy` is no key that kin knows; did you mean `priority`?" in said.stderr
    assert "prioritiy: 2" in store.read(".kin/tasks/KIN-2.yaml")


def test_words_that_do_not_go_together(store: Repo) -> None:
    assert "exclude each other" in store.kin("add", "A title", "--file", "f", exit=2).stderr
    assert "needs a title" in store.kin("add", exit=2).stderr
    assert "there is no f" in store.kin("add", "--file", "f", exit=8).stderr
    (store.path / "big").write_bytes(b"#" * ((64 << 20) + 1))
    assert "more than 64 MiB" in store.kin("add", "--file", "big", exit=7).stderr


def add(repo: Repo, text: str, tick: Callable[[int, int], None]) -> None:
    add_all(find(str(repo.path), os.environ), text.encode(), "f", today="2026-11-24", defaults={}, environ={}, tick=tick)


def test_when_somebody_takes_an_id_half_way_nothing_stays(store: Repo) -> None:
    def take(done: int, most: int) -> None:
        assert most == 3
        store.write(".kin/tasks/KIN-4.yaml", task_text("KIN-4", "Theirs"))

    with pytest.raises(Usage, match="somebody took one of the ids"):
        add(store, "- A\n- B\n- C\n", take)
    assert names(store) == ["KIN-1", "KIN-4"] and "Theirs" in store.read(".kin/tasks/KIN-4.yaml")


def test_when_it_is_interrupted_only_what_somebody_edited_stays(store: Repo) -> None:
    def interrupt(done: int, most: int) -> None:
        if done == 2:
            store.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", "Edited at once"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(store, "- A\n- B\n- C\n", interrupt)
    assert names(store) == ["KIN-1", "KIN-2"]


def test_a_file_system_without_hard_links_will_do(store: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*names: str, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(os, "link", link)
    add(store, "- A\n- B\n", lambda done, most: None)
    assert names(store) == ["KIN-1", "KIN-2", "KIN-3"]


def test_killed_at_any_point_it_leaves_none_or_all_for_who_looks_next(store: Repo) -> None:
    store.write("f", "- A\n- B\n- C\n")
    folder, left = store.path / ".kin/tasks", list[int]()
    for point in range(1, 100):
        if store.kin("add", "-F", "f", env={"KIN_FAULT": f"#{point}"}, exit=None).returncode == 0:
            break
        finish(find(str(store.path), os.environ))
        left.append(len(names(store)) - 1)
        assert not list(folder.glob(".*")), f"killed at {point}"
        for name in names(store)[1:]:
            (folder / f"{name}.yaml").unlink()
    assert set(left) == {0, 3} and left == sorted(left) and names(store)[1:]


def test_what_a_killed_one_left_is_said_and_the_next_one_ends_it(store: Repo) -> None:
    store.write("f", "- A\n- B\n")
    store.kin("add", "-F", "f", env={"KIN_FAULT": "bulk.put"}, exit=-9)
    assert "`kin doctor --fix`" in store.kin("check").stdout
    assert names(store) == ["KIN-1"]
    store.kin("add", "-F", "-", input="- C\n")
    assert names(store) == ["KIN-1", "KIN-2", "KIN-3", "KIN-4"]


def test_the_doctor_ends_what_a_killed_one_began(store: Repo) -> None:
    store.write("f", "- A\n- B\n")
    store.kin("add", "-F", "f", env={"KIN_FAULT": "files.new"}, exit=-9)
    assert "cut short: none was added" in store.kin("doctor", "--fix", exit=None).stdout
    store.kin("add", "-F", "f", env={"KIN_FAULT": "bulk.put"}, exit=-9)
    assert "cut short: all its tasks are there now" in store.kin("doctor", "--fix", exit=None).stdout
    assert len(names(store)) == 3


def test_a_list_is_never_in_memory_as_a_whole() -> None:
    tasks = [{"title": f"Task {n}", "description": "\N{GRINNING FACE}" + "x" * 1000} for n in range(2000)]
    forms = [json.dumps(form, ensure_ascii=False) for form in (tasks, {"kin": 1, "data": tasks, "warnings": []})]
    lines = "".join(f"  - title: {one['title']}\n    description: {one['description']}\n" for one in tasks)
    for raw in map(str.encode, [*forms, f"about: a backlog\ntasks:\n{lines}"]):
        tracemalloc.start()
        try:
            assert sum(1 for _ in items(raw, "f")) == 2000
            assert tracemalloc.get_traced_memory()[1] < 1.5 * len(raw)
        finally:
            tracemalloc.stop()


def test_a_thousand_tasks_that_depend_on_one_another(store: Repo) -> None:
    lines = (json.dumps({"ref": f"r{n}", "title": f"Task {n}", "depends_on": [f"r{n - 1}"] if n else []}) for n in range(1000))
    store.write("many.jsonl", "\n".join(lines))
    assert len(store.kin("add", "-F", "many.jsonl", "-q").stdout.split()) == 1000
    assert fields(store, 1001)["depends_on"] == ["KIN-1000"]
