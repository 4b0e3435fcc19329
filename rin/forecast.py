"""Forecast: what a sweep would run, and the time and disk it is estimated to take."""

from pathlib import Path

from rin import estimate, paths, records, steps

NEEDED = {"task", "backbones", "inits", "learning_rates", "trainables", "out_dir"}


def lines(root, sweep, n_gpus=0):
    """The dry run's text: list of lines.

    Args:
        root: the project.
        sweep: a `rin.steps.Sweep`.
        n_gpus: devices that jobs are shared out over; 0 for the CPU.
    """
    accelerators = records.environment()["hardware"]["accelerators"] if n_gpus else []
    rates = estimate.rates(accelerators or ["any"] * n_gpus)
    found = [_Job(step.name, steps.params(root, step.page), rates) for step in sweep.jobs]
    rows = [[str(number), *job.cells()] for number, job in enumerate(found)]
    known = [job for job in found if job.cost]
    seconds = sum(job.cost.seconds for job in known) / max(1, n_gpus)
    kept = sum(job.cost.kept_bytes for job in known)
    stored = sum({job.store: job.store_bytes for job in known}.values())
    side = f"{n_gpus} devices side by side" if n_gpus > 1 else "one job after another"
    unknown = len(found) - len(known)
    return [
        *_table(["", "job", "runs", "finished", "time", "disk"], rows),
        f"{len(found)} jobs, {sum(len(job.homes) for job in found)} runs, "
        f"{sum(job.n_done for job in found)} of them finished; then {len(sweep.pages)} pages and "
        "the book",
        f"time: {_time(seconds)} at the rates of {rates.hardware}, {side}"
        + (f"; {unknown} jobs not counted" if unknown else ""),
        f"disk: {_size(kept)} of results, {_size(stored)} of stored images; a job's disk has its "
        "view bank in it, which goes when the job ends",
        "finished: by their records; whether data and code are still the same is seen when a job "
        "begins",
        *(f"skipped: {task} ({why})" for task, why in sweep.skipped.items()),
    ]


def homes(params):
    """Folders of the training runs of a page: list of paths; none if it trains otherwise."""
    if not set(params) >= NEEDED:
        return []
    folder = paths.resolve(params["out_dir"])
    return [folder / one.task / one.name for one in estimate.runs(params)]


class _Job:
    """One row of the table."""

    def __init__(self, name, params, rates):
        self.name, self.homes = name, homes(params)
        done = [_is_finished(home, params) for home in self.homes]
        self.n_done, self.cost = sum(done), None
        n = estimate.n_images(params) if self.homes else None
        if n is None:
            return
        pending = [one for one, is_in in zip(estimate.runs(params), done, strict=True) if not is_in]
        self.cost = estimate.cost(params, pending, n, rates)
        self.store = tuple(
            str(params[key]) for key in ("task", "data_dir", "image_size", "interpolation")
        )
        self.store_bytes = estimate.store_bytes(params, n)

    def cells(self):
        counts = [self.name, str(len(self.homes)), str(self.n_done)]
        if self.cost is None:  # the registry has no number of images
            return [*counts, "unknown", "unknown"]
        disk = self.cost.kept_bytes + self.cost.bank_bytes
        return [*counts, _time(self.cost.seconds), _size(disk)]


def _is_finished(home, params):
    """Whether a run has a record with these settings."""
    record = records.read(Path(home)) or {}
    said = {k: v for k, v in record.get("settings", {}).items() if k != "augmentation"}
    named = "objective" in said  # others are of before it was, and are trained again
    return named and all(params.get(key, value) == value for key, value in said.items())


def _table(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return ["  ".join(_cells(row, widths)) for row in [head, *rows]]


def _cells(row, widths):
    """Numbers to the right, the name to the left."""
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if i == 1 else cell.rjust(width)


def _time(seconds):
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(n_bytes):
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
