"""`python -m oneiros`: the command `oneiros`."""

import sys

from oneiros.cli import main

if __name__ == "__main__":
    sys.exit(main())
