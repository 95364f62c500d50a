"""Wall time of functions on the CPU, side by side. Arms take turns, so that a busy minute of the
machine falls on all of them, and each may live in a process of its own, so that none inherits the
allocator's settings or the spinning threads of another.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time


@dataclasses.dataclass
class Timing:
    """Seconds for one call: the median, the fastest, the 10th and the 90th percentile."""

    median: float
    fastest: float
    p10: float
    p90: float
    count: int  # how many times were taken

    @classmethod
    def of(cls, seconds):
        ordered = sorted(seconds)
        last = len(ordered) - 1
        return cls(
            statistics.median(ordered),
            ordered[0],
            ordered[round(0.1 * last)],
            ordered[round(0.9 * last)],
            len(ordered),
        )


def alternate(arms, seconds=2.0, warm_up=0.3, turn=0.05):
    """Time arms in turns; returns {name: Timing}.

    arms     {name: function of the seconds of a turn, which returns the seconds of its calls}:
             `in_turns` of a function, or the `turn` of an `ArmProcess`
    seconds  for each arm, after warm_up seconds that are not counted
    """
    for run in arms.values():
        run(warm_up)
    times = {name: [] for name in arms}
    stop = time.perf_counter() + seconds * len(arms)
    while time.perf_counter() < stop:
        for name, run in arms.items():
            times[name] += run(turn)
    return {name: Timing.of(taken) for name, taken in times.items()}


def in_turns(function, calls=1):
    """An arm that calls a function again and again. The first call of a turn is not counted: the
    caches are cold. `calls` are made between two looks at the clock.
    """

    def turn(seconds):
        function()
        times = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times.append((time.perf_counter() - start) / calls)
        return times

    return turn


class ArmProcess:
    """An arm in a process of its own, in a `with`. The process prints a line of JSON when it is
    ready, kept as `greeting`, and then runs `serve`.
    """

    def __init__(self, command, env):
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.greeting = self._read()

    def turn(self, seconds):
        print(seconds, file=self.process.stdin, flush=True)
        return self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise RuntimeError(f"[bench] expected an answer of {self.process.args}, got {code}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve(arm):
    """Take the seconds of a turn from each line of the input and print what the arm returns."""
    for line in sys.stdin:
        print(json.dumps(arm(float(line))), flush=True)


class Neighbours:
    """How many CPUs other processes kept busy inside a `with`: `busy`, or None if not known.

    own  numbers of processes that are not others, besides this one and its finished children
    """

    busy = None

    def __init__(self, own=()):
        self.own = tuple(own)

    def __enter__(self):
        self.start = self._look()
        return self

    def __exit__(self, *exc):
        stop = self._look()
        if self.start and stop:
            wall, work, own = (b - a for a, b in zip(self.start, stop, strict=True))
            self.busy = max(0.0, work - own) / wall

    def _look(self):
        """Seconds by the clock, of all CPUs' work, and of the work that is not others'."""
        try:
            with open("/proc/stat") as file:
                user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
            own = 0
            for process in self.own:
                with open(f"/proc/{process}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                own += int(fields[11]) + int(fields[12])  # user, system
        except (OSError, ValueError):
            return None
        tick = os.sysconf("SC_CLK_TCK")
        work = (user + nice + system + irq + softirq) / tick
        return time.perf_counter(), work, own / tick + sum(os.times()[:4])
