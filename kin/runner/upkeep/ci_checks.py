"""What `kin doctor --ci` looks at: whether a job may do what `kin run --push` will, asked before an agent costs anything."""

import os
import shutil
from collections.abc import Iterator

from kin import git
from kin.errors import KinError
from kin.runner.remote import origin
from kin.runner.remote.forge import client_for
from kin.runner.remote.host import job_of
from kin.runner.remote.target import find_target
from kin.runner.upkeep.case import Case, Row


def check_job(case: Case) -> Iterator[Row]:
    job = job_of(case.environ)
    if not job.host:
        yield Row("warn", "no CI host that kin knows", "its log gets plain lines; name the target with --base")
        return
    yield Row("ok", f"{job.host}, about {job.branch or 'no branch'}; {job.url or 'no page'}")
    if job.pull:
        yield Row("ok", f"a pull request: settings, gates, roles and tasks are those of {job.branch}")


def check_leave(case: Case) -> Iterator[Row]:
    for name, why in (("KIN_TRUST", "nothing that the repository names is started"), ("KIN_ALLOW_WRITE", "no step may write")):
        if case.environ.get(name) != "1":
            yield Row("warn", f"{name} is not set: {why}", f"set {name}=1 in the job that runs agents")


def check_target(case: Case) -> Iterator[Row]:
    name = case.settings.base or (None if git.head_ref(case.project.root) else job_of(case.environ).branch)
    try:
        target = find_target(case.project, name, push=True)
    except KinError as error:
        yield Row("bad", error.message, error.hint)
        return
    yield Row("ok", f"{target.name} is at {target.oid[:12]}")


def check_push(case: Case) -> Iterator[Row]:
    cwd = case.project.root
    head = git.tip(cwd, "HEAD") or ""
    words = ("push", "--dry-run", "--no-verify", "--porcelain", origin.REMOTE, f"{head}:refs/kin/claims/doctor")
    out = git.git(cwd, *words, ok=range(-64, 256), timeout=origin.NETWORK)
    if out.code:
        said = (out.err.strip().splitlines() or ["no word"])[0]
        yield Row("bad", f"{origin.REMOTE} lets nobody push: {said}", "give the job's token the right to write")


def check_token(case: Case) -> Iterator[Row]:
    if job_of(case.environ).host != "github":
        return
    words = "what GITHUB_TOKEN pushes starts no workflow: a pull request of kin's gets no checks of its own"
    yield Row("warn", words, "push with an App's token where checks are required")
    if os.path.isdir(os.path.join(case.project.root, ".github", "workflows")):
        words = "GITHUB_TOKEN may push no change of .github/workflows: such a task ends with its bundle"
        yield Row("warn", words, "land those by hand, or with an App's token that has `workflows: write`")


def check_client(case: Case) -> Iterator[Row]:
    program = client_for(git.remote_url(case.project.root, origin.REMOTE) or "", case.environ).program
    if not shutil.which(program, path=case.environ.get("PATH")):
        yield Row("warn", f"{program} is not on PATH: pull requests are not opened, only linked")


CHECKS = (check_job, check_leave, check_target, check_push, check_token, check_client)
