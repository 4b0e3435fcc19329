"""Watch: how far the steps of a sweep got, read from their records and logs alone."""

import re
import shutil
import threading
import time

from rin import records, steps

LOG = "log.txt"
TAIL_BYTES = 8192
REASON_LINES = 4
TERMINAL_S, FILE_S = 2.0, 30.0
ERROR = re.compile(r"^(error: |[\w.]*(Error|Exception|Interrupt)\b)")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
DONE, FAILED, RUNNING, WAITING = "done", "failed", "running", "waiting"


def last_line(log):
    """The last line of a log, or the last state of a progress bar in it; "" without one."""
    lines = _tail(log)
    return lines[-1] if lines else ""


def reason(log):
    """Why a step failed: its last error's lines, as one."""
    lines = _tail(log)
    marks = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    marks = marks or [i for i, line in enumerate(lines) if ERROR.match(line)]
    if not marks:
        said = f"; its log ends with: {lines[-1]}" if lines else ""
        return f"it ended without an error, killed perhaps{said}"
    return " | ".join(lines[marks[-1] :][:REASON_LINES])


class State:
    """Where the steps of a sweep stand.

    Args:
        root: the project.
        steps: dicts with `name`, `out` and `after`; none stands before one it waits for.
        since: when the sweep began, in seconds: older logs are not its own.
        engine: Snakemake's log, for what no step's own log says.
        homes: folders of all training runs.
    """

    def __init__(self, root, steps, since, engine, homes=()):
        self.root, self.steps, self.since = root, steps, since
        self.engine, self.homes = engine, homes

    def now(self):
        """Dict from a step's run folder to "done", "failed", "running" or "waiting"."""
        found = {}
        for step in self.steps:
            found[step["out"]] = self._one(step, found)
        return found

    def log(self, step):
        """A step's log."""
        return self.root / step["out"] / LOG

    def why(self, step):
        """Why a step is not done though it ended."""
        differing = steps.differences(self.root / step["out"])
        if differing:
            return f"{', '.join(differing)} changed while it ran: start the sweep again"
        return reason(self.log(step))

    def all_done(self):
        """Whether nothing is left."""
        return set(self.now().values()) <= {DONE}

    def any_begun(self):
        """Whether any step of this sweep has written a log."""
        return any(self._begun(step) for step in self.steps)

    def n_trained(self):
        """How many training runs have a record."""
        return sum((home / records.RECORD).is_file() for home in self.homes)

    def _one(self, step, found):
        if any(found.get(out, DONE) != DONE for out in step["after"]):
            return WAITING
        folder = self.root / step["out"]
        differing = steps.differences(folder)
        if differing == []:
            return DONE
        if not self._begun(step):
            return WAITING
        ended = differing and (folder / records.RECORD).stat().st_mtime >= self.since
        failed = any(ERROR.match(line) for line in _tail(self.log(step))[-REASON_LINES:])
        return FAILED if failed or ended else RUNNING

    def _begun(self, step):
        log = self.log(step)
        found = log.stat() if log.is_file() else None  # Snakemake makes it, the job fills it
        return found is not None and found.st_size > 0 and found.st_mtime >= self.since


class Progress:
    """A line for each running step and one for all, while the block runs.

    On a terminal the lines are rewritten in place; elsewhere they are printed when they changed.

    Args:
        state: a `State`.
        stream: where lines go.
    """

    def __init__(self, state, stream):
        self.state, self.stream = state, stream
        self.in_place = stream.isatty()
        self._stop, self._shown = threading.Event(), []
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._started = time.monotonic()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def lines(self):
        """What there is to say now."""
        now = self.state.now()
        running = [step for step in self.state.steps if now[step["out"]] == RUNNING]
        lines = [f"  {step['name']}: {last_line(self.state.log(step))}" for step in running]
        states = list(now.values())
        total = f"{states.count(DONE)} of {len(states)} steps done, {len(running)} running"
        total += f", {states.count(FAILED)} failed" if FAILED in states else ""
        if self.state.homes:
            total += f"; {self.state.n_trained()} of {len(self.state.homes)} training runs"
        return [*lines, total]

    def _loop(self):
        while not self._stop.wait(TERMINAL_S if self.in_place else FILE_S):
            self._show(self.lines())

    def _show(self, lines):
        if lines == self._shown:
            return
        clock = f"[{time.monotonic() - self._started:5.0f} s] "
        shown = [*lines[:-1], clock + lines[-1]]
        if self.in_place:
            width = shutil.get_terminal_size().columns - 1
            back = f"\x1b[{len(self._shown)}A\x1b[J" if self._shown else ""
            self.stream.write(back + "".join(f"{line[:width]}\n" for line in shown))
        else:
            self.stream.write("".join(f"{line}\n" for line in shown))
        self.stream.flush()
        self._shown = lines


def report(state):
    """What is done, what failed and why, what was not begun because of what: lines of text."""
    now = state.now()
    names = {step["out"]: step["name"] for step in state.steps}
    lines = [f"done: {list(now.values()).count(DONE)} of {len(now)} steps"]
    for step in state.steps:
        if now[step["out"]] in (FAILED, RUNNING):  # nothing runs any more: it was killed
            log = state.log(step)
            lines.append(
                f"failed: {step['name']}: {state.why(step)} ({log.relative_to(state.root)})"
            )
    for step in state.steps:
        if now[step["out"]] == WAITING:
            first = [names[out] for out in step["after"] if now.get(out, DONE) != DONE]
            why = f"because of {', '.join(first)}" if first else f"see {state.engine}"
            lines.append(f"not begun: {step['name']}: {why}")
    return lines


def _tail(log):
    """The last lines of a log without those that a progress bar overwrote."""
    if not log.is_file():
        return []
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return [line for line in (ANSI.sub("", line).strip() for line in lines) if line]
