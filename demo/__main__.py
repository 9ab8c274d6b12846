"""python -m demo [--stay], under lab/enter. Exit status: 0, 1 when something did not happen, 130 after Ctrl-C."""

import argparse
import signal
import sys

from demo import play, tour
from demo.stand import Stand
from demo.table import show_table
from lab import LabError


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="no tour: stay up for playing until Ctrl-C")
    stay = parser.parse_args().stay
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        with Stand() as stand:
            show_table(stand)
            if stay:
                play.play(stand)
            else:
                tour.tour(stand)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    except LabError as error:
        print(f"\nmake demo: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
