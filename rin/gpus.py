"""Devices: give a local job accelerators of its own, until its process ends.

    python -m rin.gpus N MODULE ARGUMENTS …

claims N devices and then runs `python -m MODULE ARGUMENTS …` in this very process. A claim is a
locked file for each device, so it ends with the process, however that ends. Nothing is touched
unless the sweep says how many devices it shares out (`RIN_GPUS`), nor inside a Slurm job, which has
devices of its own. N = 0 hides all devices: a page that only draws would take a device's memory.
"""

import contextlib
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import filelock

SHARED, VISIBLE, SLURM = "RIN_GPUS", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"
NO_DEVICE = "-1"
PAUSE_S = 1.0


def devices():
    """Indices of this machine's accelerators as texts; those `CUDA_VISIBLE_DEVICES` leaves."""
    if VISIBLE in os.environ:
        names = [name.strip() for name in os.environ[VISIBLE].split(",")]
        return [name for name in names if name and name != NO_DEVICE]
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return found.stdout.split()


def claim(n, folder=None, timeout=None, log=print):
    """Wait until `n` devices are free, and hold them as long as the locks are.

    Args:
        n: how many.
        folder: where the lock files lie; default one a user and machine.
        timeout: seconds to wait; None waits for ever.
        log: called with a line when there is something to wait for.

    Returns:
        (names, locks): texts, and the held `filelock.FileLock`s.

    Raises:
        ValueError: there are fewer devices than that.
        TimeoutError: they did not become free in time.
    """
    known = devices()
    if n > len(known):
        raise ValueError(f"`n` should be at most {len(known)}, the devices here. Received: n={n}")
    folder = Path(folder or Path(tempfile.gettempdir()) / f"rin-gpus-{os.getuid()}")
    folder.mkdir(parents=True, exist_ok=True)
    started, said = time.monotonic(), False
    while True:
        held = _free(known, n, folder)
        if len(held) == n:
            return list(held), list(held.values())
        for lock in held.values():  # all or none: two jobs could each hold half
            lock.release()
        if timeout is not None and time.monotonic() - started >= timeout:
            raise TimeoutError(f"{n} of {len(known)} devices did not become free in {timeout} s")
        if not said:
            log(f"waiting for {n} of {len(known)} devices")
            said = True
        time.sleep(PAUSE_S)


def assign(n):
    """Claim `n` devices for this process and its children, where devices are shared out.

    Returns:
        The held locks; keep them.
    """
    if SLURM in os.environ or not int(os.environ.get(SHARED, "0")):
        return []
    names, locks = claim(n) if n else ([NO_DEVICE], [])
    os.environ[VISIBLE] = ",".join(names)
    if n:
        print(f"device {', '.join(names)} is this job's", flush=True)
    return locks


def main(arguments=None):
    """Claim, then become the module that is named."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) < 2 or not given[0].isdecimal():
        print("usage: python -m rin.gpus N MODULE ARGUMENTS …", file=sys.stderr)
        return 2
    n, module, *rest = given
    try:
        locks = assign(int(n))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sys.argv = [module, *rest]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        for lock in locks:
            lock.release()
    return 0


def _free(known, n, folder):
    """Devices that could be locked at once, at most `n`: dict from name to lock."""
    held = {}
    for name in known:
        if len(held) == n:
            break
        lock = filelock.FileLock(folder / f"{name}.lock")
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=0)
            held[name] = lock
    return held


if __name__ == "__main__":
    sys.exit(main())
