"""Pull requests through the host's own client, if it is on PATH and logged in; else the page where a person opens one."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from kin.runner.remote.host import job_of

LIMIT = 120.0
"""Seconds that a client may take."""
_REQUEST = re.compile(r"https?://[^\s\"]+/(?:pull|pulls|merge_requests)/\d+")


class Client(NamedTuple):
    """A host's client, each call as arguments with {head}, {base}, {title}, {body}, {host}, {owner}, {repo} and {number}, and
    where its pages lie.

    Only gh reads the text from its standard input.
    """

    program: str
    find: tuple[str, ...]
    create: tuple[str, ...]
    update: tuple[str, ...]
    page: str


_PULLS = ("api", "--hostname={host}", "repos/{owner}/{repo}/pulls")
_TEXT = ("--raw-field=title={title}", "--field=body=@-", "--jq=.html_url")
# not `gh pr`: old ones, as distributions have them, ask for classic projects, which GitHub answers with an error since 2024
_GH = Client(
    "gh",
    (*_PULLS, "--method=GET", "--raw-field=head={owner}:{head}", "--raw-field=base={base}", "--jq=.[].html_url"),
    (*_PULLS, "--method=POST", "--raw-field=head={head}", "--raw-field=base={base}", *_TEXT),
    (*_PULLS[:-1], f"{_PULLS[-1]}/{{number}}", "--method=PATCH", *_TEXT),
    "/compare/{base}...{head}?expand=1",
)
_GLAB = Client(
    "glab",
    ("mr", "list", "--source-branch={head}", "--target-branch={base}", "--output=json"),
    ("mr", "create", "--source-branch={head}", "--target-branch={base}", "--title={title}", "--description={body}", "--yes"),
    ("mr", "update", "{head}", "--title={title}", "--description={body}"),
    "/-/merge_requests/new?merge_request%5Bsource_branch%5D={head}&merge_request%5Btarget_branch%5D={base}",
)
_TEA = Client(
    "tea",
    ("pulls", "list", "--state=open", "--fields=url,head", "--output=simple"),
    ("pulls", "create", "--head={head}", "--base={base}", "--title={title}", "--description={body}"),
    (),
    "/compare/{base}...{head}",
)
_CLIENTS = {"github": _GH, "gitlab": _GLAB, "gitea": _TEA, "woodpecker": _TEA}


def pull_request(
    cwd: str, remote: str, environ: Mapping[str, str], *, head: str, base: str, title: str, body: str
) -> tuple[str, str | None]:
    """Open the pull request of branch `head`, or bring its text up to date: words for a person, and its address.

    `remote` is the remote's URL. Whatever fails leaves a link to the page where it is opened by hand.
    """
    site, client = web_page(remote), client_for(remote, environ)
    host, _, path = site.removeprefix("https://").partition("/")
    owner, _, name = path.rpartition("/")
    words = {"head": head, "base": base, "title": title, "body": body, "host": host, "owner": owner, "repo": name}
    program = shutil.which(client.program, path=environ.get("PATH"))
    said = "" if program else f"{client.program} is not on PATH"
    if program and site:
        found, said = _call([program, *_filled(client.find, words)], cwd, environ, "")
        line = next((line for line in found.splitlines() if client is not _TEA or head in line.split()), "")
        url = (_REQUEST.findall(line) or [None])[0]
        if not said and (url is None or client.update):
            call = client.create if url is None else client.update
            out, said = _call([program, *_filled(call, words | {"number": (url or "").rpartition("/")[2]})], cwd, environ, body)
            url = url or (_REQUEST.findall(out) or [None])[-1]
        if url:
            return f"pull request: {url}" + (f" ({said})" if said else ""), url
    if not site:
        return "", None
    page = site + client.page.format(head=quote(head), base=quote(base))
    return f"open a pull request: {page}" + (f" ({said})" if program else ""), None


def client_for(remote: str, environ: Mapping[str, str]) -> Client:
    """The client of the host that the job or the remote's address tells."""
    host = re.sub(r"^https?://|/.*", "", web_page(remote))
    return _CLIENTS.get(job_of(environ).host) or (_GLAB if "gitlab" in host else _GH if host == "github.com" else _TEA)


def web_page(remote: str) -> str:
    """The repository's page, of an address that git fetches from; no password or token of it. "" for a folder."""
    found = re.fullmatch(r"(?:(?:https?|ssh|git)://)?(?:[^@/]*@)?([^/:@]+\.[^/:@]+)(?::\d+)?[:/](.+?)(?:\.git)?/?", remote)
    return f"https://{found[1]}/{found[2].lstrip('/')}" if found and not os.path.exists(remote) else ""


def cell(text: str) -> str:
    """Text as it stands in a Markdown line or table: no markup of its own, no link, no mention of anybody or anything.

    What is more than words becomes code, in which no host looks for names, issues or addresses, each sign of it as its number:
    those are read after all that has a meaning to Markdown, tables' bars too.
    """
    text = " ".join(text.split())
    if re.fullmatch(r"((?!www\.|GH-)[^\W_]|[ ,.()→-]|\$(?=\d))*", text, re.IGNORECASE):
        return text
    return "<code>" + re.sub(r"[^\w ]|_", lambda sign: f"&#{ord(sign[0])};", text) + "</code>"


def fenced(text: str) -> list[str]:
    """Text as a block of code that it cannot end."""
    marks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, marks + 1)
    return [fence, text, fence]


def _filled(words: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    return [word.format(**values) for word in words]


def _call(argv: list[str], cwd: str, environ: Mapping[str, str], text: str) -> tuple[str, str]:
    """Standard output, and what went wrong, if anything did."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=dict(environ), input=text, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{os.path.basename(argv[0])}: {error}"
    said = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[0]
    return done.stdout, f"{os.path.basename(argv[0])}: {said}" if done.returncode else ""
