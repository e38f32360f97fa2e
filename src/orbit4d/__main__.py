"""`python -m orbit4d`."""

import sys

from .cli import main

sys.exit(main())
