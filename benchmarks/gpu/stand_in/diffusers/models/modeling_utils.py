"""A model is a module; loading and saving is the script's own."""

from __future__ import annotations

from torch import nn


class ModelMixin(nn.Module):
    pass
