"""What the host of a CI job tells of it in the environment: which host it is, the job's page, the branch it is about."""

from collections.abc import Mapping
from typing import NamedTuple

FILES = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
"""Files by which a step changes what later ones do: no business of what a pipeline starts."""


class Job(NamedTuple):
    """`host` is github, gitea, gitlab, woodpecker or ""; `url` its page; `branch` what it is about, of a pull request the
    branch that it is to be merged into, None if it is about a tag; `pull`: it is about a pull request, so that what is checked
    out may be a stranger's."""

    host: str = ""
    url: str = ""
    branch: str | None = None
    pull: bool = False


def job_of(environ: Mapping[str, str]) -> Job:
    """The job that this process is part of; an empty one elsewhere."""
    env = environ.get
    if env("GITHUB_ACTIONS") == "true" or env("GITEA_ACTIONS") == "true":
        url = f"{env('GITHUB_SERVER_URL', '')}/{env('GITHUB_REPOSITORY', '')}/actions/runs/{env('GITHUB_RUN_ID', '')}"
        pushed = env("GITHUB_REF", "").removeprefix("refs/heads/") if env("GITHUB_REF", "").startswith("refs/heads/") else ""
        host = "gitea" if env("GITEA_ACTIONS") == "true" else "github"
        return Job(host, url, env("GITHUB_BASE_REF") or pushed or None, bool(env("GITHUB_BASE_REF")))
    if env("GITLAB_CI") == "true":
        branch = env("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or env("CI_COMMIT_BRANCH")
        return Job("gitlab", env("CI_JOB_URL", ""), branch or None, bool(env("CI_MERGE_REQUEST_IID")))
    if env("CI") == "woodpecker":
        branch = env("CI_COMMIT_TARGET_BRANCH") or env("CI_COMMIT_BRANCH")
        pull = env("CI_PIPELINE_EVENT", "").startswith("pull_request")
        return Job("woodpecker", env("CI_PIPELINE_URL", ""), branch or None, pull)
    return Job()
