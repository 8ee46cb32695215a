"""Run the command line as `python -m btxrd`."""

import sys

from btxrd.cli import main

if __name__ == "__main__":
    sys.exit(main())
