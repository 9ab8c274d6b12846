"""`healthagent`, and `python -m healthagent`."""

import sys


def main() -> int:
    """Runs the command of this process's command line; `check` without loading what only the others need."""
    from healthagent import checking

    argv = sys.argv[1:]
    if checking.asked(argv):
        return checking.main(argv)
    from healthagent import cli

    return cli.main(argv)


if __name__ == "__main__":
    sys.exit(main())
