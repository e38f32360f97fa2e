"""What the workers of the pool's tests do; apart from them, so that a worker need import nothing else."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from orbit4d.data.isolate import Emit
from orbit4d.errors import InputError


def start(common: str) -> Callable[[Any, Emit], None]:
    """A worker that does what its task says."""
    match common:
        case "refuse":
            raise InputError("nothing works here")
        case "die":
            os.abort()

    def handle(task: str, emit: Emit) -> None:
        emit({"doing": task, "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]})
        match task:
            case "hang":
                time.sleep(1000)
            case "hold":
                hold_the_lock()
            case "hog":
                hog()
            case "crash":
                print("last words\n", flush=True)
                os.abort()
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(7)
            case "bug":
                raise KeyError("a\nbug")
            case "linger":  # what it says last comes at once, its end does not
                threading.Thread(target=time.sleep, args=(1000,)).start()
                raise KeyError("lingers")
            case "memory":
                raise MemoryError
            case "slow":
                for _ in range(8):  # longer than the limit, but never silent for as long
                    time.sleep(0.2)
                    emit({"still": "there"})

    return handle


def hold_the_lock() -> None:
    """Native code that keeps Python's lock for ages."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def hog() -> None:
    held = []
    while True:
        held.append(b"x" * (32 * 2**20))
        time.sleep(0.01)
