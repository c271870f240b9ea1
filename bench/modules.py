"""What `kin modules scan` proposes for ten real source packages of five ecosystems, and whether a glob of it covers nothing.

    python bench/modules.py [--cache DIR] [--only NAME]

The archives come through pip, npm and apt-get, as these are set up on the machine, into a cache. Prints one line a
package: files, modules proposed, seconds, and what `kin check` finds wrong in the map; exit 1 if it finds anything.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ground import ROOT, environment, fresh, scratch
from packages import Edits, Package, by_apt, call


def by_pip(name: str, into: Path) -> Path:
    """The sdist, unpacked."""
    call([sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--no-binary", ":all:", name], into)
    return unpacked(next(into.glob("*.tar.gz")))


def by_npm(name: str, into: Path) -> Path:
    """The tarball, unpacked."""
    call(["npm", "pack", "--silent", name], into)
    return unpacked(next(into.glob("*.tgz")))


def by_source(name: str, into: Path) -> Path:
    """The Debian source package, unpacked."""
    into.rmdir()
    return by_apt(Package(name, "", by_apt, "", (), "", "", Edits("", "", "", ("", ""), "", "")), into.parent)


def unpacked(archive: Path) -> Path:
    """What the archive's one folder holds."""
    (tree := archive.parent / "tree").mkdir()
    call(["tar", "xf", str(archive), "--strip-components=1", "-C", str(tree)], archive.parent)
    return tree


PACKAGES: tuple[tuple[str, str, Callable[[str, Path], Path]], ...] = (
    ("requests", "Python", by_pip),
    ("rich", "Python", by_pip),
    ("fastify", "npm", by_npm),
    ("webpack", "npm", by_npm),
    ("rust-bat", "Cargo", by_source),
    ("rust-fd-find", "Cargo", by_source),
    ("golang-github-spf13-cobra", "Go", by_source),
    ("golang-github-spf13-viper", "Go", by_source),
    ("commons-io", "Maven", by_source),
    ("maven", "Maven", by_source),
)


def look(name: str, tree: Path, folder: Path) -> tuple[str, bool]:
    """Propose a map for the package and check it."""
    repo = fresh(folder / name)
    shutil.copytree(tree, repo.path, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(repo.path / "debian", ignore_errors=True)
    repo.write(".kin/kin.yaml", "key: P\n")
    repo.git("add", "-A")
    start = time.monotonic()
    repo.kin("modules", "scan", "--write")
    seconds = time.monotonic() - start
    found = [one["name"] for one in json.loads(repo.kin("modules", "--json").stdout)["data"]]
    wrong = json.loads(repo.kin("check", "--json", exit=None).stdout)["data"]["findings"]
    files = len(repo.git("ls-files").splitlines())
    said = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
    line = f"{name:26} {files:6} files {len(found):3} modules {seconds:5.2f} s  {len(wrong)} wrong  {said}"
    return line + "".join(f"\n    {one['message']}" for one in wrong), bool(found) and not wrong


def main() -> int:
    """Look at all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", default=str(ROOT / ".cache/modules"))
    parser.add_argument("--only", default=None)
    words = parser.parse_args()
    good = True
    with scratch() as folder:
        for name, _, fetch in PACKAGES:
            if words.only not in (None, name):
                continue
            place = Path(words.cache).resolve() / name
            if not (place / "done").exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                tree = fetch(name, place)
                (place / "done").write_text(str(tree))
        environment(folder / "home")
        for name, kind, _ in PACKAGES:
            if words.only in (None, name):
                line, fine = look(name, Path((Path(words.cache) / name / "done").read_text()), folder)
                good &= fine
                print(f"{kind:16} {line}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
