"""`python -m fastreq`, which is `fastreq` on the command line."""

import sys

from fastreq.cli import main

sys.exit(main())
