"""Finding and loading the C++ core (`liborbit4d_core`), a plain shared library behind a C ABI."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

ABI_VERSION = 8
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int


def _candidates() -> list[Path]:
    """Where the library may lie: beside this file (wheel), or in site-packages (editable install, sources elsewhere).

    The environment variable ORBIT4D_CORE names one file instead: another build, such as .ci/sanitize makes.
    """
    if asked := os.environ.get("ORBIT4D_CORE"):
        return [Path(asked)]
    name = {"darwin": "liborbit4d_core.dylib", "win32": "liborbit4d_core.dll"}.get(sys.platform, "liborbit4d_core.so")
    package = sys.modules[__name__.rpartition(".")[0]]
    folders = [Path(__file__).parent, *(Path(p) for p in getattr(package, "__path__", []))]
    folders += [Path(p) / "orbit4d" / "splat" for p in sys.path if p.endswith("site-packages")]
    return [folder / name for folder in dict.fromkeys(folders)]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The loaded core. Raises ImportError, saying how to build it, when it is missing or of another version."""
    found = next((c for c in _candidates() if c.is_file()), None)
    if found is None:
        if asked := os.environ.get("ORBIT4D_CORE"):
            raise ImportError(f"ORBIT4D_CORE={asked}: no such file; name a built liborbit4d_core or unset the variable")
        raise ImportError(
            "orbit4d's C++ core is not built; run `pip install .` in the source tree (needs a C++17 compiler)"
        )
    core = ctypes.CDLL(str(found))
    if core.o4d_abi_version() != ABI_VERSION:
        raise ImportError(
            f"{found}: built from other sources (ABI {core.o4d_abi_version()}, expected {ABI_VERSION}); run `pip install .` again"
        )
    core.o4d_finite.restype = ctypes.c_bool
    core.o4d_finite.argtypes = [ctypes.c_longlong, _POINTER]
    core.o4d_forward.restype = _POINTER
    core.o4d_forward.argtypes = [_INT] * 6 + [_POINTER] * 12
    core.o4d_backward.restype = ctypes.c_bool
    core.o4d_backward.argtypes = [_POINTER] * 10
    core.o4d_measure.restype = None
    core.o4d_measure.argtypes = [_POINTER, _INT, _POINTER, _POINTER]
    core.o4d_free.restype = None
    core.o4d_free.argtypes = [_POINTER]
    core.o4d_similarity.restype = None
    core.o4d_similarity.argtypes = [_INT] * 4 + [_POINTER] * 2 + [ctypes.c_float] + [_POINTER] * 2
    core.o4d_skin.restype = None
    core.o4d_skin.argtypes = [_INT] * 5 + [_POINTER] * 7
    core.o4d_skin_backward.restype = None
    core.o4d_skin_backward.argtypes = [_INT] * 5 + [_POINTER] * 10
    core.o4d_hexplane.restype = ctypes.c_bool
    core.o4d_hexplane.argtypes = [_INT] * 5 + [_POINTER] * 5
    core.o4d_hexplane_backward.restype = ctypes.c_bool
    core.o4d_hexplane_backward.argtypes = [_INT] * 5 + [_POINTER] * 7
    core.o4d_shade.restype = None
    core.o4d_shade.argtypes = [_INT] * 4 + [_POINTER] * 4
    core.o4d_shade_backward.restype = None
    core.o4d_shade_backward.argtypes = [_INT] * 4 + [_POINTER] * 5
    core.o4d_instruction_set.restype = ctypes.c_char_p
    return core


def pointers(tensors: Sequence[Tensor]) -> ctypes.Array:
    """Their data as a C array of pointers; the tensors must outlive its use."""
    return (_POINTER * len(tensors))(*[x.data_ptr() for x in tensors])


def takes(*tensors: Tensor) -> bool:
    """True where the core can read the tensors: float32 on the CPU. Else the PyTorch twin must do."""
    return all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors)


def instruction_set() -> str:
    """The kernels in use on this machine: "avx512", "avx2" or "base"; ORBIT4D_ISA asks for narrower ones."""
    return library().o4d_instruction_set().decode()
