"""`python -m manta_debug --listen HOST:PORT script.py ARGS`: runs a program as a debug target for any DAP client."""

from __future__ import annotations

import argparse
import sys

from .standalone import script
from .standalone.server import Server, StandaloneHost


def main() -> int:
    """Runs the program, and answers its exit code."""
    options = _parse()
    target: str = options.module or options.program[0]
    arguments: list[str] = options.program if options.module else options.program[1:]
    host = StandaloneHost(target, redirects_output=True)
    name, port = options.listen
    server = Server(name, port, host)
    shown = f"[{server.address[0]}]" if ":" in server.address[0] else server.address[0]
    print(f"manta_debug: listening on {shown}:{server.address[1]}", file=sys.stderr, flush=True)
    if not options.no_wait:
        host.ready.wait()
    code = script.run(target, arguments, is_module=options.module is not None)
    server.program_ended(code)
    return code


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m manta_debug", description=__doc__)
    parser.add_argument(
        "--listen",
        type=_address,
        default=("127.0.0.1", 5678),
        metavar="[HOST:]PORT",
        help="where to listen for the client; port 0 takes a free one (default 127.0.0.1:5678)",
    )
    parser.add_argument("--no-wait", action="store_true", help="start the program without waiting for a client")
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module instead of a script")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="script.py ARGS")
    options = parser.parse_args()
    if options.module is None and not options.program:
        parser.error("name a script to run, or a module with -m")
    return options


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not an address like 127.0.0.1:5678")
    return (host.strip("[]") if colon else "127.0.0.1"), int(port)


if __name__ == "__main__":
    sys.exit(main())
