"""Motion as motion: sparse control nodes that move rigidly carry the Gaussians along.

Each node j has a canonical position p_j and, from the ST-HexPlane field at (p_j, t), a translation T_j and a rotation
R_j. A Gaussian at x is skinned to its nearest nodes with fixed weights w_j(x):

    x'(t) = sum_j w_j [ R_j (x - p_j) + p_j + T_j ],        q'(t) = normalise(sum_j w_j q_j) * q

so that what is seen from one side only still carries its other side with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gaussians import Gaussians
from .hexplane import STHexPlane, quaternion_exp, quaternion_matrix, quaternion_multiply


@dataclass(kw_only=True)
class NodeMotion:
    """State of m nodes at v times: positions (v, m, 3), quats (v, m, 4) wxyz, rotations (v, m, 3, 3)."""

    positions: Tensor
    quats: Tensor
    rotations: Tensor


@dataclass(kw_only=True)
class Skinning:
    """Which k nodes carry each of n Gaussians: index (n, k), weight (n, k) with rows that sum to 1."""

    index: Tensor
    weight: Tensor


class ControlNodes(nn.Module):
    """A `Deformation`: an ST-HexPlane evaluated at m control nodes, and linear blend skinning of the Gaussians.

    Args:
        nodes: (m, 3) canonical node positions, or their number when a state dict will be loaded.
        neighbors: nodes that carry a Gaussian. graph_neighbors: edges of a node in the rigidity graph.
        field: arguments of the `STHexPlane` that moves the nodes (it predicts position and rotation only).
    """

    kind = "control_nodes"

    def __init__(self, *, nodes: Tensor | int, neighbors: int = 4, graph_neighbors: int = 8, field: dict) -> None:
        super().__init__()
        positions = torch.zeros(nodes, 3) if isinstance(nodes, int) else nodes.detach().clone().float()
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) < 2:
            raise ValueError(f"nodes must have shape (m, 3), m >= 2, got {tuple(positions.shape)}")
        self.neighbors = min(neighbors, len(positions))
        self.graph_neighbors = min(graph_neighbors, len(positions) - 1)
        self.nodes: Tensor
        self.register_buffer("nodes", positions)
        self.field = STHexPlane(**{"predict_scale": False, **field})

    def config(self) -> dict:
        """The constructor's arguments as JSON-ready values; node positions are in the state dict."""
        return {
            "nodes": len(self.nodes),
            "neighbors": self.neighbors,
            "graph_neighbors": self.graph_neighbors,
            "field": self.field.config(),
        }

    def motion(self, times: Tensor) -> NodeMotion:
        """The nodes at `times` (v,) in [0, 1]."""
        d = self.field.deltas(self.nodes, times)
        quats = quaternion_exp(d["rotation"])
        return NodeMotion(positions=self.nodes + d["position"], quats=quats, rotations=quaternion_matrix(quats))

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

    def carry(self, gaussians: Gaussians, motion: NodeMotion, skin: Skinning) -> tuple[Tensor, Tensor, Tensor]:
        """Gaussians carried by `motion`: means (v, n, 3), quats (v, n, 4), log scales (v, n, 3)."""
        v, m = motion.positions.shape[:2]
        n = len(gaussians)
        offsets = motion.positions - (motion.rotations @ self.nodes[..., None])[..., 0]
        packed = torch.cat([motion.rotations.flatten(2), offsets, motion.quats], dim=-1)
        table = packed.permute(1, 0, 2).reshape(m, v * 16)
        blended = functional.embedding_bag(skin.index, table, per_sample_weights=skin.weight, mode="sum")
        blended = blended.view(n, v, 16).permute(1, 0, 2)
        linear, shift, rotation = blended.split([9, 3, 4], dim=-1)
        means = (linear.reshape(v, n, 3, 3) * gaussians.means[:, None]).sum(-1) + shift
        quats = quaternion_multiply(
            functional.normalize(rotation, dim=-1), functional.normalize(gaussians.quats, dim=-1)
        )
        return means, quats, gaussians.log_scales.expand(v, n, 3)

    def deform_batch(
        self, gaussians: Gaussians, times: Tensor, *, skin: Skinning | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Means (v, n, 3), quats (v, n, 4), log scales (v, n, 3) at `times` (v,); a `skin` at hand saves time."""
        skin = self.skin(gaussians.means.detach()) if skin is None else skin
        return self.carry(gaussians, self.motion(times), skin)

    def __call__(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time`, a scalar in [0, 1]."""
        return super().__call__(gaussians, time)

    def forward(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        times = torch.as_tensor(time, dtype=gaussians.means.dtype, device=gaussians.means.device).reshape(1)
        means, quats, log_scales = self.deform_batch(gaussians, times)
        return replace(gaussians, means=means[0], quats=quats[0], log_scales=log_scales[0])

    @torch.no_grad()
    def graph(self) -> Tensor:
        """(m, graph_neighbors) indices of each node's nearest nodes in the canonical state."""
        distance = torch.cdist(self.nodes, self.nodes)
        return distance.fill_diagonal_(torch.inf).topk(self.graph_neighbors, largest=False).indices


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
