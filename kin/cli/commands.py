"""Every command of kin, declared once: name, where its function lives, arguments, options, help and examples.

The short parser (kin.cli.parse), typer's commands (kin.cli.app), the help pages and shell completion are all made from this
table. A new command is a row here and a function `<name>_(call: Call) -> Result` in the module that the row names, which is
imported only when the command is called.
"""

from typing import Any, NamedTuple

__all__ = ["COMMANDS", "GLOBAL", "GROUPS", "Arg", "Command", "Opt"]


class Arg(NamedTuple):
    """A positional argument; its value is text, or a tuple of texts if there may be `many`."""

    name: str
    help: str
    many: bool = False
    required: bool = True
    complete: str = ""


class Opt(NamedTuple):
    """An option. `kind` is flag, text, int or choice; with `many` it may come again and its value is a tuple.

    `complete` names what completion offers for its value (see kin.cli.completion); `metavar` is how help calls the value.
    """

    name: str
    help: str
    kind: str = "text"
    short: str = ""
    many: bool = False
    choices: tuple[str, ...] = ()
    complete: str = ""
    metavar: str = ""

    @property
    def key(self) -> str:
        """Its name in a call's values: one that Python takes for a parameter's."""
        return "for_" if self.name == "for" else self.name.replace("-", "_")

    @property
    def default(self) -> Any:
        """Its value when it was not given."""
        if self.kind == "flag":
            return False
        return () if self.many else None


class Command(NamedTuple):
    """A command: `kin.cli.<module>` holds the function `<name>_` (many names are builtins or words of Python's)."""

    name: str
    module: str
    group: str
    help: str
    args: tuple[Arg, ...] = ()
    options: tuple[Opt, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    more: str = ""

    @property
    def function(self) -> str:
        """The name of its function."""
        return f"{self.name.replace('-', '_')}_"


GROUPS = ("Start", "Work", "Look", "A person's part", "Care")

GLOBAL = (
    Opt("directory", "Run as if kin was started in DIR", short="C", metavar="DIR", complete="folder"),
    Opt("json", "Print one JSON document and nothing else", "flag"),
    Opt("quiet", "Print ids only, or nothing", "flag", "q"),
    Opt("verbose", "Print more", "flag", "v"),
    Opt("no-color", "No colours, also at a terminal", "flag"),
)
"""Options that every command takes, before or behind its name."""

FORMATS = ("table", "json", "jsonl", "csv")
SORTS = ("ready", "id", "priority", "created", "status", "title")
PHASE_ACTIONS = {
    "list": "All phases and where they stand",
    "start": "Run a phase's roles, or its tasks, until a person is to look",
    "approve": "Agree to what it brought; the next may start",
    "revise": "Send it back with a note",
    "reject": "Give it up; it may be started anew",
}
SALVAGE_ACTIONS = {
    "list": "What was kept, newest first",
    "show": "What one holds, as a diff",
    "apply": "Bring one into this checkout, staged",
    "drop": "Delete one",
}

_ID = Arg("id", "A task's id; a bare number is taken with the project's key", complete="task")
_IDS = Arg("ids", "Tasks' ids", many=True, complete="task")
_KINDS = ("decision", "convention", "gotcha", "workaround", "rejected_approach")
_MESSAGE = Opt("message", "What to say; `-` reads it from standard input", short="m", metavar="TEXT")

_EVERYWHERE = Opt("all", "In all projects of which you trust a clone", "flag", "a")

_FIELDS = (
    Opt("label", "A label; may be given again", short="l", many=True, complete="label", metavar="WORD"),
    Opt("priority", "1 first ... 5 last", short="p", complete="priority", metavar="1-5"),
    Opt("description", "What is wanted and why; `-` reads it from standard input", short="d", metavar="TEXT"),
    Opt("acceptance", "What must be true when it is done; may be given again", many=True, metavar="TEXT"),
    Opt("module", "The part of the code it is about", complete="module", metavar="NAME"),
    Opt("touches", "A path glob that it may change; may be given again", many=True, metavar="GLOB"),
    Opt("mode", "Who approves the merge", "choice", choices=("review", "auto")),
    Opt("base", "The branch it is merged into", complete="branch", metavar="BRANCH"),
)
_LEAVE = (
    Opt("allow-write", "Agents and commands may change files in the task's worktree", "flag"),
    Opt("trust", "Trust this clone's settings, gates and roles for this command", "flag"),
)
_RUN = (
    *_LEAVE,
    Opt("detach", "Start it and come back at once", "flag"),
    Opt("budget", "What the run may use in all: USD, or tokens=N, minutes=N; instead of every other budget", metavar="USD"),
)

_JUNIT = Opt("junit", "Write steps and gates to FILE as JUnit XML", metavar="FILE", complete="file")

_ROWS = (
    Command(
        "init",
        "init",
        "Start",
        "Set kin up in this repository",
        options=(
            Opt("key", "What task ids start with (default: from the folder's name)", metavar="KEY"),
            Opt("gates", "Use the proposed gate, not only as a comment", "flag"),
            Opt("remove", "Take back what init did outside .kin/", "flag"),
        ),
        examples=(
            ("kin init", "make .kin/ with commented settings; commits nothing"),
            ("kin init --key WEB --gates", "ids WEB-1, WEB-2, ...; the tests found here gate every merge"),
        ),
    ),
    Command(
        "demo",
        "demo",
        "Start",
        "See the whole story on a scratch repository, in seconds",
        options=(Opt("keep", "Leave the scratch repository in DIR", metavar="DIR", complete="folder"),),
        examples=(("kin demo", "four tasks: parallel, gated, revised, approved, reverted"),),
    ),
    Command(
        "do",
        "run",
        "Work",
        "Add a task and run it at once",
        args=(Arg("title", "One line that says what is wanted", many=True),),
        options=(
            Opt("run", "Do it with this shell command, no model", metavar="CMD"),
            Opt("pipeline", "A pipeline's name (default: quick)", complete="pipeline", metavar="NAME"),
            *_FIELDS,
            *_RUN,
        ),
        examples=(
            ("kin do 'Fix the typo in the footer'", "the quick pipeline: a developer, then the gates"),
            ("kin do 'Format the code' --run 'ruff format .' --mode auto", "one command, merged by its gates"),
        ),
    ),
    Command(
        "add",
        "tasks",
        "Work",
        "Add a task, or all tasks of a file",
        args=(Arg("title", "One line that says what is wanted", many=True, required=False),),
        options=(
            Opt(
                "file",
                "Add all tasks of FILE, or none: YAML, JSON or JSON Lines; `-` is standard input",
                "text",
                "F",
                metavar="FILE",
            ),
            Opt("run", "Make the task one step: this shell command, no model", metavar="CMD"),
            *_FIELDS,
            Opt("depends-on", "A task that must be done before; may be given again", many=True, complete="task", metavar="ID"),
            Opt("parent", "The task that it is a part of", complete="task", metavar="ID"),
            Opt("pipeline", "A pipeline's name from kin.yaml", complete="pipeline", metavar="NAME"),
            Opt("assignee", "Who looks after it", metavar="NAME"),
            Opt("draft", "Not ready to be run yet", "flag"),
        ),
        examples=(
            ("kin add Log in with a passkey -l auth -p 2", ""),
            ("kin add 'Rename the flag' --depends-on KIN-4 --acceptance 'the old name warns'", ""),
            ("kin add 'Update the lock file' --run 'npm update' --mode auto", "a task that a command does"),
            ("kin add --file tasks.yaml -l sprint-7", "a whole list; options fill in what a task leaves open"),
        ),
        more="A file holds a list of tasks, or documents of one each, or in JSON one a line; a text alone is a title. In it\n"
        "`depends_on` and `parent` may name another of its tasks: by `ref:`, a key for that alone, by title, or as '#3', the\n"
        "third. `tasks` and `data` may hold the list: `kin list --json` can be read again.",
    ),
    Command(
        "edit",
        "edit",
        "Work",
        "Edit a task in your editor, checked on leaving",
        args=(_ID,),
        examples=(("EDITOR='code -w' kin edit 12", "any editor that waits"),),
        more="The editor is $VISUAL, else $EDITOR, else vi. If the text is not valid nothing is changed, and what you wrote\n"
        "is kept in a file that the message names.",
    ),
    Command(
        "set",
        "change",
        "Work",
        "Change fields of tasks",
        args=(Arg("words", "Tasks' ids or filters, then changes: field=value", many=True, complete="set"),),
        options=(Opt("dry-run", "Show what would change, and change nothing", "flag"),),
        examples=(
            ("kin set 12 status=todo priority=1", ""),
            ("kin set 12 13 labels+=auto labels-=later", "two tasks; add a label, take one away"),
            ("kin set 12 assignee=", "remove a field"),
            ("kin set 12 budget.usd=3 x-estimate=2d", "a nested field; a field of your own"),
            ("kin set label:backend status:blocked priority=2", "all open tasks with this label and status"),
        ),
        more="Filters are label:, status:, module:, assignee: and priority:, like the options of `kin list`; all must fit.\n"
        "At a terminal more than 20 files are changed only after a question.",
    ),
    Command(
        "note",
        "tasks",
        "Work",
        "Leave a note on a task; without -m in your editor",
        args=(_ID,),
        options=(
            _MESSAGE,
            Opt("to", "The role that it is meant for", complete="role", metavar="ROLE"),
        ),
        examples=(
            ("kin note 12 -m 'The design is in docs/login.md'", "every later step is told"),
            ("git log -3 | kin note 12 -m -", ""),
        ),
    ),
    Command(
        "decide",
        "decisions",
        "Work",
        "Write down a decision; every later role that it concerns is told",
        args=(Arg("title", "What was decided, one line", many=True),),
        options=(
            Opt("message", "Why, and what follows; `-` reads it from standard input", short="m", metavar="TEXT"),
            Opt(
                "kind",
                "decision (default), convention, gotcha, workaround or rejected_approach",
                "choice",
                choices=_KINDS,
                metavar="KIND",
            ),
            Opt("module", "The part of the code it is about", complete="module", metavar="NAME"),
            Opt("tag", "A word to find it by; may be given again", many=True, metavar="WORD"),
            Opt("path", "A path glob it is about; may be given again", many=True, metavar="GLOB"),
            Opt("supersedes", "The decision that it replaces", metavar="ID"),
            Opt("force", "Also if it only repeats another one", "flag"),
        ),
        examples=(
            ("kin decide Store all times in UTC -m 'Servers stand in three zones'", "told to every role"),
            ("kin decide 'Tokens live 10 minutes' --path 'src/auth/**' --supersedes 7", "told where that code is touched"),
        ),
    ),
    Command(
        "rm",
        "tasks",
        "Work",
        "Remove tasks' files",
        args=(_IDS,),
        options=(Opt("force", "Also if other tasks refer to them", "flag"),),
        examples=(("kin rm 12", "`kin set 12 status=cancelled` keeps it for the record"),),
    ),
    Command(
        "run",
        "run",
        "Work",
        "Run tasks through their pipelines; without ids all that are ready",
        args=(Arg("ids", "Tasks' ids", many=True, required=False, complete="task"),),
        options=(
            Opt("ready", "All tasks that are ready", "flag"),
            *_RUN,
            Opt("wait", "Wait for a slot instead of giving up", "flag"),
            Opt("restart", "Begin again from the target's tip; the earlier work is kept aside", "flag"),
            Opt("restore", "Begin with the work that a revert took back", "flag"),
            Opt("base", "The branch to merge into", complete="branch", metavar="BRANCH"),
            Opt("push", "Push what is finished: the merge before it is made here, or the branch for a pull request", "flag"),
            Opt("at", "Take settings, gates, roles and tasks from this commit, not from the checkout", metavar="REV"),
            Opt("bundle", "Merge nothing; write the finished work to FILE, for `kin publish`", metavar="FILE", complete="file"),
            _JUNIT,
            Opt("dry-run", "Print steps, prompts, commands and gates; touch nothing", "flag"),
        ),
        examples=(
            ("kin run 12", ""),
            ("kin run --ready --allow-write", "everything whose dependencies are done, side by side"),
            ("kin run 12 --dry-run", "what would run and what each role would be told"),
        ),
    ),
    Command(
        "publish",
        "ci",
        "Work",
        "Take a finished run out of a bundle: gate it again, merge or offer it, push; starts no agent",
        args=(Arg("file", "What `kin run --bundle FILE` wrote", complete="file"),),
        options=(_LEAVE[1], Opt("base", "The branch to merge into", complete="branch", metavar="BRANCH"), _JUNIT),
        examples=(("kin publish kin-12.bundle", "in a job that may push, made by one that may not"),),
    ),
    Command(
        "watch",
        "watch",
        "Work",
        "Start what may start by itself, until stopped",
        options=(
            *_LEAVE,
            Opt("yes", "Agree, for good, that tasks are started by themselves in this clone", "flag"),
            Opt("once", "Look once, start what may start, and exit", "flag"),
            Opt("jsonl", "Tell what happens as JSON Lines", "flag"),
            Opt("print-unit", "Print a unit file for a service manager", "choice", choices=("systemd", "launchd")),
        ),
        examples=(
            ("kin watch", "tasks labelled `auto`, whatever waited, schedules"),
            ("kin watch --once --allow-write", "for cron, or after a pull"),
            ("kin watch --print-unit systemd", "what it prints says where to put it"),
        ),
        more="`kin why ID` tells why a task is not started. Pipelines outlive the watcher; `kin stop ID` ends one.",
    ),
    Command(
        "stop",
        "run",
        "Work",
        "End running tasks; their work is kept",
        args=(_IDS,),
        examples=(("kin stop 12", "`kin run 12` goes on where it was"),),
    ),
    Command(
        "list",
        "listing",
        "Look",
        "List the open tasks",
        options=(
            Opt("all", "Done and cancelled ones too", "flag", "a"),
            Opt("ready", "Only those that could run now", "flag", "r"),
            Opt(
                "status", "Only with this status; may be given again", short="s", many=True, complete="status", metavar="STATUS"
            ),
            Opt(
                "label",
                "Only with this label; may be given again, then all of them",
                short="l",
                many=True,
                complete="label",
                metavar="WORD",
            ),
            Opt("module", "Only of this module", many=True, complete="module", metavar="NAME"),
            Opt(
                "priority", "Only of this priority; `1-2` is a range", short="p", many=True, complete="priority", metavar="1-5"
            ),
            Opt("assignee", "Only of this person; an empty one: of nobody", metavar="NAME"),
            Opt("depends-on", "Only those that depend on this task", complete="task", metavar="ID"),
            Opt("search", "Only with this text in id, title, description or labels", metavar="TEXT"),
            Opt("sort", "Order; `-` before it turns it round", complete="sort", metavar="KEY"),
            Opt("limit", "At most so many", "int", "n", metavar="N"),
            Opt(
                "columns",
                "Which columns, in which order: id,status,priority,title,labels,...",
                complete="columns",
                metavar="NAMES",
            ),
            Opt("format", "How to print", "choice", choices=FORMATS),
        ),
        examples=(
            ("kin list --ready", "what `kin run --ready` would start"),
            ("kin list -s blocked -s review -l auth", "filters compose"),
            ("kin list --all --format csv --columns id,status,created", ""),
        ),
    ),
    Command(
        "show",
        "show",
        "Look",
        "Show all that is known of a task, or a decision",
        args=(_ID,),
        examples=(("kin show 12", "fields, run, steps, notes, worktree and branch"), ("kin show D-7", "")),
    ),
    Command(
        "plan",
        "plan",
        "Work",
        "Let the PM plan a task, and show the plan without running it",
        args=(_ID,),
        options=(Opt("restart", "Plan anew; work that was begun is kept aside", "flag"), *_LEAVE),
        examples=(
            ("kin plan 12", "steps, or smaller tasks, or a question; a plan that is there is only shown"),
            ("kin plan 12 && kin run 12", "goes on with the plan"),
        ),
    ),
    Command(
        "chat",
        "chat",
        "Work",
        "Talk with the PM about the project; it proposes tasks",
        options=(
            Opt("message", "Say this one thing; `-` reads it from standard input", short="m", metavar="TEXT"),
            Opt("last", "Go on with the last talk", "flag"),
            Opt("yes", "Write the tasks that it proposes, without being asked", "flag", "y"),
            Opt("run", "Run the tasks that were written", "flag"),
            *_RUN,
        ),
        examples=(
            ("kin chat", "a conversation at a terminal; Ctrl-D ends it"),
            ("kin chat -m 'What is in the way of the release?'", "one answer, from the store and the repository"),
            ("kin chat -m 'Make a task for each open TODO' --yes", "writes what it proposes; without --yes it is only shown"),
        ),
        more="Talks are kept in .kin/chat/, a file each.",
    ),
    Command(
        "phase",
        "phase",
        "Work",
        "List the project's phases, start one, or judge what it brought",
        args=(
            Arg("action", "list, start, approve, revise or reject (default: list)", required=False, complete="phase_action"),
            Arg("phase", "A phase's id", required=False),
        ),
        options=(
            _MESSAGE,
            Opt("to", "With revise: the role that does it again (default: the first)", complete="role", metavar="ROLE"),
            *_LEAVE,
        ),
        examples=(
            ("kin phase start research", "its roles run one after the other and change no file; then you decide"),
            ("kin phase approve research", "what they handed on becomes notes and decisions; the next may start"),
        ),
    ),
    Command(
        "board",
        "board",
        "Look",
        "Show tasks in columns by status",
        options=(
            Opt("all", "Done and cancelled ones too, all of them", "flag", "a"),
            Opt("label", "Only with this label; may be given again", short="l", many=True, complete="label", metavar="WORD"),
        ),
        examples=(("kin board", "fitted to the terminal"),),
    ),
    Command(
        "status",
        "look",
        "Look",
        "Show what runs and what waits",
        args=(Arg("ids", "Only these tasks", many=True, required=False, complete="task"),),
        options=(Opt("ended", "Also the last run of each task that ended", "flag", "e"), _EVERYWHERE),
        examples=(("kin status", "which step, since when, what it said last"),),
    ),
    Command(
        "cost",
        "cost",
        "Look",
        "Add up what runs have cost: tokens, money, time",
        args=(Arg("ids", "Only these tasks", many=True, required=False, complete="task"),),
        options=(
            Opt("by", "What to add up by (default: task)", "choice", choices=("task", "role", "agent", "model", "day")),
            Opt("since", "Only steps started since a day, or a time ago", metavar="TIME"),
        ),
        examples=(
            ("kin cost --by role", "who costs what"),
            ("kin cost 12 --since 7d", "one task, the last week"),
        ),
        more="Money is what the clients said; where one said nothing, tokens are counted and the price is unknown.",
    ),
    Command(
        "log",
        "log",
        "Look",
        "Show what a task's steps said",
        args=(_ID,),
        options=(
            Opt("follow", "Go on as it is written, until the run ends", "flag", "f"),
            Opt("step", "Only this step: its id, number or role", complete="step", metavar="STEP"),
            Opt("run", "Not the newest run but this one", metavar="RUN"),
            Opt("raw", "The lines alone, as they were said", "flag"),
            Opt("jsonl", "JSON Lines: time, step, stream, text", "flag"),
        ),
        examples=(
            ("kin log -f 12", ""),
            ("kin log 12 --step tester --raw", ""),
        ),
    ),
    Command(
        "attach",
        "log",
        "Look",
        "Follow a run that was started elsewhere, and end with its exit code",
        args=(_ID,),
        options=(Opt("jsonl", "JSON Lines: time, step, stream, text", "flag"),),
        examples=(("kin run 12 --detach && kin attach 12", "Ctrl-C lets go of it; `kin stop` ends it"),),
    ),
    Command(
        "diff",
        "diff",
        "Look",
        "Show what a task's branch changes",
        args=(_ID,),
        options=(
            Opt("stat", "Only which files and how much", "flag"),
            Opt("name-only", "Only the files' names", "flag"),
        ),
        examples=(("kin diff 12", "against the target, .kin/ left out"),),
    ),
    Command(
        "why",
        "look",
        "Look",
        "Tell every reason why a task does not run or merge",
        args=(_ID,),
        examples=(("kin why 12", "a dependency, a lock and its holder, a gate, files in the way"),),
    ),
    Command(
        "deps",
        "deps",
        "Look",
        "Show what a task waits for and what waits for it, as trees",
        args=(_ID,),
        examples=(("kin deps 12", "dependencies and parts, circles, the longest chain of open tasks before it"),),
    ),
    Command(
        "decisions",
        "decisions",
        "Look",
        "List the decisions that hold",
        args=(Arg("action", "export: write them as Markdown into the folder that --adr names", required=False),),
        options=(
            Opt("for", "Only those about this file or folder", metavar="PATH", complete="file"),
            Opt("kind", "Only of this kind", "choice", choices=_KINDS, metavar="KIND"),
            Opt("module", "Only of this module", complete="module", metavar="NAME"),
            Opt("tag", "Only with this tag; may be given again, then all of them", many=True, metavar="WORD"),
            Opt("search", "Only with this text in id, title or text", metavar="TEXT"),
            Opt("stale", "Only those that name paths at which nothing is any more", "flag"),
            Opt("all", "Superseded ones too", "flag", "a"),
            Opt("adr", "The folder for `export`", metavar="DIR", complete="folder"),
        ),
        examples=(
            ("kin decisions --for src/auth/login.py", "what binds whoever touches this file"),
            ("kin decisions export --adr docs/adr", "one Markdown file a decision"),
        ),
    ),
    Command(
        "context",
        "context",
        "Look",
        "Show exactly what a role would be told of a task",
        args=(_ID,),
        options=(
            Opt("role", "The role, whether the pipeline has a step of it or not", complete="role", metavar="ROLE"),
            Opt("step", "The number of the step in the task's pipeline", "int", metavar="N"),
        ),
        examples=(
            ("kin context 12 --role reviewer", "the prompt; its size by section goes to standard error"),
            ("kin context 12 --step 1 --json", "sections, characters, tokens, and what was left out"),
        ),
        more="Tokens are estimated as a quarter of the characters.",
    ),
    Command(
        "roles",
        "roles",
        "Look",
        "List the roles and who would play them",
        args=(
            Arg("action", "show: one of them, as it holds here; new: begin a file for one", required=False),
            Arg("name", "The role", required=False, complete="role"),
        ),
        examples=(
            ("kin roles show reviewer", "its prompt, what it is told, who plays it"),
            ("kin roles new reviewer", "a copy in .kin/roles/ to change; another name begins a new role"),
        ),
    ),
    Command(
        "modules",
        "modules",
        "Look",
        "List the modules of the code, propose some, or say which one a path belongs to",
        args=(
            Arg("action", "list (default), scan or which", required=False),
            Arg("path", "The path that `which` is asked for", required=False, complete="file"),
        ),
        options=(Opt("write", "Write what `scan` proposes to .kin/modules.yaml, if there is none yet", "flag"),),
        examples=(
            ("kin modules scan", "prints one for review: from workspaces, npm to Maven, and the tree"),
            ("kin modules which src/auth/login.py", "the closest one first"),
        ),
    ),
    Command(
        "inbox",
        "look",
        "Look",
        "List all that waits for a person, and what to type",
        options=(_EVERYWHERE,),
        examples=(("kin inbox", ""),),
    ),
    Command(
        "approve",
        "person",
        "A person's part",
        "Approve a task that waits, and merge it",
        args=(_IDS,),
        options=(_LEAVE[1],),
        examples=(("kin diff 12 && kin approve 12", ""),),
    ),
    Command(
        "revise",
        "person",
        "A person's part",
        "Send a task's work back with a note",
        args=(_ID,),
        options=(
            _MESSAGE,
            Opt("to", "The role that does it again (default: the first that may write)", complete="role", metavar="ROLE"),
            Opt("run", "Start it at once", "flag"),
            *_RUN,
        ),
        examples=(("kin revise 12 -m 'Cover the empty list too' --run", ""),),
    ),
    Command(
        "reject",
        "person",
        "A person's part",
        "Cancel a task; its branch is kept aside",
        args=(_ID,),
        options=(_MESSAGE,),
        examples=(("kin reject 12 -m 'Not wanted any more'", ""),),
    ),
    Command(
        "answer",
        "person",
        "A person's part",
        "Answer a task's question",
        args=(_ID,),
        options=(
            _MESSAGE,
            Opt("decide", "Remember the answer as a decision, too", "flag"),
            Opt("run", "Go on with it at once", "flag"),
            *_RUN,
        ),
        examples=(
            ("kin answer 12 -m 'Yes, drop Python 3.8' --run", ""),
            ("kin answer 12 -m 'Errors go to standard error' --decide", "later tasks are told"),
        ),
    ),
    Command(
        "reopen",
        "person",
        "A person's part",
        "Put done or cancelled tasks back to todo",
        args=(_IDS,),
        examples=(("kin reopen 12", "the next run starts fresh from the target's tip"),),
    ),
    Command(
        "undo",
        "person",
        "A person's part",
        "Revert a task's merge: its code, state and decisions",
        args=(_ID,),
        options=(Opt("base", "The branch it was merged into", complete="branch", metavar="BRANCH"),),
        examples=(("kin undo 12", "the task is todo again; `kin run 12 --restore` brings the work back"),),
    ),
    Command(
        "trust",
        "trust",
        "Care",
        "Show what this clone's settings and roles can start, and agree to it",
        options=(
            Opt("yes", "Agree without being asked", "flag", "y"),
            Opt("forget", "Trust it no longer, and ask again before agents may write", "flag"),
        ),
        examples=(
            ("kin trust", "shows it and asks; a yes is remembered outside the repository"),
            ("kin trust --yes", "where nobody can be asked"),
        ),
    ),
    Command(
        "salvage",
        "salvage",
        "Care",
        "Look at interrupted work that kin kept, bring it back, or drop it",
        args=(
            Arg("action", "list, show, apply or drop (default: list)", required=False, complete="salvage_action"),
            Arg("names", "Salvages' names, or tasks' ids", many=True, required=False, complete="salvage"),
        ),
        examples=(
            ("kin salvage list 12", "what was kept of one task"),
            ("kin salvage show 12", "a diff; a task's id will do if it has just one"),
            ("kin salvage apply 12", "into this checkout, staged and not committed"),
        ),
    ),
    Command(
        "link",
        "link",
        "Care",
        "Link other projects, whose tasks may then be depended on",
        args=(
            Arg("action", "list, add, rm or check (default: list)", required=False),
            Arg("names", "The link's name; for add its path or git URL, too", many=True, required=False),
        ),
        options=(Opt("relation", "How it is related, in a sentence", metavar="TEXT"),),
        examples=(
            ("kin link add api ../api", "a path from the repository's root, or the URL of a clone that you trust"),
            ("kin set 12 depends_on+=api:API-7", "not ready before that task is done there"),
            ("kin link check", "exit 7 if one leads nowhere"),
        ),
    ),
    Command(
        "env",
        "env",
        "Care",
        "List the machines that the project runs on, or have one looked at",
        args=(
            Arg("action", "list or scan (default: list)", required=False),
            Arg("names", "The environment to scan", many=True, required=False),
        ),
        options=(
            Opt("run", "Look with this shell command, no model", metavar="CMD"),
            *_LEAVE,
            Opt("detach", "Start it and come back at once", "flag"),
        ),
        examples=(
            ("kin env", "what .kin/environments.yaml says"),
            ("kin env scan staging", "a sysadmin logs in, looks, and what it finds becomes decisions"),
        ),
        more="The file holds names only: `staging: {host: web-1, user: me, identity: deploy_ed25519}`. Keys stay in ~/.ssh.",
    ),
    Command(
        "agents",
        "agents",
        "Care",
        "List the agents that could play roles here, or try one",
        args=(Arg("words", "`list` (default), or `test` and an agent's name", many=True, required=False, complete="agents"),),
        options=(Opt("model", "Try it with this model", metavar="MODEL"),),
        examples=(
            ("kin agents", "found, version, logged in as far as that can be seen, the roles it would play"),
            ("kin agents test claude", "one tiny prompt in a scratch folder: does it answer, and write nothing if it may not?"),
        ),
    ),
    Command(
        "doctor",
        "doctor",
        "Care",
        "Find what is broken or left over in this clone",
        options=(
            Opt("fix", "Mend what is safe to mend: nothing that holds work is deleted", "flag"),
            Opt("ci", "Look at what a CI job needs instead: its target, its right to push, its leave", "flag"),
        ),
        examples=(
            ("kin doctor", "git, locks, disk, worktrees, branches, runs, agents; exit 7 if something is broken"),
            ("kin doctor --fix", "puts interrupted runs and merges right, removes what the target holds"),
        ),
    ),
    Command(
        "check",
        "check",
        "Care",
        "Check the files of .kin/: syntax, values, references, circles, names",
        args=(Arg("paths", "Only what concerns these files or folders", many=True, required=False, complete="file"),),
        options=(
            Opt("format", "How to print", "choice", choices=("text", "github", "gitlab")),
            Opt("staged", "Check what the next commit will hold, and tell what concerns its files", "flag"),
            Opt("fix", "Mend what is mechanical: line ends, other spellings, file names", "flag"),
        ),
        examples=(
            ("kin check", "exit 7 if something is wrong; warnings alone are exit 0"),
            ("kin check --fix .kin/tasks", "prints each change; never what a value means"),
            ("kin check --format github", "as annotations beside the code, in a workflow"),
        ),
    ),
    Command(
        "hooks",
        "hooks",
        "Care",
        "Let git check staged files of .kin/ before each commit of yours",
        args=(Arg("action", "install or remove"),),
        examples=(("kin hooks install", "a pre-commit hook; one that is there goes on being run"),),
        more="It runs `kin check --staged`; `git commit --no-verify` goes past it. Users of pre-commit find the hook\n"
        "`kin-check` in kin's .pre-commit-hooks.yaml.",
    ),
    Command(
        "ci",
        "ci",
        "Care",
        "Write a CI host's workflows; list tasks for a matrix; tell what a pull request does",
        args=(
            Arg("action", "init, matrix or report"),
            Arg("words", "init: github, gitlab or woodpecker; matrix: tasks' ids, else all that are ready", True, False),
        ),
        options=(Opt("base", "report: the commit to compare HEAD with", metavar="REV"),),
        examples=(
            ("kin ci init github", "overwrites nothing, commits nothing"),
            ("kin ci matrix", '["KIN-3", "KIN-7"]; in a GitHub job also its output `tasks`'),
            ("kin ci report --base HEAD^1", "Markdown: tasks, decisions, cost; what a person wrote is escaped"),
        ),
    ),
    Command(
        "gc",
        "gc",
        "Care",
        "Delete old salvages, logs and left-over run folders; says which first",
        options=(
            Opt("older-than", "Only what is older (default: 30d)", metavar="TIME"),
            Opt("yes", "Delete without being asked", "flag", "y"),
        ),
        examples=(("kin gc --older-than 90d", "lists it and asks; where nobody can be asked nothing is deleted"),),
    ),
    Command(
        "config",
        "config",
        "Care",
        "Show every setting, its value and where it comes from",
        args=(Arg("names", "Only these settings and what is below them", many=True, required=False, complete="setting"),),
        examples=(
            ("kin config", "from kin.yaml (with its line), from your own config.yaml, or kin's default"),
            ("kin config limits gates", ""),
        ),
    ),
    Command(
        "renumber",
        "renumber",
        "Care",
        "Give a task or decision another id, and change every reference to it",
        args=(
            Arg("old", "Its id", complete="task"),
            Arg("new", "Its new id (default: the next free one)", required=False),
        ),
        options=(Opt("prose", "Also where titles, descriptions and notes name it", "flag"),),
        examples=(
            ("kin renumber 12", "two clones made a KIN-12: give yours another number, commit, then merge"),
            ("kin renumber 12 40", "the number that you want"),
        ),
        more="A task that runs, or whose work waits on its branch, is refused. Killed half-way, the same command finishes it.",
    ),
    Command(
        "merge-file",
        "merge_file",
        "Care",
        "Merge two versions of a file of .kin/, key by key; git calls it",
        args=(
            Arg("base", "The version that both were made from"),
            Arg("ours", "Our version, which the merged one replaces"),
            Arg("theirs", "The other version"),
            Arg("path", "The file's name, for messages", required=False),
        ),
        options=(Opt("marker-size", "How long conflict markers are", "int", metavar="N"),),
        examples=(
            ("kin merge-file %O %A %B %P", "as git's merge driver; `kin init` registers it, .kin/.gitattributes names it"),
        ),
        more="Exit 1: a key that both changed differently stands between conflict markers. What is no YAML is merged by line.",
    ),
    Command(
        "completion",
        "completion",
        "Care",
        "Print a script that makes your shell complete kin",
        args=(Arg("shell", "bash, zsh or fish", complete="shell"),),
        examples=(
            ('eval "$(kin completion bash)"', "in ~/.bashrc; likewise zsh in ~/.zshrc"),
            ("kin completion fish | source", "in ~/.config/fish/config.fish"),
        ),
    ),
    Command(
        "help",
        "help",
        "Care",
        "Explain kin or one of its commands",
        args=(Arg("command", "A command or a topic", required=False, complete="command"),),
        examples=(("kin help run", "the same as `kin run --help`"),),
    ),
    Command("version", "help", "Care", "Print kin's version", examples=(("kin --version", "the quickest way"),)),
)

COMMANDS = {row.name: row for row in _ROWS}
