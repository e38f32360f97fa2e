"""Results of long benchmarks, one JSON line a finished case, so that an interrupted run is taken up where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbit4d.errors import InputError


class Rows:
    """Lines of `path`; `key` are the fields that tell one case from another."""

    def __init__(self, path: Path, *, key: tuple[str, ...]) -> None:
        self.path, self.key = path, key
        self._rows: dict[tuple, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.is_file() else ""
        # A killed run may leave half a line; it is cut off, or the next case would be appended to it.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
                self._rows[self._of(row)] = row
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}:{number}: not a row of this benchmark; move the file away") from error

    def __contains__(self, case: Mapping[str, Any]) -> bool:
        return self._of(case) in self._rows

    def __getitem__(self, case: Mapping[str, Any]) -> dict[str, Any]:
        return self._rows[self._of(case)]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one finished case, and print it."""
        line = json.dumps(row)
        with self.path.open("a") as file:
            file.write(line + "\n")
        self._rows[self._of(row)] = json.loads(line)
        print(line, flush=True)

    def all(self) -> list[dict[str, Any]]:
        return list(self._rows.values())

    def _of(self, row: Mapping[str, Any]) -> tuple:
        return tuple(json.dumps(row[name], sort_keys=True) for name in self.key)
