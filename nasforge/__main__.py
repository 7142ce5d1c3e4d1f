"""`python -m nasforge`: the program, for environments whose scripts are not on the path."""

import sys

from nasforge.cli import main

if __name__ == "__main__":
    sys.exit(main())
