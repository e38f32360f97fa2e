"""What training runs on: processes and devices as accelerate sees them, number formats, compilers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError
from .training import Precision, Tracker

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_training(*, precision: Precision, tracker: Tracker, compile: bool) -> None:
    """Raises InputError when a package or a compiler is missing, or the device lacks the number format: said at once, not after
    the stages before."""
    if find_spec("accelerate") is None:
        raise InputError("training: the package accelerate is not installed; run `pip install 'orbit4d[train]'`")
    if tracker != "none" and find_spec(tracker) is None:
        hint = "orbit4d[train]" if tracker == "tensorboard" else tracker
        raise InputError(
            f"--log {tracker}: the package {tracker} is not installed; run `pip install '{hint}'` or leave --log out"
        )
    device = torch.device("cpu" if _on_cpu() else "cuda")
    chosen_dtype(precision, device)
    if not compile:
        return
    if device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl")):
        raise InputError("--compile: no C++ compiler found; install g++ or leave --compile out")
    if device.type == "cuda" and find_spec("triton") is None:
        raise InputError(
            "--compile: the package triton is not installed; run `pip install triton` or leave --compile out"
        )


def start_accelerator(tracker: Tracker, out: Path) -> Accelerator:
    """accelerate's view of the machine, with a tracker that writes to `out`."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    _start_processes()
    return Accelerator(
        cpu=_on_cpu(),
        mixed_precision="no",  # chosen per step, see `chosen_dtype`
        log_with=None if tracker == "none" else tracker,
        project_dir=str(out),
        # A part of a batch may hold static orbits only, which leave the temporal stream without gradients.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def first_process() -> bool:
    """True in the process that does what is done once; in a run without a launcher there is no other."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_everyone() -> None:
    """Returns when all processes of the launcher have come here."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _start_processes().wait_for_everyone()


@contextmanager
def first_does_it() -> Iterator[None]:
    """Around work that the processes of a launcher share: all leave together, and their connection is closed."""
    yield
    wait_for_everyone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _start_processes() -> PartialState:
    from accelerate import PartialState

    # The others wait while the first renders or encodes; a process that dies ends the run through the launcher.
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return PartialState(cpu=_on_cpu(), **({"timeout": timedelta(days=7)} if launched else {}))


def _on_cpu() -> bool:
    """Whether the CPU computes: by choice, or for lack of an Nvidia or AMD GPU. Apple's lack the double precision that camera
    poses are computed in."""
    chosen = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return chosen or not torch.cuda.is_available()


def chosen_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What a precision means on a device. Raises InputError for fp16 on a CPU."""
    if precision == "fp16" and device.type == "cpu":
        raise InputError("--precision fp16: needs a GPU; on a CPU choose bf16 or fp32")
    if precision == "auto":
        native = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else cpu_multiplies_bf16()
        return torch.bfloat16 if native else torch.float32
    return DTYPES[precision]


def cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bf16 products (AVX-512 BF16, AMX, or ARM's); without, bf16 is slower than fp32."""
    return bool(_cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def cpu_multiplies_tiles() -> bool:
    """Whether the CPU multiplies whole tiles of bf16 (AMX)."""
    return "amx_bf16" in _cpu_flags()


@lru_cache
def _cpu_flags() -> frozenset[str]:
    """As Linux names them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split())


def moved(batch: Any, device: torch.device) -> Any:
    """A dataclass of tensors, nested ones too, on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: moved(getattr(batch, f.name), device) for f in fields(batch)})
    return batch


def shared_values(values: dict[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """The mean over all processes, with one wait for the device: all of them decide alike."""
    stacked = torch.stack([value.detach().float() for value in values.values()])
    reduced: Any = accelerator.reduce(stacked, reduction="mean")
    return dict(zip(values, reduced.tolist(), strict=True))


def gathered_rng(accelerator: Accelerator) -> list[Tensor]:
    """The state of torch's own generator in every process; networks that draw random numbers need it."""
    state = torch.get_rng_state()
    if accelerator.num_processes == 1:
        return [state]
    gathered: Any = accelerator.gather(state.to(accelerator.device)[None])
    return [row.clone() for row in gathered.cpu()]


def restore_rng(states: list[Tensor], accelerator: Accelerator) -> None:
    if len(states) == accelerator.num_processes:
        # A copy: torch 2.13 crashes on a view that does not begin its storage, as a row that was saved with others is.
        torch.set_rng_state(states[accelerator.process_index].clone())
