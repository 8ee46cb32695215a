"""Run the command line as `python -m btxrd`."""

import os
import sys

from btxrd.cli import main
from btxrd.training.launcher import own_place

if __name__ == "__main__":
    status = main()
    _, processes = own_place()
    if processes > 1:  # the threads that talk to the others must not be waited for
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
