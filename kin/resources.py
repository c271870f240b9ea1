"""Where the files lie that travel with kin: the roles and what `kin init` copies."""

import os

from kin.errors import Bug


def shipped(name: str) -> str:
    """The absolute path of `agents` or `.kin-template`: in the package if kin is installed, beside it in a checkout.

    The package comes first: beside an installed one lie other projects' packages, one of which may be called `agents`.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    for base in (os.path.join(package, "shipped"), os.path.dirname(package)):
        if os.path.isdir(path := os.path.join(base, name)):
            return path
    raise Bug(f"this copy of kin has no {name}", "install it again")
