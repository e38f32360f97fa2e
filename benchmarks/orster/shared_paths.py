"""What all benchmarks share lies one folder up."""

from __future__ import annotations

import sys
from pathlib import Path


def add_benchmarks() -> None:
    folder = str(Path(__file__).parents[1])
    if folder not in sys.path:
        sys.path.append(folder)
