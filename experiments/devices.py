"""Commands as processes of their own, one at a time a device."""

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
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (named.split(",") if named else [str(number) for number in range(count)])[:count] or [""]


class CommandFailed(RuntimeError):
    """A command ended with another code than 0; the message has its last line."""


class Commands:
    """Runs ``atv`` commands; ``stop`` ends those under way and lets no other begin."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def run(self, arguments: Sequence[str], device: Device, log: Path) -> None:
        """One command on one device, everything that it prints added to ``log``.

        Raises:
            CommandFailed: when it fails.
        """
        with open(log, "ab") as stream:
            process = self._start(arguments, device, stream)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        if code:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise CommandFailed(f"atv {arguments[0]} ended with {code}: {lines[-1] if lines else ''} ({log})")

    def _start(self, arguments: Sequence[str], device: Device, stream: IO[bytes]) -> subprocess.Popen[bytes]:
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": device} if device else {})
        with self._lock:
            if self._stopped:
                raise CommandFailed(f"atv {arguments[0]}: stopped before it began")
            command = [sys.executable, "-m", "atv.cli", *arguments]
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            self._running.add(process)
            return process

    def stop(self) -> None:
        """SIGTERM to all: pruning ends after the block in hand, evaluation after the questions that are on disk."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def on_devices(jobs: Sequence[Job], devices: Sequence[Device], run: Run[Job], commands: Commands) -> dict[int, str]:
    """Runs each job on the next free device; index of a job that failed -> why. The others go on.

    ``commands`` are stopped when this is left early, as by Ctrl-C.
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
            # An error that is not a command's own ends the wait.
            for future in as_completed(futures):
                if (error := future.exception()) is not None and not isinstance(error, CommandFailed):
                    raise error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            commands.stop()
            raise
    return {index: str(future.exception()) for index, future in enumerate(futures) if future.exception()}
