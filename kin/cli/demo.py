"""`kin demo`: the whole story on a scratch repository, with real commands that anybody could type. Offline, in seconds.

Every line it shows is run as it stands, by `sh` and by this kin. Nothing outside its folder is touched.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from kin.cli.output import Call, Result
from kin.cli.screen import Screen
from kin.errors import Bug, Usage

GATE = "sh test.sh"
PROJECT = """\
git init -q -b main .
git config user.name 'Ada Demo'
git config user.email ada@example.org
git config commit.gpgsign false
echo '# A project' > README.md
cat > test.sh <<'END'
#!/bin/sh
# Every script in bin/ must run, and nothing may be left to do.
for script in bin/*.sh; do
    sh "$script" >/dev/null || exit 1
done
! grep -rn TODO bin
END
git add .
git commit -q -m 'A project with a test'
"""
HELLO = "mkdir -p bin && echo 'echo Hello, ${1:-world}' > bin/hello.sh"
LOUD = """sed 's/Hello/HELLO/' bin/hello.sh > bin/loud.sh"""
BYE = "mkdir -p bin; if grep -q 'without the TODO'; then word=Goodbye; else word=TODO; fi; echo echo $word > bin/bye.sh"
TITLE = "sed -i.bak 's/^# .*/# Greetings/' README.md && rm README.md.bak"


class Scene(NamedTuple):
    """A line to type: shown, run, with the exit code that must come back; `about` says what to look at."""

    about: str
    line: str
    exit: int = 0


def _scenes() -> list[Scene]:
    return [
        Scene("A repository becomes a project", "kin init --key DEMO --quiet"),
        Scene("", f"printf 'format: 1\\n\\nkey: DEMO\\n\\nmode: auto\\n\\ngates:\\n  - {GATE}\\n' > .kin/kin.yaml"),
        Scene("Settings can start programs, so a clone is trusted once, by a person", "kin trust --yes --quiet"),
        Scene("Four tasks: plain files; a shell command plays the agent here", f'kin add "Say hello" --run "{_sh(HELLO)}"'),
        Scene("", f'kin add "Say it loud" --depends-on 1 --run "{_sh(LOUD)}"'),
        Scene("", f'kin add "Say goodbye" --run "{_sh(BYE)}"'),
        Scene("", f'kin add "Name the project" --mode review --run "{_sh(TITLE)}"'),
        Scene("", "git add . && git commit -q -m 'Plan four tasks'"),
        Scene("1 and 3 run side by side, 2 after 1; the gate says no to 3", "kin run 1 2 3 --allow-write", 1),
        Scene(
            "A person says what is wrong; the step reads it and does better",
            'kin revise 3 -m "without the TODO" --run --allow-write',
        ),
        Scene("4 wants a person's word before it is merged", "kin run 4 --allow-write", 3),
        Scene("Meanwhile somebody changes the same line on main", "echo '# Hello' > README.md && git commit -q -am 'Rename'"),
        Scene("so the approval meets a conflict, and nothing is merged", "kin approve 4", 4),
        Scene(
            "It is mended in the task's worktree, with plain git",
            'cd "$(kin show 4 --json | sed \'s/.*"worktree": "\\([^"]*\\)".*/\\1/\')" && git merge -q main >/dev/null; '
            "echo '# Greetings' > README.md && git commit -q -am 'Merge main'",
        ),
        Scene("the gates pass on what is merged now", "kin run 4 --allow-write", 3),
        Scene("and it is approved", "kin approve 4"),
        Scene(
            "State is code: reverting the merge of 2 reopens the task",
            "git revert --no-edit -m 1 \"$(git log --merges --format=%H --grep='^Kin-Task: DEMO-2$' -1)\" >/dev/null",
        ),
        Scene("The board", "kin board --all"),
        Scene("and what happened, as git tells it", "git log --graph --oneline --first-parent -12"),
    ]


def _sh(command: str) -> str:
    """`command` within double quotes of a line for sh."""
    return command.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")


def demo_(call: Call) -> Result:
    """Play the story and say where its traces are."""
    folder = _folder(call)
    repo = os.path.join(folder, "greetings")
    env = _environment(folder, call.environ)
    start = time.monotonic()
    os.makedirs(repo)
    subprocess.run(["/bin/sh", "-ec", PROJECT], cwd=repo, env=env, check=True)
    for scene in _scenes():
        _play(scene, repo, env, call.screen)
    seconds = time.monotonic() - start
    lines = ["", f"That took {seconds:.1f} s. Look around: cd {repo}", ""]
    lines += ["  cat .kin/tasks/DEMO-4.yaml    a task, now done", "  ls .kin/pipelines/DEMO-3      the records of its runs"]
    lines += ["  kin log 3                     what its steps said", f"When you have seen enough: delete {folder}"]
    return Result("demo", {"folder": repo, "seconds": round(seconds, 1), "tasks": 4}, lines, brief=())


def _folder(call: Call) -> str:
    wanted: str | None = call["keep"]
    if wanted is None:
        import tempfile

        return tempfile.mkdtemp(prefix="kin-demo-")
    path = os.path.abspath(wanted)
    if os.path.isdir(path) and os.listdir(path):
        raise Usage(f"{wanted} is not empty", "name a new folder")
    os.makedirs(path, exist_ok=True)
    return path


def _environment(folder: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Everything that kin and git write goes below `folder`; `kin` on the PATH is this one."""
    tools = os.path.join(folder, "tools")
    os.makedirs(tools)
    script = os.path.join(tools, "kin")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec "{sys.executable}" -m kin "$@"\n')
    os.chmod(script, 0o755)
    from kin import git

    env = git.clean_env({k: v for k, v in environ.items() if not k.startswith("KIN_")})
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    env |= {"PATH": f"{tools}{os.pathsep}{env.get('PATH', os.defpath)}", "KIN_NONINTERACTIVE": "1", "PYTHONPATH": package}
    env |= {"XDG_STATE_HOME": os.path.join(folder, "state"), "XDG_CONFIG_HOME": os.path.join(folder, "config")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_PAGER": "cat"}
    env.pop("GIT_LITERAL_PATHSPECS")
    env.pop("CI", None)
    return env


def _play(scene: Scene, repo: str, env: Mapping[str, str], screen: Screen) -> None:
    """Show a line, run it, show what it says. Raises Bug if it ends otherwise than it should."""
    if scene.about:
        screen.say()
        screen.say(screen.paint(f"# {scene.about}", "bold"))
    screen.say(screen.paint(f"$ {scene.line}", "dim"))
    done = subprocess.run(
        ["/bin/sh", "-c", scene.line],
        cwd=repo,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    for line in done.stdout.splitlines():
        screen.say(line)
    if done.returncode != scene.exit:
        said = done.stdout.strip()[-2000:]
        raise Bug(f"the demo's line `{scene.line}` ended with {done.returncode} instead of {scene.exit}", said)
