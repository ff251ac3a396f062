"""Runs a program as a debug target for any DAP client: it listens, waits for the client's breakpoints, then runs the program.

What follows the program's name is the program's own.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import os
import sys
from collections.abc import Sequence

from .standalone import script
from .standalone.server import Server, StandaloneHost

_EXAMPLES = """\
examples:
  {prog} --listen 127.0.0.1:5678 script.py --its-flag VALUE
  {prog} --listen 0 -m package.module        a free port, which the first line on stderr names
  {prog} --no-wait server.py                 clients may come later, one at a time
"""
_USAGE_ERROR = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None, prog: str = "python -m manta_debug") -> int:
    """Runs the program, and answers its exit code."""
    parser = _parser(prog)
    own, program = _split(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(own)
    target: str | None = options.module or (program.pop(0) if program else None)
    if target is None:
        parser.error("name a script to run, or a module with -m")
    problem = _cannot_run(target, is_module=options.module is not None)
    if problem is not None:
        parser.error(problem)
    host = StandaloneHost(target, redirects_output=True)
    name, port = options.listen
    try:
        server = Server(name, port, host)
    except OSError as error:
        parser.error(
            f"cannot listen on {name}:{port}: {error.strerror or error}; choose another address with --listen"
        )
    shown = f"[{server.address[0]}]" if ":" in server.address[0] else server.address[0]
    print(f"manta_debug: listening on {shown}:{server.address[1]}", file=sys.stderr, flush=True)
    if options.wait:
        try:
            host.ready.wait()
        except KeyboardInterrupt:
            print(
                "manta_debug: interrupted before a client came; the program was not started", file=sys.stderr
            )
            return _INTERRUPTED
    # Registered before the program's own, so that it is called behind them: breakpoints stop in those too.
    atexit.register(server.program_ended)
    server.program_starts()
    server.exit_code = script.run(target, program, is_module=options.module is not None)
    return server.exit_code


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [-h] [--listen [HOST:]PORT] [--wait | --no-wait] (script.py | -m MODULE) [ARGS ...]",
        description=__doc__,
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--listen",
        type=_address,
        default=("127.0.0.1", 5678),
        metavar="[HOST:]PORT",
        help="where to listen for the client; port 0 takes a free one (default 127.0.0.1:5678)",
    )
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the program starts only when a client has set its breakpoints (default: it waits)",
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module instead of a script")
    return parser


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options before the program, and the program with what follows it, which may look like options of ours."""
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return list(arguments[:at]), list(arguments[at + 1 :])
        if word.startswith("-m"):
            end = at + (2 if word == "-m" else 1)
            return list(arguments[:end]), list(arguments[end:])
        if not word.startswith("-"):
            break
        at += 2 if word == "--listen" else 1
    return list(arguments[:at]), list(arguments[at:])


def _cannot_run(target: str, *, is_module: bool) -> str | None:
    """Why the program cannot be started: better said now than when a client has come."""
    if not is_module:
        return None if os.path.exists(target) else f"there is no file or folder '{target}'"
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.util.find_spec(target) is not None
    except (ImportError, ValueError):
        found = False
    finally:
        sys.path.pop(0)
    return None if found else f"no module named '{target}' is found from here"


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not an address like 127.0.0.1:5678")
    return (host.strip("[]") if colon else "127.0.0.1"), int(port)


if __name__ == "__main__":
    sys.exit(main())
