"""The one exception that means "your input": the command line prints it as one line and exits with code 2."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from the user. The message names the file or argument, what was expected, what came, and what to do."""
