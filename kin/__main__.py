"""`python -m kin`: the same as `kin`, found without a PATH (the runner starts itself this way)."""

from kin.cli.main import main

raise SystemExit(main())
