"""Motion as motion: sparse control nodes that move rigidly carry the Gaussians along.

Each node j has a canonical position p_j and, from the ST-HexPlane field at (p_j, t), a translation T_j and a rotation
R_j. A Gaussian at x is skinned to its nearest nodes with fixed weights w_j(x):

    x'(t) = sum_j w_j [ R_j (x - p_j) + p_j + T_j ],        q'(t) = normalise(sum_j w_j q_j) * q

so that what is seen from one side only still carries its other side with it. A second ST-HexPlane on the Gaussians
themselves may add what the nodes cannot say: deltas of position, rotation, scale, opacity and colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gaussians import Gaussians, Moved
from .hexplane import PointFeatures, PointMotion, STHexPlane, check_whole, one_time, quaternion_multiply
from .native import library, takes


@dataclass(kw_only=True)
class Skinning:
    """Which k nodes carry each of n Gaussians: index (n, k), weight (n, k) with rows that sum to 1."""

    index: Tensor
    weight: Tensor


class ControlNodes(nn.Module):
    """A `Deformation`: an ST-HexPlane evaluated at m control nodes, and linear blend skinning of the Gaussians.

    Args:
        nodes: (m, 3) canonical node positions, or their number when a state dict will be loaded.
        neighbors: nodes that carry a Gaussian.
        field: arguments of the `STHexPlane` that moves the nodes (it predicts position and rotation only).
        residual: arguments of the `STHexPlane` that adds deltas to every Gaussian; None: there is none.
        feature_times: how many moments the nodes' temporal features are known at, where `field` takes features.
    """

    kind = "control_nodes"

    def __init__(
        self,
        *,
        nodes: Tensor | int,
        neighbors: int = 4,
        field: dict,
        residual: dict | None = None,
        feature_times: int = 1,
    ) -> None:
        super().__init__()
        positions = torch.zeros(nodes, 3) if isinstance(nodes, int) else nodes.detach().clone().float()
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) < 2:
            raise ValueError(f"nodes must have shape (m, 3), m >= 2, got {tuple(positions.shape)}")
        check_whole("neighbors", neighbors, least=1)
        check_whole("feature_times", feature_times, least=1)
        self.neighbors = min(neighbors, len(positions))
        self.nodes: Tensor
        self.register_buffer("nodes", positions)
        self.field = STHexPlane(**{"predict_scale": False, **field})
        self.residual = None if residual is None else STHexPlane(**residual)
        self.z_s: Tensor
        self.z_t: Tensor
        self.z_times: Tensor
        if self.field.gates:
            spatial, temporal = self.field.config()["feature_channels"]
            self.register_buffer("z_s", torch.zeros(len(positions), spatial))
            self.register_buffer("z_t", torch.zeros(feature_times, len(positions), temporal))
            self.register_buffer("z_times", torch.linspace(0, 1, feature_times))

    def config(self) -> dict:
        """The constructor's arguments as JSON-ready values; node positions and features are in the state dict."""
        return {
            "nodes": len(self.nodes),
            "neighbors": self.neighbors,
            "field": self.field.config(),
            "residual": None if self.residual is None else self.residual.config(),
            "feature_times": len(self.z_times) if self.field.gates else 1,
        }

    def motion(self, times: Tensor) -> PointMotion:
        """The nodes at `times` (v,) in [0, 1]."""
        features = PointFeatures(z_s=self.z_s, z_t=self.z_t, times=self.z_times) if self.field.gates else None
        return self.field.motion(self.nodes, times, features)

    @torch.no_grad()
    def skin(self, means: Tensor) -> Skinning:
        """Weights of the nearest nodes of canonical `means` (n, 3).

        They fall to zero at the distance of the next node further out, so that they fade to nothing exactly where a
        node leaves the neighbourhood and the motion stays continuous in space.
        """
        k = min(self.neighbors + 1, len(self.nodes))
        distance, index = torch.cdist(means, self.nodes).topk(k, largest=False)
        if k > self.neighbors:
            outer, distance, index = distance[:, -1:], distance[:, :-1], index[:, :-1]
            weight = (1 - (distance / outer.clamp_min(1e-9)).square()).clamp_min(1e-6).square()
        else:
            weight = torch.ones_like(distance)
        return Skinning(index=index.contiguous(), weight=weight / weight.sum(dim=1, keepdim=True))

    def carry(self, gaussians: Gaussians, motion: PointMotion, skin: Skinning) -> Moved:
        """Gaussians carried by `motion` at its v times."""
        offsets = motion.positions - (motion.rotations @ self.nodes[..., None])[..., 0]
        table = torch.cat([motion.rotations.flatten(2), offsets, motion.quats], dim=-1)
        blend = _Skin.apply if takes(table, gaussians.means) else skin_reference
        means, quats = blend(table, gaussians.means, gaussians.quats, skin.index, skin.weight)  # type: ignore[misc]
        return Moved(**{**vars(gaussians), "means": means, "quats": quats, "log_scales": _repeated(gaussians, table)})

    def deform_batch(
        self,
        gaussians: Gaussians,
        times: Tensor,
        *,
        motion: PointMotion | None = None,
        skin: Skinning | None = None,
    ) -> Moved:
        """The Gaussians at `times` (v,) in [0, 1]; the nodes' `motion` at these times and a `skin` at hand save time."""
        skin = self.skin(gaussians.means.detach()) if skin is None else skin
        moved = self.carry(gaussians, self.motion(times) if motion is None else motion, skin)
        return moved if self.residual is None else self.residual.displace(gaussians, moved, times)

    def __call__(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time`, a scalar in [0, 1]."""
        return super().__call__(gaussians, time)

    def forward(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        return self.deform_batch(gaussians, one_time(gaussians, time)).at(0)


def _repeated(gaussians: Gaussians, table: Tensor) -> Tensor:
    return gaussians.log_scales.expand(len(table), len(gaussians), 3)


@torch.no_grad()
def nearest_graph(points: Tensor, neighbors: int) -> Tensor:
    """(m, min(neighbors, m - 1)) indices of the nearest other ones of each of `points` (m, 3)."""
    distance = torch.cdist(points, points).fill_diagonal_(torch.inf)
    return distance.topk(min(neighbors, len(points) - 1), largest=False).indices


def skin_reference(table: Tensor, means: Tensor, quats: Tensor, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Linear blend skinning in PyTorch, any dtype: means (v, n, 3) and unit quats (v, n, 4).

    `table` (v, m, 16): each node's rotation (9, row major), offset (3) and quaternion wxyz (4) at v times; `index` and
    `weight` (n, k); canonical `means` (n, 3), `quats` (n, 4). No gradient with respect to the weights in the fast version.
    """
    blended = (table[:, index] * weight[..., None]).sum(dim=2)
    linear, shift, rotation = blended.split([9, 3, 4], dim=-1)
    moved = (linear.unflatten(-1, (3, 3)) * means[:, None]).sum(-1) + shift
    turned = quaternion_multiply(functional.normalize(rotation, dim=-1), functional.normalize(quats, dim=-1))
    return moved, turned


class _Skin(torch.autograd.Function):
    """`skin_reference` in the C++ core."""

    @staticmethod
    def forward(
        ctx, table: Tensor, means: Tensor, quats: Tensor, index: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        table, means, quats, weight = (x.detach().contiguous() for x in (table, means, quats, weight.float()))
        index = index.int().contiguous()
        (v, m, _), (n, k) = table.shape, index.shape
        moved, turned = torch.empty(v, n, 3), torch.empty(v, n, 4)
        pointers = [x.data_ptr() for x in (index, weight, table, means, quats, moved, turned)]
        library().o4d_skin(v, n, m, k, 0, *pointers)
        ctx.save_for_backward(index, weight, table, means, quats)
        return moved, turned

    @staticmethod
    def backward(ctx, grad_means: Tensor, grad_quats: Tensor):  # type: ignore[override]
        saved = ctx.saved_tensors
        (v, m, _), (n, k) = saved[2].shape, saved[0].shape
        grads = [grad_means.contiguous(), grad_quats.contiguous()]
        outs = [torch.zeros(v, m, 16), torch.empty(v, n, 3), torch.empty(v, n, 4)]
        library().o4d_skin_backward(v, n, m, k, 0, *[x.data_ptr() for x in (*saved, *grads, *outs)])
        return outs[0], outs[1].sum(0), outs[2].sum(0), None, None


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Indices (min(count, n),) of a greedy farthest-point sample of `points` (n, 3), deterministic."""
    count = min(count, len(points))
    chosen = torch.zeros(count, dtype=torch.long)
    chosen[0] = (points - points.mean(dim=0)).square().sum(dim=1).argmax()
    nearest = torch.full((len(points),), torch.inf)
    for i in range(1, count):
        nearest = torch.minimum(nearest, (points - points[chosen[i - 1]]).square().sum(dim=1))
        chosen[i] = nearest.argmax()
    return chosen
