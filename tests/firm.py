"""A project whose roles are played by the vendors' real clients, which talk to a scripted model on loopback."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import clients
import pytest
from conftest import Repo
from model_server import ModelServer, Script
from ruamel.yaml import YAML

from kin.agents import built_in

__all__ = ["MODELS", "Firm"]

MODELS = {
    "claude": "claude-sonnet-4-5",
    "codex": "gpt-5.5",
    "gemini": "gemini-2.5-pro",
    "opencode": "scripted/m",
    "qwen": "qwen3-coder",
    "aider": "openai/gpt-4o",
}
"""Models whose price (claude) and tools (codex) the pinned clients know."""


class Firm:
    """A project, a client that plays all roles unless a step names another, and the words to look at what became of it."""

    def __init__(self, project: Repo, client: str, server: ModelServer) -> None:
        self.project, self.client, self.server = project, client, server
        self.env: dict[str, str] = {}
        """What kin's environment has beside the test's."""
        self._settings()

    def _settings(self) -> None:
        """The person's own settings: where the model is, as one points clients at a gateway."""
        self.agents: dict[str, Any] = {}
        folders = []
        for name in clients.CLIENTS if self.client in clients.CLIENTS else [self.client]:
            try:
                program = clients.client(name)
            except clients.Missing as error:
                pytest.skip(f"nothing was tried with the real {name}: {error}")
            folders.append(str(program.parent))
            gateway = self._gateway() if name == "codex" else ["--auth-type", "openai"] if name == "qwen" else []
            self.agents[name] = {"argv": [*built_in()[name].argv, *gateway, "--model", MODELS[name]]}
        self.env["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])
        self.env |= {
            "ANTHROPIC_BASE_URL": self.server.url,
            "CLAUDE_CODE_OAUTH_TOKEN": "token-of-a-person",
            "OPENAI_API_KEY": "key",
            "OPENAI_BASE_URL": f"{self.server.url}/v1",
            "OPENAI_API_BASE": f"{self.server.url}/v1",
            "GEMINI_API_KEY": "key",
            "GOOGLE_GEMINI_BASE_URL": self.server.url,
        }
        self._own_settings()
        config = Path(os.environ["XDG_CONFIG_HOME"], "kin/config.yaml")
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps({"agent": self.client, "agents": self.agents}))

    def _own_settings(self) -> None:
        """What the person has told their clients of the last two kinds: how they log in, and where a model is."""
        options = {"baseURL": f"{self.server.url}/v1", "apiKey": "key"}
        model = {"cost": {"input": 1, "output": 2}, "limit": {"context": 200_000, "output": 8000}}
        own = {
            Path(os.environ["HOME"], ".gemini/settings.json"): {"security": {"auth": {"selectedType": "gemini-api-key"}}},
            Path(os.environ["XDG_CONFIG_HOME"], "opencode/opencode.json"): {
                "provider": {"scripted": {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"m": model}}}
            },
        }
        for path, settings in own.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))

    def _gateway(self) -> list[str]:
        """One try more than none: with codex's own five, each fault costs ten seconds."""
        keys = {"name": "scripted", "base_url": f"{self.server.url}/v1", "env_key": "OPENAI_API_KEY", "wire_api": "responses"}
        table = ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items())
        tries = "request_max_retries=1,stream_max_retries=1"
        return ["-c", f"model_providers.scripted={{{table},{tries}}}", "-c", 'model_provider="scripted"']

    def says(self, script: Script) -> "Firm":
        """From now on the model says this."""
        self.server.script = script
        return self

    def kin(self, *words: str, exit: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.project.kin(*words, exit=exit, env=self.env | env)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """kin as a process that goes on while the test does."""
        env = dict(os.environ) | self.env
        return self.project.start(*words, env=env, stdin=subprocess.DEVNULL)

    def run(self, *words: str, exit: int | None = 0, **env: str) -> dict[str, Any]:
        """The outcome of the one pipeline that `kin WORDS` runs."""
        done = self.kin(*words, "--json", exit=exit, **env)
        document = json.loads(done.stdout)
        assert document["kind"] == "pipeline.list", document
        (outcome,) = document["data"]
        return dict(outcome)

    def do(self, title: str = "Make it", *words: str, exit: int | None = 0, **env: str) -> dict[str, Any]:
        return self.run("do", title, *words, exit=exit, **env)

    def show(self, task: str = "KIN-1") -> dict[str, Any]:
        return dict(json.loads(self.kin("show", task, "--json").stdout)["data"])

    def record(self, task: str = "KIN-1", at: str | None = None) -> dict[str, Any]:
        """The record of the task's only run: in the working tree, or at a revision."""
        folder = f".kin/pipelines/{task}"
        if at is None:
            (path,) = (self.project.path / folder).iterdir()
            text = path.read_text()
        else:
            (name,) = self.project.git("ls-tree", "-r", "--name-only", at, f"{folder}/").splitlines()
            text = self.project.git("show", f"{at}:{name}")
        return dict(YAML(typ="safe", pure=True).load(text))
