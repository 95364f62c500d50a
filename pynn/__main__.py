"""`python -m pynn` is the command `pynn`."""

import sys

from pynn.cli import main

sys.exit(main())
