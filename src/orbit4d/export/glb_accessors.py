"""Numbers in a binary glTF: appending vertex attributes and samples. `imports.glb_accessors` reads them back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..assets.glb_writer import pack_glb
from ..imports.glb_accessors import COMPONENTS, WIDTHS

_CODES = {np.dtype(name).name: code for code, name in COMPONENTS.items()}


@dataclass
class Buffer:
    """Accessors and the bytes behind them, in the order of adding."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict] = field(default_factory=list)
    accessors: list[dict] = field(default_factory=list)

    def attribute(self, values: np.ndarray, *, normalized: bool = False, bounds: bool = False) -> int:
        """The accessor of per-vertex `values` (n, c), each element padded to four bytes as glTF asks."""
        n, width = values.shape
        stride = -(-width * values.itemsize // 4) * 4
        padded = np.zeros((n, stride // values.itemsize), dtype=values.dtype)
        padded[:, :width] = values
        accessor = self._accessor(values, padded.tobytes(), {"byteStride": stride, "target": 34962})
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def samples(self, values: np.ndarray) -> int:
        """The accessor of an animation's `values` (m, 1), tightly packed."""
        accessor = self._accessor(values, values.tobytes(), {})
        self.accessors.append(accessor | {"min": values.min(0).tolist(), "max": values.max(0).tolist()})
        return len(self.accessors) - 1

    def zeros(self, count: int, width: int, dtype: type, *, bounds: bool = False) -> int:
        """An accessor of zeros, which takes no bytes."""
        kind = next(name for name, w in WIDTHS.items() if w == width)
        accessor = {"componentType": _CODES[np.dtype(dtype).name], "count": count, "type": kind}
        self.accessors.append(accessor | ({"min": [0] * width, "max": [0] * width} if bounds else {}))
        return len(self.accessors) - 1

    def _accessor(self, values: np.ndarray, data: bytes, layout: dict) -> dict:
        self.data += b"\0" * (-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)} | layout)
        self.data += data
        kind = next(name for name, width in WIDTHS.items() if width == values.shape[1])
        code = _CODES[values.dtype.name]
        return {"bufferView": len(self.views) - 1, "componentType": code, "count": len(values), "type": kind}


def write_glb(document: dict, buffer: Buffer) -> bytes:
    """The bytes of a .glb: `document` with the buffer's views and accessors, and the buffer itself."""
    whole = document | {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    return pack_glb(whole, bytes(buffer.data))
