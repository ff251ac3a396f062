"""Runs a program as a debug target for any DAP client: it listens, waits for the client's breakpoints, then runs the program.

What follows the program's name is the program's own. With --adapter it is the client that names a program, to launch or to attach to.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

from .errors import RequestError
from .standalone import script
from .standalone.gate import VARIABLE
from .standalone.host import StandaloneHost
from .standalone.joining import JoiningServer
from .standalone.listening import ListeningServer
from .standalone.server import Server

_EXAMPLES = """\
examples:
  {prog} --listen 127.0.0.1:5678 script.py --its-flag VALUE
  {prog} --listen 0 -m package.module        a free port, which the first line on stderr names
  {prog} --no-wait server.py                 clients may come later, one at a time
  {prog} --connect 10.0.0.7:5678 script.py   to a client that waits there, by `attach` with `listen`
  {prog} --pid 4711 --listen 0               a process that runs already
  {prog} --adapter                           a debug adapter on stdin and stdout, for editors
  {prog} --adapter --listen 127.0.0.1:5679   the same, for clients that connect
"""
_DEFAULT_ADDRESS = ("127.0.0.1", 5678)
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None, prog: str = "python -m manta_debug") -> int:
    """Runs the program, and answers its exit code."""
    parser = _parser(prog)
    own, program = _split(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(own)
    if options.adapter:
        if (
            program
            or options.module
            or options.code
            or options.join
            or options.connect
            or options.pid is not None
        ):
            parser.error("an adapter takes no program: its client names one")
        return _adapt(options.listen, parser)
    if options.pid is not None and (program or options.module or options.code or options.join):
        parser.error("--pid names a process that runs already: leave the program out")
    if options.listen and options.connect:
        parser.error("--listen and --connect exclude each other")
    if options.pid is not None:
        return _inject(options.pid, options.listen, options.connect, parser)
    is_named = options.module or options.code
    target: str | None = is_named or (program.pop(0) if program else None)
    if target is None:
        parser.error("name a script to run, a module with -m, or code with -c")
    kind = script.Kind.MODULE if options.module else script.Kind.CODE if options.code else script.Kind.FILE
    problem = _cannot_run(target, kind)
    if problem is not None:
        parser.error(problem)
    host = StandaloneHost(target if kind is not script.Kind.CODE else "-c")
    if options.connect:
        server: Server = _connect(host, options.connect, parser)
    elif options.join:
        server = _join(host, parser)
    else:
        server = _listen(host, options.listen or _DEFAULT_ADDRESS, parser)
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
    if arguments is None:
        sys.orig_argv = _without_engine(sys.orig_argv, kind, [target, *program])
    server.program_starts()
    code = server.exit_code = script.run(target, program, kind)
    return code


def _listen(host: StandaloneHost, address: tuple[str, int], parser: argparse.ArgumentParser) -> Server:
    name, port = address
    try:
        server = ListeningServer(name, port, host)
    except OSError as error:
        parser.error(
            f"cannot listen on {name}:{port}: {error.strerror or error}; choose another address with --listen"
        )
    print(f"manta_debug: listening on {_shown(server.address)}", file=sys.stderr, flush=True)
    return server


def _connect(host: StandaloneHost, address: tuple[str, int], parser: argparse.ArgumentParser) -> Server:
    try:
        return JoiningServer.at(address, host)
    except OSError as error:
        parser.error(
            f"nobody waits for a program at {_shown(address)} ({error.strerror or error}); let the client `attach` with `listen` first"
        )


def _join(host: StandaloneHost, parser: argparse.ArgumentParser) -> Server:
    place = os.environ.pop(VARIABLE, None)
    if place is None:
        parser.error(f"--join is an adapter's, which says by {VARIABLE} where it waits; use --listen instead")
    try:
        return JoiningServer(place, host, is_child=False)
    except OSError as error:
        parser.error(f"the adapter that waits for this program cannot be reached: {error}")


def _adapt(address: tuple[str, int] | None, parser: argparse.ArgumentParser) -> int:
    from .launching import serve

    if address is None:
        return serve.on_standard_streams()
    try:
        listener = serve.listen(*address)
    except OSError as error:
        parser.error(f"cannot listen on {_shown(address)}: {error.strerror or error}")
    print(f"manta_debug: listening on {_shown(listener.getsockname())}", file=sys.stderr, flush=True)
    return serve.on(listener)


def _inject(
    process_id: int,
    listen: tuple[str, int] | None,
    connect: tuple[str, int] | None,
    parser: argparse.ArgumentParser,
) -> int:
    from . import injecting

    try:
        if connect is not None:
            address = injecting.connect(process_id, connect)
        else:
            address = injecting.listen(process_id, listen or _DEFAULT_ADDRESS)
    except RequestError as error:
        parser.error(str(error))
    done = "has gone to" if connect is not None else "listens on"
    print(f"manta_debug: process {process_id} {done} {_shown(address)}", file=sys.stderr, flush=True)
    return 0


def _shown(address: Sequence[Any]) -> str:
    name, port = address[:2]
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [-h] [--listen [HOST:]PORT | --connect [HOST:]PORT] [--wait | --no-wait]\n"
        f"       {' ' * len(prog)} (script.py | -m MODULE | -c CODE) [ARGS ...]\n"
        f"       {prog} --pid PID [--listen [HOST:]PORT | --connect [HOST:]PORT]\n"
        f"       {prog} --adapter [--listen [HOST:]PORT]",
        description=__doc__,
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--listen",
        type=_address,
        default=None,
        metavar="[HOST:]PORT",
        help="where to listen for the client; port 0 takes a free one (default 127.0.0.1:5678)",
    )
    parser.add_argument(
        "--connect",
        type=_address,
        metavar="[HOST:]PORT",
        help="where a client waits for the program, instead of listening for one",
    )
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether the program starts only when a client has set its breakpoints (default: it waits)",
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module instead of a script")
    parser.add_argument("-c", dest="code", metavar="CODE", help="run this text instead of a script")
    parser.add_argument(
        "--pid",
        type=int,
        metavar="PID",
        help="a process that runs already, to be debugged as if it had been started here (Linux on x86-64)",
    )
    parser.add_argument(
        "--adapter",
        action="store_true",
        help="be a debug adapter: on stdin and stdout, or where --listen says (then without a default)",
    )
    # For the adapter's own use: the program goes to the adapter.
    parser.add_argument("--join", action="store_true", help=argparse.SUPPRESS)
    return parser


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options before the program, and the program with what follows it, which may look like options of ours."""
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return list(arguments[:at]), list(arguments[at + 1 :])
        if word.startswith(("-m", "-c")):
            end = at + (2 if word in ("-m", "-c") else 1)
            return list(arguments[:end]), list(arguments[end:])
        if not word.startswith("-"):
            break
        at += 2 if word in ("--listen", "--connect", "--pid") else 1
    return list(arguments[:at]), list(arguments[at:])


def _without_engine(words: list[str], kind: script.Kind, program: list[str]) -> list[str]:
    """The interpreter's command line as it would be without the engine: servers start themselves anew by it, under the engine again."""
    interpreter = words[: len(words) - len(sys.argv) + 1]
    is_module = interpreter[-2:-1] == ["-m"]
    named = {script.Kind.MODULE: ["-m"], script.Kind.CODE: ["-c"], script.Kind.FILE: []}[kind]
    return [*interpreter[: -2 if is_module else -1], *named, *program]


def _cannot_run(target: str, kind: script.Kind) -> str | None:
    """Why the program cannot be started: better said now than when a client has come."""
    if kind is script.Kind.CODE:
        return None
    if kind is script.Kind.FILE:
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
