"""Kinds of arguments that several verbs take, with the word that help shows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

Folder = Annotated[Path, arg(metavar="DIR")]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE")]
OptionalText = Annotated[str | None, arg(metavar="TEXT")]
OptionalCount = Annotated[int | None, arg(metavar="N")]
OptionalNumber = Annotated[float | None, arg(metavar="NUMBER")]
Names = Annotated[tuple[str, ...], arg(metavar="NAME ...", help_behavior_hint="(none)")]
