"""Runs ``atv`` commands in separate processes, one at a time per device."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TypeVar

import torch

Job = TypeVar("Job")
# A GPU as CUDA_VISIBLE_DEVICES names it; empty for the CPU.
Device = str
Run = Callable[[Job, Device], None]


def devices() -> list[Device]:
    """The GPUs that this process may use, or the CPU."""
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(index) for index in range(count)])[:count] or [""]


class CommandFailed(RuntimeError):
    """A command failed or was stopped; the message has its exit code and last line of output, if there are any."""


class Commands:
    """Runs ``atv`` commands; ``stop`` ends those in progress and prevents new ones from starting."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def run(self, arguments: Sequence[str], device: Device, log: Path) -> None:
        """Runs one command on one device and appends everything that it prints to ``log``.

        Raises:
            CommandFailed: if it exits with a code other than 0, or ``stop`` was called before it started.
        """
        with open(log, "ab") as stream:
            process = self._start(arguments, device, stream)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        if code:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise CommandFailed(f"atv {arguments[0]} exited with code {code}: {lines[-1] if lines else ''} ({log})")

    def _start(self, arguments: Sequence[str], device: Device, stream: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": device} if device else {})
        with self._lock:
            if self._stopped:
                raise CommandFailed(f"atv {arguments[0]}: stopped before it started")
            command = [sys.executable, "-m", "atv.cli", *arguments]
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            self._running.add(process)
            return process

    def stop(self) -> None:
        """Sends SIGTERM to all commands: pruning ends after its current block, evaluation keeps the answers on disk."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def on_devices(jobs: Sequence[Job], devices: Sequence[Device], run: Run[Job], commands: Commands) -> dict[int, str]:
    """Runs each job on the next free device, and returns index -> reason for the jobs that failed.

    If a job fails, the others continue. If the call is interrupted, as by Ctrl-C, ``commands`` are stopped.
    """
    free: SimpleQueue[Device] = SimpleQueue()
    for device in devices:
        free.put(device)

    def work(job: Job) -> None:
        device = free.get()
        try:
            run(job, device)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            # Any error other than a failed command ends the wait.
            for future in as_completed(futures):
                if (error := future.exception()) is not None and not isinstance(error, CommandFailed):
                    raise error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            commands.stop()
            raise
    return {index: str(future.exception()) for index, future in enumerate(futures) if future.exception()}
