"""The machines that the project runs on: `.kin/environments.yaml`, and how ssh reaches one."""

from kin.errors import Invalid
from kin.model.environment import Environment, build_environments
from kin.store import entries
from kin.store.project import Project

FILE = "environments.yaml"
TAG = "env:"
"""What the label of a task begins with that looks at an environment, and the tag of the decisions that come of it."""


def load(project: Project) -> tuple[list[Environment], list[Invalid]]:
    """The environments as the file lists them, and what is wrong with the rest of it."""
    return entries.load(project, FILE, build_environments)


def address(one: Environment) -> str:
    """`user@host:port`, as far as it is said."""
    return (f"{one.user}@" if one.user else "") + one.host + (f":{one.port}" if one.port else "")


def ssh_command(one: Environment) -> list[str]:
    """The arguments by which a program that may only look logs in; it never asks, and the host must be known."""
    named = ["-i", f"~/.ssh/{one.identity}"] if one.identity else []
    port = ["-p", str(one.port)] if one.port else []
    user = ["-l", one.user] if one.user else []
    return ["ssh", "-o", "BatchMode=yes", *named, *port, *user, "--", one.host]
