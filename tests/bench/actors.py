"""Measures how fast an actor's calls are taken, run and answered. Its last line is a JSON list of figures.

Usage: python actors.py manta|ray [--rounds COUNT]
"""

import argparse
import json

import tasks

BATCH = 1000
ONE_BY_ONE = 300


class Nothing:
    def nothing(self):
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=("manta", "ray"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    system = tasks.SYSTEMS[arguments.system]()
    api = system.module
    actor = api.remote(Nothing).remote()
    api.get(actor.nothing.remote())

    def batch(count):
        api.get([actor.nothing.remote() for _ in range(count)])

    def one_by_one(count):
        for _ in range(count):
            api.get(actor.nothing.remote())

    figures = (
        ("actors.python.async", tasks.rate(batch, BATCH, arguments.rounds)),
        ("actors.python.one", tasks.rate(one_by_one, ONE_BY_ONE, arguments.rounds)),
    )
    system.close()
    print(json.dumps([{"measure": measure, "unit": "calls/s", "value": value} for measure, value in figures]))


if __name__ == "__main__":
    main()
