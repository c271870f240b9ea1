"""All files of named entries, for those who go through them; apart, so that who needs one does not import all."""

from typing import Any

from kin.model.entries import Kind
from kin.model.environment import ENVIRONMENTS
from kin.model.link import LINKS
from kin.model.module import MODULES
from kin.model.phase import PHASES

KINDS: tuple[Kind[Any], ...] = (MODULES, PHASES, ENVIRONMENTS, LINKS)
