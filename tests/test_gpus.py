"""Devices: claimed by one job at a time, given back when it ends, and left alone where asked."""

import os
import signal
import subprocess
import sys
import time

import filelock
import pytest

from rin import gpus


@pytest.fixture(autouse=True)
def two_devices(monkeypatch):
    """Two devices, which no test uses."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("RIN_GPUS", raising=False)
    monkeypatch.setattr(gpus, "PAUSE_S", 0.01)


def claim(n, folder, **options):
    return gpus.claim(n, folder, log=lambda line: None, **options)


def release(locks):
    for lock in locks:
        lock.release()


def test_two_jobs_get_two_devices_and_the_third_waits(tmp_path):
    (first, one), (second, two) = claim(1, tmp_path), claim(1, tmp_path)
    assert first == ["0"] and second == ["1"]
    said = []
    with pytest.raises(TimeoutError, match="1 of 2 devices did not become free"):
        gpus.claim(1, tmp_path, timeout=0.05, log=said.append)
    assert said == ["waiting for 1 of 2 devices"]  # once
    release(one)
    third, three = claim(1, tmp_path, timeout=5)
    assert third == ["0"]
    release(two + three)


def test_a_job_that_needs_two_holds_none_while_it_waits(tmp_path):
    _, one = claim(1, tmp_path)
    with pytest.raises(TimeoutError):
        claim(2, tmp_path, timeout=0.03)
    with filelock.FileLock(tmp_path / "1.lock", timeout=0):  # the free one was given back
        pass
    release(one)
    names, both = claim(2, tmp_path, timeout=5)
    assert names == ["0", "1"]
    release(both)


def test_more_devices_than_there_are_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 2, the devices here. Received: n=3"):
        claim(3, tmp_path)


@pytest.mark.parametrize("visible, known", [("", []), ("-1", []), ("3, 5", ["3", "5"])])
def test_devices_hidden_before_are_not_given_out(visible, known, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.devices() == known


def test_without_a_driver_tool_there_are_no_devices(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.devices() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\necho 2\n")
    tool.chmod(0o755)
    assert gpus.devices() == ["0", "1", "2"]


@pytest.mark.parametrize(
    "environment", [{}, {"RIN_GPUS": "0"}, {"RIN_GPUS": "2", "SLURM_JOB_ID": "7"}]
)
def test_nothing_is_touched_unless_asked_nor_inside_a_slurm_job(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for n in (0, 1):
        assert gpus.assign(n) == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


def job(n, code, folder):
    """A process that claims `n` devices as jobs do, then runs the module `work`."""
    (folder / "work.py").write_text(code)
    environment = os.environ | {"RIN_GPUS": "2", "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "rin.gpus", str(n), "work", "an argument"]
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command, env=environment | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )


SHOW = (
    "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], __name__, sys.argv[1]); sys.exit(3)"
)


def test_the_job_sees_its_device_its_arguments_and_its_exit_code_is_kept(tmp_path):
    process = job(1, SHOW, tmp_path)
    said, _ = process.communicate(timeout=60)
    assert said.splitlines() == ["device 0 is this job's", "0 __main__ an argument"]
    assert process.returncode == 3


def test_a_page_that_needs_no_device_sees_none(tmp_path):
    said, _ = job(0, SHOW, tmp_path).communicate(timeout=60)
    assert said.splitlines() == ["-1 __main__ an argument"]


def test_a_killed_job_gives_its_device_back(tmp_path):
    process = job(1, "import time; print('working', flush=True); time.sleep(60)", tmp_path)
    assert process.stdout.readline().startswith("device 0")
    folder = tmp_path / f"rin-gpus-{os.getuid()}"
    names, locks = claim(1, folder)
    assert names == ["1"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    started = time.monotonic()
    again, more = claim(1, folder, timeout=10)
    assert again == ["0"] and time.monotonic() - started < 10
    release(locks + more)
    process.stdout.close()


def test_a_call_without_a_module_says_how(capsys):
    assert gpus.main(["one"]) == 2
    assert "python -m rin.gpus N MODULE" in capsys.readouterr().err
