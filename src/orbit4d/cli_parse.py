"""From arguments to a call: tyro parses, and whatever is wrong with the arguments is one line."""

from __future__ import annotations

import difflib
import functools
import io
import re
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

from .errors import InputError

Verbs = dict[str, Callable[..., None]]
_ADVICE = ("For full helptext", "Argument helptext", "Got errors")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_HELP_INDENT = 8
"""In tyro's boxes, what stands further right explains an argument."""


def parse(verbs: Verbs, arguments: list[str], *, prog: str, description: str) -> Callable[[], None]:
    """The call that `arguments` ask for, not yet made. Raises InputError for bad usage and SystemExit(0) after --help."""
    import tyro

    if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs:
        close = difflib.get_close_matches(arguments[0], verbs, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(verbs)}."
        raise InputError(f"{prog}: no command is called {arguments[0]!r}; {hint} See {prog} --help")
    boxes = io.StringIO()
    try:
        with redirect_stderr(boxes):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _deferred(verb) for name, verb in verbs.items()},
                prog=prog,
                description=description,
                args=arguments,
            )
    except SystemExit as error:
        if error.code in (0, None):
            raise
        asked = f"{prog} {arguments[0]}" if arguments and arguments[0] in verbs else prog
        raise InputError(f"{one_line(boxes.getvalue())}; see {asked} --help") from error


def _deferred(verb: Callable[..., None]) -> Callable[..., Any]:
    """A verb that, called, returns its call: parsing must be over before the work writes to stderr."""

    @functools.wraps(verb)
    def call(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(verb, *args, **kwargs)

    return call


def one_line(box: str) -> str:
    """What a box of tyro's says, without its title, border (only where stdout is UTF-8), colours, explanations and advice."""
    sections: list[list[str]] = [[]]
    for raw in _COLOURS.sub("", box).splitlines()[1:]:  # the first is the title
        inner = raw.strip("│╭╮╰╯")
        line, indent = inner.strip(), len(inner) - len(inner.lstrip())
        if line and not set(line) <= {"─", "-"}:
            if indent < _HELP_INDENT:
                sections[-1].append(line)
        elif sections[-1]:
            sections.append([])
    kept = []
    for section in sections:
        listing = bool(section) and section[0].startswith(("Missing from", "Unrecognized"))
        text = f"{section[0]} {', '.join(section[1:])}".rstrip() if listing else " ".join(section)
        if text and not text.startswith(_ADVICE) and "--help" not in text:
            kept.append(_plain(text.rstrip(".")))
    return "; ".join(kept) or "bad usage"


def _plain(text: str) -> str:
    """A message of the parser in words about arguments instead of types."""
    text = re.sub(
        r"Error parsing (\S+): no type matching (?:\{None\}\|)?(.*) could be instantiated from \['?(.*?)'?\]",
        r"\1: expected \2, got '\3'",
        text,
    )
    text = re.sub(
        r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1: expected INT, got \2", text
    )
    text = re.sub(r"Error parsing (\S+): could not convert string to float: (.*)", r"\1: expected FLOAT, got \2", text)
    return re.sub(
        r"invalid choice (.*) for argument '(.*)'\. Expected one of \((.*?),?\)", r"\2: expected \3, got \1", text
    )
