"""The roster in agents/: each role is complete, small, and distinct from the others."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo

from kin.store.roles import Role, parse_role

AGENTS = Path(__file__).parent.parent / "agents"
ROSTER = {
    *("pm", "architect", "tech_researcher", "business_analyst", "market_researcher"),
    *("legal_researcher", "ux_designer", "developer", "backend_dev", "frontend_dev"),
    *("mobile_dev", "data_engineer", "database_admin", "debugger", "reviewer"),
    *("tester", "security_auditor", "performance_engineer", "sysadmin", "devops_engineer"),
    *("integrator", "technical_writer", "release_manager", "marketer"),
}
READERS = {
    *("pm", "architect", "tech_researcher", "business_analyst", "market_researcher", "legal_researcher", "ux_designer"),
    *("reviewer", "security_auditor"),
}
SHOWN_THE_DIFF = {"reviewer", "security_auditor", "tester", "technical_writer"}
KINDS = {"decision", "convention", "gotcha", "workaround", "rejected_approach"}
HEADINGS = ["You get", "You hand on", "You do not", "How to finish"]
LEFT_TO_KIN = "- Commit, switch branches, or touch `.kin/`: kin does that.\n"


@pytest.fixture(params=sorted(ROSTER))
def role(request: pytest.FixtureRequest) -> Role:
    path = AGENTS / f"{request.param}.md"
    return parse_role(path.read_text(encoding="utf-8"), request.param, str(path))


def sections(role: Role) -> dict[str, str]:
    """A body by heading; what stands before the first one under ''."""
    parts = re.split(r"^## (.*)\n", role.body, flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_roster_is_the_contracts() -> None:
    assert {path.stem for path in AGENTS.glob("*.md")} == ROSTER
    assert [p.name for p in AGENTS.iterdir() if p.suffix != ".md"] == ["agents.yaml"]


def test_a_role_says_its_job_what_it_gets_hands_on_must_not_do_and_how_to_finish(role: Role) -> None:
    parts = sections(role)
    assert parts[""].startswith("Your one job: ")
    assert [h for h in parts if h in HEADINGS] == HEADINGS, "in this order"
    assert set(parts) <= {"", "How you work", "What you look for", "What you look for, in this order", *HEADINGS}
    assert all(text.strip() for text in parts.values())
    assert parts["You do not"].count("\n- ") + parts["You do not"].startswith("- ") >= 3
    assert "`summary`" in parts["You hand on"] and "`decisions`" in parts["You hand on"]
    assert parts["How to finish"].rstrip().endswith("."), "a sentence"


def test_a_prompt_stays_below_two_kilobytes(role: Role) -> None:
    assert 600 < len(role.body.encode()) < 2048


def test_the_front_matter_is_complete_and_names_what_exists(role: Role) -> None:
    head = (AGENTS / f"{role.name}.md").read_text().split("---\n")[1]
    assert head.startswith(f"name: {role.name}\nsummary: ")
    assert role.summary and not role.summary.endswith(".") and len(role.summary) < 100
    assert role.extra == {} and set(role.reads) <= {"kinds", "tags", "modules", "roles", "diff", "roster"}
    assert set(role.reads["kinds"]) <= KINDS and role.reads["kinds"]
    assert role.reads["modules"] in ("task", "all")
    assert ("diff" in role.reads) == (role.name in SHOWN_THE_DIFF) and ("roster" in role.reads) == (role.name == "pm")
    read_from = role.reads["roles"]
    assert read_from == "all" or (read_from and set(read_from) < ROSTER - {role.name})


def test_who_may_write_is_told_what_is_kins_and_who_may_not_is_not_sent_to_write(role: Role) -> None:
    assert role.access == ("read" if role.name in READERS else "write")
    left_to_kin = LEFT_TO_KIN in sections(role)["You do not"]
    assert left_to_kin == (role.access == "write" and role.name != "integrator")


def test_no_role_is_written_twice() -> None:
    seen: dict[str, str] = {}
    for name in sorted(ROSTER):
        for line in (AGENTS / f"{name}.md").read_text().split("---\n", 2)[2].splitlines():
            text = line.strip()
            if len(text) < 40 or text + "\n" == LEFT_TO_KIN:
                continue
            assert text not in seen, f"{name} and {seen[text]} share: {text}"
            seen[text] = name


def test_every_role_is_heard_by_some_other_that_names_it() -> None:
    """A hand-over that only `all` would read is one that nobody planned for."""
    heard: set[str] = set()
    for name in ROSTER:
        role = parse_role((AGENTS / f"{name}.md").read_text(), name, name)
        if role.reads["roles"] != "all":
            heard |= set(role.reads["roles"])
    assert heard >= ROSTER - {"marketer", "integrator"}, "these two end a pipeline"


# the command


def data(project: Repo, *words: str) -> Any:
    return json.loads(project.kin("roles", *words, "--json").stdout)["data"]


def test_the_roles_are_listed_with_who_would_play_them(project: Repo) -> None:
    settings = "key: KIN\nagent: [claude, codex]\nroles: {reviewer: {agent: codex, model: o9, access: read, timeout: 5m}}\n"
    project.write(".kin/kin.yaml", settings)
    found = {row["name"]: row for row in data(project)}
    assert set(found) == ROSTER and {row["source"] for row in found.values()} == {"kin"}
    assert found["developer"]["agents"] == ["claude", "codex"] and found["developer"]["access"] == "write"
    assert found["reviewer"]["agents"] == ["codex"] and found["reviewer"]["model"] == "o9"
    page = project.kin("roles", "show", "reviewer").stdout
    assert "played by codex" in page and "timeout: 300" in page and "Your one job: find what is wrong" in page


def test_a_broken_role_is_named_beside_the_others(project: Repo) -> None:
    project.write(".kin/roles/bard.md", "---\nname: bard\n")
    said = project.kin("roles")
    assert "warning: .kin/roles/bard.md:1:1: the front matter has no end" in said.stderr and "\ndeveloper " in said.stdout


def test_a_new_role_is_a_copy_to_change_or_a_frame_that_is_complete(project: Repo) -> None:
    assert project.kin("roles", "new", "reviewer").stdout == ".kin/roles/reviewer.md\n"
    assert project.read(".kin/roles/reviewer.md") == (AGENTS / "reviewer.md").read_text()
    project.kin("roles", "new", "reviewer", exit=2)
    project.kin("roles", "new", "gardener")
    made = parse_role(project.read(".kin/roles/gardener.md"), "gardener", "")
    assert [h for h in sections(made) if h in HEADINGS] == HEADINGS and made.access == "write"
    assert data(project, "show", "gardener")["source"] == ".kin/roles/gardener.md"
    assert project.kin("check").returncode == 0
    project.kin("roles", "new", "../evil", exit=2)
    project.kin("roles", "show", "nobody", exit=8)
    project.kin("roles", "show", exit=2)
    project.kin("roles", "sing", exit=2)


# the roster at work

PLAY = """\
tee {folder}/$KIN_ROLE.$KIN_TASK.prompt
env; cat .env 2>&1
printf '```kin-result\\n{{"status": "done", "summary": "handed-on-by-%s"}}\\n```\\n' "$KIN_ROLE"
"""


def test_a_role_is_told_what_it_reads_and_no_secret_reaches_a_prompt_log_commit_or_record(
    project: Repo, tmp_path: Path
) -> None:
    """Every role of the roster plays, in one task before and in another after every other, and says aloud all that it sees."""
    (tmp_path / "play.sh").write_text(PLAY.format(folder=tmp_path))
    agents = {"player": {"argv": ["sh", str(tmp_path / "play.sh")], "format": "text"}}
    roster = sorted(ROSTER)
    settings = {"agent": "player", "agents": agents, "pipelines": {"up": roster, "down": roster[::-1]}}
    project.write(
        ".kin/kin.yaml", project.read(".kin/kin.yaml") + "".join(f"\n{k}: {json.dumps(settings[k])}\n" for k in settings)
    )
    project.write(".kin/modules.yaml", "auth: src/auth/**\n\nmail: src/mail/**\n")
    project.write(".gitignore", ".env\n")
    project.kin("decide", "Mails need a password", "--module", "mail", "-m", "it is hunter2-mail")
    before = project.commit("everybody")
    project.write(".env", "PASSWORD=hunter2-file\n")
    for number, (pipeline, order) in enumerate((("up", roster), ("down", roster[::-1])), 1):
        project.kin("do", f"Task {number}", "--pipeline", pipeline, "--module", "auth", env={"DEPLOY_TOKEN": "hunter2-env"})
        for place, name in enumerate(order):
            reads = parse_role((AGENTS / f"{name}.md").read_text(), name, name).reads
            prompt = (tmp_path / f"{name}.KIN-{number}.prompt").read_text()
            told = set(re.findall(r"handed-on-by-(\w+)", prompt))
            assert told == {r for r in order[:place] if "all" in reads["roles"] or r in reads["roles"]}, name
            (log,) = (project.path / ".git/kin/logs" / f"KIN-{number}").glob(f"*/{place + 1}-{name}.*")
            assert "# How to end" in log.read_text(), "the prompt and the environment were said aloud"
            assert ("hunter2-mail" in log.read_text()) == (reads["modules"] == "all"), name
    kept = project.git("log", "-p", f"{before}..main") + "".join(p.read_text() for p in tmp_path.glob("*.prompt"))
    kept += "".join(p.read_text() for p in (project.path / ".git/kin/logs").rglob("*") if p.is_file())
    assert "hunter2-env" not in kept and "hunter2-file" not in kept
