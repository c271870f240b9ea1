"""Names that need no setting: pipelines and agents that every project has. Apart from settings.py, which costs pydantic."""

from typing import Any

PLAN = "plan"
"""The pipeline whose last step plans; a project may say there how its PM is played."""
BUILT_IN_PIPELINES: dict[str, list[Any]] = {"default": ["developer", "reviewer"], "quick": ["developer"], PLAN: ["pm"]}
BUILT_IN_AGENTS = ("claude", "codex", "gemini", "opencode", "aider", "qwen")
"""Programs that kin can start as agents without being told how; `command` is not one."""
