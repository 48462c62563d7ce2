"""`python -m zoowizard`: the same as the command `zoowizard`."""

import sys

from zoowizard.cli import main

if __name__ == "__main__":
    sys.exit(main())
