"""Motion as a low-rank basis: every track is its first moment plus a weighted sum of a few shared deltas.

For Gaussian i, attribute a and knot k

    x_ia(t_k) = x_ia(0) + sum_r  w_r(t_k) * unit_a * q_ria,         q whole numbers, w shared by all Gaussians and attributes

The w_r come from an eigendecomposition of all tracks together, each divided by the error that it may have; the q are the
rounded coefficients. Rank and steps are chosen on the decoded result: it is measured, and refined until the bound holds. Where
16 bits are too few for a motion as large as that beside its bound, two targets share one course: one coarse, one fine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..imports.compact import ATTRIBUTES, MAX_RANK
from ..splat.gaussians import SH_C0, Gaussians, Gaussians4D
from ..splat.hexplane import quaternion_multiply

LEAVE = 0.7
"""Share of a bound that a smaller rank may take; rounding takes the rest."""
FIRST_SHARE = 3.0
LARGEST = 32767
"""Coefficients are 16 bit."""


@dataclass(kw_only=True)
class Tracks:
    """The visible Gaussians at k knots: `first` at time 0, and what each attribute adds to it, (k, n, c) a name."""

    first: Gaussians
    opacity: Tensor
    changes: dict[str, Tensor]
    times: Tensor


@dataclass(kw_only=True)
class Basis:
    """weights (k, r); coefficients (r, n, c) int16 and a unit for each attribute; largest error of each, in its own unit."""

    weights: Tensor
    coefficients: dict[str, Tensor]
    units: dict[str, float]
    errors: dict[str, float]


@torch.no_grad()
def sample_tracks(scene: Gaussians4D, *, knots: int) -> Tracks:
    """Sample at `knots` equal times. Gaussians whose opacity never exceeds 1/255 are left out.

    Raises InputError for values that are not finite and for scenes without a visible Gaussian.
    """
    times = torch.linspace(0, 1, knots)
    sets = [_on_cpu(g) for g in scene.sampled(times)]
    for i, g in enumerate(sets):
        if not all(torch.isfinite(v).all() for v in vars(g).values()):
            raise InputError(f"scene: has values that are not finite at keyframe {i} of {knots}; fit it again")
    opacities = torch.stack([g.logit_opacities.sigmoid() for g in sets])
    keep = opacities.amax(dim=0) > 1 / 255
    if not keep.any():
        raise InputError("scene: has no visible Gaussians; nothing to show")
    order = _along_a_curve(sets[0].means[keep])
    keep = keep.nonzero()[:, 0][order]
    sets, opacities = [g[keep] for g in sets], opacities[:, keep]
    quats = functional.normalize(torch.stack([g.quats for g in sets]), dim=-1)
    back = quats[:1] * torch.tensor([1.0, -1.0, -1.0, -1.0])
    turns = _continuous(quaternion_multiply(quats, back.expand_as(quats)))
    # Where a degree 1 adds to it, a base colour below 0 means something.
    flat = sets[0].sh.shape[1] == 1
    colors = torch.stack([g.base_colors if flat else 0.5 + SH_C0 * g.sh[:, 0] for g in sets])
    changes = {
        "position": torch.stack([g.means for g in sets]) - sets[0].means,
        "turn": turns - torch.tensor([1.0, 0.0, 0.0, 0.0]),
        "log_scale": torch.stack([g.log_scales for g in sets]) - sets[0].log_scales,
        "color": colors - colors[0],
        "opacity": (opacities - opacities[0])[..., None],
    }
    return Tracks(first=sets[0], opacity=opacities[0], changes=changes, times=times)


def fit_basis(changes: dict[str, Tensor], bounds: dict[str, float]) -> Basis:
    """The smallest basis whose decoded tracks are nowhere further than `bounds` (Euclidean, by attribute) from `changes`.

    Attributes that change by less than a quarter of their bound are left out. Where `MAX_RANK` does not suffice, the basis of
    that rank comes back: its `errors` say by how much.
    """
    moving = {name: x for name, x in changes.items() if float(_length(x).max()) > bounds[name] / 4}
    errors = {name: float(_length(x).max()) for name, x in changes.items()}
    knots = next(iter(changes.values())).shape[0]
    if not moving:
        return Basis(weights=torch.zeros(knots, 0), coefficients={}, units={}, errors=errors)
    scaled = {name: (x / bounds[name]).flatten(1).double() for name, x in moving.items()}
    # All is 0 at the first knot: so it stays in every vector, however small its eigenvalue beside the largest.
    gram = torch.stack([x[1:] @ x[1:].T for x in scaled.values()]).sum(0)
    values, vectors = torch.linalg.eigh(gram)
    vectors = functional.pad(vectors.flip(1)[:, values.flip(0) > 1e-15 * values.max()][:, :MAX_RANK], (0, 0, 1, 0))
    projected = {name: x.T @ vectors for name, x in scaled.items()}
    rank = _enough(scaled, projected, vectors)
    vectors, projected = vectors[:, :rank], {name: x[:, :rank] for name, x in projected.items()}
    share = FIRST_SHARE
    while True:
        weights, coefficients = _rounded(vectors, projected, share=share)
        worst = {n: _worst(c, moving[n], weights, bounds[n]) for n, c in coefficients.items()}
        if max(worst.values()) <= 1 or share < 0.05:
            break
        share *= 0.85
    unit = bounds["position"]
    return Basis(
        weights=weights * unit,
        coefficients={
            name: c.to(torch.int16).T.reshape(len(c.T), -1, ATTRIBUTES[name]) for name, c in coefficients.items()
        },
        units={name: bounds[name] / unit for name in coefficients},
        errors=errors | {name: value * bounds[name] for name, value in worst.items()},
    )


def _rounded(vectors: Tensor, projected: dict[str, Tensor], *, share: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights (k, r) float32 and, by attribute, coefficients (n c, r), whole numbers that 16 bits hold.

    Were every coefficient rounded the worst way at once, errors would add up to half of `share` times sqrt(rank) bounds. A
    vector whose coefficients are too large for such steps has larger ones, and once more itself for what these leave.
    """
    rank = vectors.shape[1]
    step = share / (vectors.abs().amax(0) * rank**0.5)
    largest = torch.stack([x.abs().amax(0) for x in projected.values()]).amax(0)
    coarse = torch.maximum(step, largest / LARGEST)
    twice = (coarse > step).nonzero()[: MAX_RANK - rank, 0]
    fine = torch.maximum(step[twice], coarse[twice] / LARGEST)
    columns = {}
    for name, x in projected.items():
        first = (x / coarse).round().clamp(-LARGEST, LARGEST)
        rest = ((x - first * coarse)[:, twice] / fine).round().clamp(-LARGEST, LARGEST)
        columns[name] = torch.cat([first, rest], dim=1)
    used = torch.stack([c.any(0) for c in columns.values()]).any(0)
    weights = torch.cat([vectors * coarse, vectors[:, twice] * fine], dim=1)[:, used].float()
    return weights, {name: c[:, used] for name, c in columns.items()}


def slopes(times: Tensor, weights: Tensor, *, periodic: bool) -> Tensor:
    """Catmull-Rom slopes of `weights` (k, r); at the ends of the neighbours' parabola, or around the ring."""
    if len(times) < 3:
        return ((weights[-1] - weights[0]) / max(float(times[-1] - times[0]), 1e-9)).expand_as(weights)
    inner = (weights[2:] - weights[:-2]) / (times[2:] - times[:-2])[:, None]
    step = float(times[1] - times[0])
    if periodic:
        seam = (weights[1] - weights[-2]) / (2 * step)
        return torch.cat([seam[None], inner, seam[None]])
    first = 2 * (weights[1] - weights[0]) / step - inner[0]
    last = 2 * (weights[-1] - weights[-2]) / step - inner[-1]
    return torch.cat([first[None], inner, last[None]])


def _enough(scaled: dict[str, Tensor], projected: dict[str, Tensor], vectors: Tensor) -> int:
    """The smallest rank that leaves out at most `LEAVE` of the bound anywhere, by bisection."""
    low, high = 1, vectors.shape[1]
    while low < high:
        rank = (low + high) // 2
        left_out = max(
            float(
                _length(
                    (x - vectors[:, :rank] @ projected[name][:, :rank].T).unflatten(1, (-1, ATTRIBUTES[name]))
                ).max()
            )
            for name, x in scaled.items()
        )
        low, high = (low, rank) if left_out <= LEAVE else (rank + 1, high)
    return low


def _worst(coefficients: Tensor, truth: Tensor, weights: Tensor, bound: float) -> float:
    """Largest error of decoded tracks in bounds."""
    decoded = (weights @ coefficients.float().T).reshape(truth.shape)
    return float(_length(decoded - truth / bound).max())


def _length(x: Tensor) -> Tensor:
    return x.norm(dim=-1)


def _on_cpu(g: Gaussians) -> Gaussians:
    return Gaussians(**{name: value.detach().float().cpu() for name, value in vars(g).items()})


def _continuous(turns: Tensor) -> Tensor:
    """Of the two quaternions that mean one rotation the one closer to the moment before, so that sums make sense."""
    turns = turns.clone()
    before = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand_as(turns[0])
    for i in range(len(turns)):
        turns[i] = torch.where((turns[i] * before).sum(-1, keepdim=True) < 0, -turns[i], turns[i])
        before = turns[i]
    return turns


def _along_a_curve(points: Tensor) -> Tensor:
    """Indices of `points` (n, 3) along a Z-order curve: neighbours in space become neighbours in the file, which packs better."""
    low = points.amin(0)
    cells = ((points - low) / (points.amax(0) - low).clamp_min(1e-9) * 1023).long()
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        cells = (cells | (cells << shift)) & mask
    return torch.argsort(cells[:, 0] | cells[:, 1] << 1 | cells[:, 2] << 2)
