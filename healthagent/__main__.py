"""`python -m healthagent`."""

import sys

from healthagent.cli import main

if __name__ == "__main__":
    sys.exit(main())
