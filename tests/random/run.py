"""Debugs programs at random and checks that they print what they print undisturbed, and that nothing is left in them.

    python tests/random/run.py --seeds 50                  # engines alone in turn, and now and then a cluster
    python tests/random/run.py --seed 17 --engine native   # one run again, with its conversation

A seed chooses the same moves each time; when they fall depends on the machine, so a failure may take more than one try (`--repeat`).
Wants MANTA_BIN and MANTA_NATIVE_FIXTURES (a folder with the program `random`); `cargo xtask test --only random` and
`cargo xtask bench random` set both. Prints a last line of JSON.
"""

import argparse
import concurrent.futures
import json
import random
import sys
import time
import traceback

from cluster import Clusters
from native import Native
from player import Player
from python_engine import Python
from wire import Gone, Refused, Wrong

MOVES_MAX = 60
SESSIONS_MAX = 4


def play(engine, seed, conversations):
    """One run. Gives what the program printed."""
    chance = random.Random(f"{engine.name} {seed}")
    run = engine.start()
    try:
        return _play(run, chance, engine.terrain, conversations)
    except (Wrong, Gone):
        if hasattr(run, "says"):
            conversations.append(run.says())
        raise
    finally:
        run.clean_up()


def _play(run, chance, terrain, conversations):
    begun = False
    for session in range(chance.randint(1, SESSIONS_MAX)):
        client = run.attach()
        conversations.append(client.log)
        player = Player(client, chance, terrain)
        for _ in range(chance.randint(0, 3)):
            chance.choice([player.set_lines, player.set_lines, player.set_functions])()
        _configured(run, client)
        if not begun:
            run.go()
            begun = True
        for _ in range(chance.randint(0, MOVES_MAX)):
            player.move()
        how = chance.choice(["disconnect", "disconnect", "close", "kill", "clear"])
        if how == "clear":
            _run_to_the_end(run, player)
            how = "disconnect"
        client.log.append(f"  session {session} ends by {how}")
        run.leave(client, how)
        if run.program.is_done():
            break
    if not run.program.is_done(60):
        raise Wrong(f"nobody debugs the program, and it is not done; it printed {run.program.lines}")
    return run.finish()


def _configured(run, client):
    client.request("configurationDone")
    waiting = getattr(run, "_attach", None)
    if waiting:
        client.answer(waiting, "attach")
        run._attach = None


def _run_to_the_end(run, player):
    """Takes everything out and lets every thread run on until the program is done."""
    player.clear()
    until = time.monotonic() + 60
    while not run.program.is_done():
        player.look(0.02)
        for thread in list(player.stopped):
            player.stopped.pop(thread)
            try:
                player.client.request("continue", {"threadId": thread, "singleThread": True})
            except Refused as refusal:
                player.client.log.append(f"  refused: {refusal}")
        if time.monotonic() > until:
            raise Wrong(
                f"everything was taken out and resumed, and the program is not done: {run.program.lines}"
            )


def undisturbed(engine):
    """What the program prints when its client does nothing."""
    run = engine.start()
    try:
        client = run.attach()
        _configured(run, client)
        run.leave(client, "disconnect")
        run.go()
        if not run.program.is_done(60):
            raise Wrong(f"undisturbed, the program is not done: {run.program.lines}")
        return run.finish()
    finally:
        run.clean_up()


class Failure(Exception):
    """A run that went wrong, with all that helps."""


def check(engine, seed, plain, shows):
    """One run and its judgement."""
    conversations = []
    begun = time.monotonic()
    try:
        printed = play(engine, seed, conversations)
        if printed != plain:
            raise Wrong(f"it printed\n  {printed}\nand undisturbed\n  {plain}")
    except (Wrong, Gone, OSError, KeyError) as error:
        said = "\n".join(line for log in conversations for line in [*log, "----"])
        why = traceback.format_exc() if not isinstance(error, Wrong) else f"{error}\n"
        again = f"python tests/random/run.py --engine {engine.name} --seed {seed} --repeat 20"
        raise Failure(f"{said}\n{engine.name}, seed {seed}: {why}run it again with: {again}") from error
    if shows:
        print("\n".join(line for log in conversations for line in [*log, "----"]))
    return time.monotonic() - begun


def engine_of(seed, every):
    """Which engine a seed is for, when all are asked for: a cluster costs more, and is rarer."""
    if seed % every == every - 1:
        return "cluster"
    return "native" if seed % 2 else "python"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=["native", "python", "cluster", "all"], default="all")
    parser.add_argument("--seeds", type=int, default=50, help="how many runs, from --first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one alone, and show its conversation")
    parser.add_argument("--repeat", type=int, default=1, help="each seed so many times, until it fails")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument(
        "--cluster-every", type=int, default=10, help="one run of so many goes through a cluster"
    )
    parser.add_argument("--go-on", action="store_true", help="after a failure, too")
    options = parser.parse_args()
    seeds = (
        [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    )
    name = {
        seed: engine_of(seed, options.cluster_every) if options.engine == "all" else options.engine
        for seed in seeds
    }
    if options.seed is not None and options.engine == "all":
        print(f"seed {options.seed} is for {name[options.seed]}")
    engines = {}
    failures = []
    took = {}
    begun = time.monotonic()
    with Clusters(options.jobs) as clusters:
        for wanted in sorted(set(name.values())):
            engines[wanted] = {"native": Native, "python": Python, "cluster": clusters.engine}[wanted]()
        plain = {wanted: undisturbed(engine) for wanted, engine in engines.items()}
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            runs = {
                pool.submit(
                    check, engines[name[seed]], seed, plain[name[seed]], options.seed is not None
                ): seed
                for seed in seeds
                for _ in range(options.repeat)
            }
            for run in concurrent.futures.as_completed(runs):
                try:
                    took.setdefault(name[runs[run]], []).append(run.result())
                except concurrent.futures.CancelledError:
                    continue
                except Failure as failure:
                    failures.append(runs[run])
                    print(f"{failure}\n", flush=True)
                    if not options.go_on:
                        pool.shutdown(wait=False, cancel_futures=True)
    seconds = time.monotonic() - begun
    summary = {
        "runs": {engine: len(times) for engine, times in sorted(took.items())},
        "slowest_seconds": {engine: round(max(times), 2) for engine, times in sorted(took.items()) if times},
        "seconds": round(seconds, 1),
        "failed_seeds": sorted(set(failures)),
    }
    good = sum(len(times) for times in took.values())
    # The form in which the project's test table counts.
    print(f"{good} passed, {len(failures)} failed in {seconds:.1f}s")
    print(json.dumps(summary))
    return 1 if failures or not good else 0


if __name__ == "__main__":
    sys.exit(main())
