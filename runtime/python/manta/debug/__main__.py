"""Runs a script under the Python debug engine, which any DAP client can talk to."""

import sys

from manta_debug.command_line import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m manta.debug"))
