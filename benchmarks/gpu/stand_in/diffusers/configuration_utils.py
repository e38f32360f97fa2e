"""`config` holds what a model was made with."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


class ConfigMixin:
    @property
    def config(self) -> dict[str, Any]:
        return self.__dict__["_config"]


def register_to_config(init: Callable[..., None]) -> Callable[..., None]:
    """Keeps the arguments, defaults included, before the model is made of them."""

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(init).bind(self, *args, **kwargs)
        bound.apply_defaults()
        self.__dict__["_config"] = dict(list(bound.arguments.items())[1:])
        init(self, *args, **kwargs)

    return wrapped
