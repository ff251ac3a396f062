"""What a client may do to a program, chosen at random."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from wire import Refused, Wrong

NUMBER = re.compile(r"-?\d+")


@dataclass
class Terrain:
    """What a program has for a client to choose from."""

    source: Path
    functions: list[str]
    conditions: list[str]
    expressions: list[str]
    filters: list[str]
    messages: list[str]
    is_native: bool = False
    in_cluster: bool = False
    lines: int = field(init=False)

    def __post_init__(self):
        self.lines = len(self.source.read_text(encoding="utf-8").splitlines())


class Player:
    """One client's moves."""

    def __init__(self, client, chance, terrain):
        self.client = client
        self.chance = chance
        self.terrain = terrain
        self.stopped = {}
        self.watched = []
        self.addresses = []

    # What the client knows.

    def look(self, seconds=0.0):
        """Takes note of what has happened."""
        for event in self.client.take_events(seconds):
            body = event.get("body", {})
            match event["event"]:
                case "stopped":
                    if "threadId" in body:
                        self.stopped[body["threadId"]] = body
                case "continued":
                    if body.get("allThreadsContinued"):
                        self.stopped.clear()
                    self.stopped.pop(body.get("threadId"), None)
                case "thread":
                    if body.get("reason") == "exited":
                        self.stopped.pop(body["threadId"], None)
        if self.terrain.in_cluster:
            # Stops come in batches, told by one event: the list of paused tasks is the truth.
            self.stopped = {thread["id"]: thread for thread in self.client.request("threads")["threads"]}

    def _thread(self):
        return self.chance.choice(list(self.stopped)) if self.stopped else None

    # Moves.

    def move(self):
        """Makes one."""
        moves = [
            (self.set_lines, 6),
            (self.set_functions, 2),
            (self.set_exceptions, 1),
            (self.wait, 6),
            (self.go_on, 8),
            (self.step, 8),
            (self.pause, 2),
            (self.open, 5),
            (self.evaluate, 3),
            (self.set_to_itself, 2),
            (self.watch, 2),
            (self.nonsense, 1),
        ]
        if self.terrain.is_native and not self.terrain.in_cluster:
            moves += [(self.set_instructions, 2), (self.read_memory, 1)]
        chosen = self.chance.choices([move for move, _ in moves], [weight for _, weight in moves])[0]
        self.look()
        try:
            chosen()
        except Refused as refusal:
            self.client.log.append(f"  refused: {refusal}")

    def _breakpoint(self, place):
        chance = self.chance
        kind = chance.random()
        if kind < 0.35:
            place["condition"] = chance.choice(self.terrain.conditions)
        elif kind < 0.5:
            place["hitCondition"] = chance.choice(["2", ">= 5", "% 3", "== 1", "many"])
        elif kind < 0.65:
            place["logMessage"] = chance.choice(self.terrain.messages)
        return place

    def set_lines(self):
        count = self.chance.choice([0, 1, 1, 2, 3, 5, 8])
        lines = self.chance.sample(range(1, self.terrain.lines + 1), count)
        breakpoints = [self._breakpoint({"line": line}) for line in lines]
        source = {"path": str(self.terrain.source), "name": self.terrain.source.name}
        answer = self.client.request("setBreakpoints", {"source": source, "breakpoints": breakpoints})
        if len(answer["breakpoints"]) != count:
            raise Wrong(f"{count} breakpoints were set and {answer} was answered")

    def set_functions(self):
        names = self.chance.sample(self.terrain.functions, self.chance.choice([0, 0, 1, 2]))
        self.client.request(
            "setFunctionBreakpoints",
            {"breakpoints": [self._breakpoint({"name": name}) for name in names if "logMessage" not in name]},
        )

    def set_exceptions(self):
        filters = self.terrain.filters
        chosen = self.chance.sample(filters, self.chance.randint(0, len(filters)))
        self.client.request("setExceptionBreakpoints", {"filters": chosen})

    def set_instructions(self):
        chosen = self.chance.sample(self.addresses, min(len(self.addresses), self.chance.choice([0, 1, 2])))
        breakpoints = [
            {"instructionReference": address, "offset": self.chance.choice([0, 0, 1, 4])}
            for address in chosen
        ]
        self.client.request("setInstructionBreakpoints", {"breakpoints": breakpoints})

    def wait(self):
        self.look(self.chance.choice([0.0, 0.01, 0.05]))

    def go_on(self):
        thread = self._thread()
        if thread is None:
            return self.wait()
        self.stopped.pop(thread)
        self.client.request("continue", {"threadId": thread, "singleThread": True})

    def step(self):
        thread = self._thread()
        if thread is None:
            return self.wait()
        self.stopped.pop(thread)
        arguments = {"threadId": thread, "singleThread": True}
        if self.terrain.is_native and self.chance.random() < 0.2:
            arguments["granularity"] = "instruction"
        self.client.request(self.chance.choice(["next", "next", "stepIn", "stepOut"]), arguments)
        self.look(0.05)

    def pause(self):
        threads = self.client.request("threads")["threads"]
        if threads:
            self.client.request("pause", {"threadId": self.chance.choice(threads)["id"]})

    def _frames(self):
        thread = self._thread()
        if thread is None:
            return []
        frames = self.client.request("stackTrace", {"threadId": thread, "startFrame": 0, "levels": 20})[
            "stackFrames"
        ]
        for frame in frames:
            address = frame.get("instructionPointerReference")
            if address and len(self.addresses) < 200:
                self.addresses.append(address)
        return frames

    def _locals(self):
        frames = self._frames()
        if not frames:
            return None, []
        # The innermost ones most of the time.
        frame = frames[min(int(self.chance.expovariate(0.7)), len(frames) - 1)]
        scopes = self.client.request("scopes", {"frameId": frame["id"]})["scopes"]
        if not scopes:
            return None, []
        reference = self.chance.choice(scopes)["variablesReference"]
        return reference, self.client.request("variables", {"variablesReference": reference})["variables"]

    def open(self):
        _, variables = self._locals()
        for _ in range(self.chance.randint(0, 3)):
            below = [variable for variable in variables if variable["variablesReference"]]
            if not below:
                return
            reference = self.chance.choice(below)["variablesReference"]
            page = {"variablesReference": reference}
            if self.chance.random() < 0.3:
                page |= {"start": self.chance.randint(0, 5), "count": self.chance.randint(0, 5)}
            variables = self.client.request("variables", page)["variables"]

    def evaluate(self):
        frames = self._frames()
        expression = self.chance.choice(self.terrain.expressions)
        context = self.chance.choice(["watch", "hover", "repl"])
        arguments = {"expression": expression, "context": context}
        if frames:
            arguments["frameId"] = self.chance.choice(frames)["id"]
        self.client.request("evaluate", arguments)

    def set_to_itself(self):
        """Sets a number to the value that it has, which changes nothing."""
        reference, variables = self._locals()
        numbers = [variable for variable in variables if NUMBER.fullmatch(variable["value"])]
        if not numbers or self.terrain.in_cluster:
            return
        chosen = self.chance.choice(numbers)
        self.client.request(
            "setVariable",
            {"variablesReference": reference, "name": chosen["name"], "value": chosen["value"]},
        )

    def watch(self):
        if not self.terrain.is_native or self.chance.random() < 0.3:
            self.watched = []
        else:
            reference, variables = self._locals()
            if not variables:
                return
            name = self.chance.choice(variables)["name"]
            answer = self.client.request(
                "dataBreakpointInfo", {"variablesReference": reference, "name": name}
            )
            if answer.get("dataId") is None:
                if not answer.get("description"):
                    raise Wrong(f"no reason why {name} cannot be watched: {answer}")
                return
            access = self.chance.choice(["write", "readWrite"])
            self.watched = [*self.watched[-3:], {"dataId": answer["dataId"], "accessType": access}]
        if self.terrain.is_native:
            self.client.request("setDataBreakpoints", {"breakpoints": self.watched})

    def read_memory(self):
        for address in self.chance.sample(self.addresses, min(len(self.addresses), 2)):
            self.client.request("readMemory", {"memoryReference": address, "count": 16})
            self.client.request(
                "disassemble",
                {"memoryReference": address, "instructionOffset": -3, "instructionCount": 8},
            )

    def nonsense(self):
        """What a client with a mistake asks for is refused, and nothing else."""
        command, arguments = self.chance.choice(
            [
                ("stackTrace", {"threadId": 99999}),
                ("variables", {"variablesReference": 2**31 - 1}),
                ("scopes", {"frameId": -4}),
                ("continue", {"threadId": 0}),
                ("evaluate", {"expression": "((((", "frameId": 12345}),
                ("setVariable", {"variablesReference": 1, "name": "no such", "value": "]["}),
                ("stackTrace", {}),
                ("fly", {"to": "the moon"}),
            ]
        )
        self.client.request(command, arguments)

    def clear(self):
        """Takes everything out."""
        source = {"path": str(self.terrain.source), "name": self.terrain.source.name}
        requests = [
            ("setBreakpoints", {"source": source, "breakpoints": []}),
            ("setFunctionBreakpoints", {"breakpoints": []}),
            ("setExceptionBreakpoints", {"filters": []}),
        ]
        if self.terrain.is_native:
            requests.append(("setDataBreakpoints", {"breakpoints": []}))
            if not self.terrain.in_cluster:
                requests.append(("setInstructionBreakpoints", {"breakpoints": []}))
        for command, arguments in requests:
            try:
                self.client.request(command, arguments)
            except Refused as refusal:
                raise Wrong(f"{command} cannot be cleared: {refusal}") from refusal
