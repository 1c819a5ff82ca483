"""The command `chunkflow`, in this process: `python -m chunkflow` is the same."""

import signal
import sys

from chunkflow._native import command


def main() -> None:
    # The command has its own way to stop. Python's would say KeyboardInterrupt after it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(command(["chunkflow", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
