"""The two noising paths x_t = a(t) x_0 + s(t) eps, and what a network's output means on them.

flow:  a = 1 - t,          s = t,             output eps - x_0
x0:    a = 1 - t,          s = t,             output x_0
v:     a = cos(pi t / 2),  s = sin(pi t / 2), output a eps - s x_0
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Prediction = Literal["flow", "v", "x0"]
PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


def path_coefficients(prediction: str, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """(a, s) of x_t = a x0 + s eps at noise level t in [0, 1] on the path of a network with this prediction."""
    t = torch.as_tensor(t)
    if prediction == "v":
        return torch.cos(t * (math.pi / 2)), torch.sin(t * (math.pi / 2))
    return 1 - t, t


def clean_part(prediction: str, output: Tensor, x: Tensor, t: Tensor | float) -> Tensor:
    """x0 that a network's `output` means for its input x at level t, which broadcasts against x."""
    a, s = path_coefficients(prediction, t)
    match prediction:
        case "flow":
            return x - s * output
        case "v":
            return a * x - s * output
        case _:
            return output


def split(prediction: str, output: Tensor, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """(x0, eps) that a network's `output` means for its input x at level t; x0 predictions need t > 0."""
    a, s = path_coefficients(prediction, t)
    clean = clean_part(prediction, output, x, t)
    match prediction:
        case "flow":
            return clean, x + a * output
        case "v":
            return clean, s * x + a * output
        case _:
            return clean, (x - a * output) / s
