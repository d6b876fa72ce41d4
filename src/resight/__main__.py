"""`python -m resight` is the `resight` command."""

import sys

from resight.cli import main

sys.exit(main())
