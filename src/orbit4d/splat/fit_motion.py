"""The motion of a construction: which deformation, its parameters, and the priors that make it motion."""

from __future__ import annotations

import torch
from torch import Tensor

from .deform import ControlNodes, Skinning, farthest_points, nearest_graph
from .fit_config import FitConfig
from .gaussians import Gaussians, Moved
from .hexplane import PointFeatures, PointMotion, STHexPlane
from .hull import Hull
from .losses import acceleration, rigidity
from .trajectories import Trajectories


class Motion:
    """The deformation of a construction with what only training needs: guide points, their graph, skinning weights.

    Priors act on the guides: the control nodes; for a field on the Gaussians themselves, points spread over the hull; for
    trajectories, all Gaussians.
    """

    def __init__(
        self,
        canonical: Gaussians,
        hull: Hull,
        *,
        anchor: float | None,
        loop: bool,
        spacing: float,
        feature_channels: tuple[int, int] = (0, 0),
        feature_times: int = 1,
        config: FitConfig,
    ) -> None:
        self.config, self.anchor, self.loop, self.spacing, self.extent = config, anchor, loop, spacing, hull.half_extent
        points = canonical.means.detach() if config.init == "random" else hull.surface
        self.guides = points[farthest_points(points, config.nodes)]
        field: dict = {
            "center": tuple(hull.center.tolist()),
            "half_extent": 1.05 * hull.half_extent,
            "spatial_resolutions": config.spatial_resolutions,
            "temporal_resolutions": config.temporal_resolutions,
            "periodic": loop,
            "anchor_time": anchor,
        }
        everything: dict = {"predict_scale": True, "predict_opacity": True, "predict_color": True}
        self.deformation: ControlNodes | STHexPlane | Trajectories
        match config.deformation:
            case "nodes":
                self.deformation = ControlNodes(
                    nodes=self.guides,
                    neighbors=config.skinning_neighbors,
                    field=field | {"feature_channels": feature_channels},
                    residual=field | everything if config.residual else None,
                    feature_times=feature_times,
                )
            case "hexplane":
                self.deformation = STHexPlane(**field, **everything)
            case "trajectories":
                self.deformation = Trajectories(count=len(canonical), periodic=loop, anchor_time=anchor)
        self.graph = nearest_graph(self.guides, config.graph_neighbors)
        self.skin: Skinning | None = None
        self.follow(canonical.means)

    @property
    def fields(self) -> list[STHexPlane]:
        """The ST-HexPlanes of the deformation."""
        match self.deformation:
            case ControlNodes():
                return [f for f in (self.deformation.field, self.deformation.residual) if f is not None]
            case STHexPlane():
                return [self.deformation]
            case _:
                return []

    @property
    def per_gaussian(self) -> list[torch.nn.Parameter]:
        """Parameters with one row a Gaussian, which move with it when it is relocated."""
        return list(self.deformation.parameters()) if isinstance(self.deformation, Trajectories) else []

    def parameter_groups(self) -> list[dict]:
        """Optimiser groups, with the names of their learning rates."""
        groups = [{"params": p, "rate": "trajectories", "scale": self.extent} for p in [self.per_gaussian] if p]
        for f in self.fields:
            groups.append({"params": [*f.spatial, *f.temporal], "rate": "planes"})
            decoder = [*f.decoder.parameters(), *f.heads.parameters(), *f.gates.parameters()]
            groups.append({"params": decoder, "rate": "decoder"})
        return groups

    def to(self, device: torch.device) -> Motion:
        """The same on `device`."""
        self.deformation.to(device)
        self.guides, self.graph = self.guides.to(device), self.graph.to(device)
        if self.skin is not None:
            self.skin = Skinning(index=self.skin.index.to(device), weight=self.skin.weight.to(device))
        return self

    def state(self) -> dict:
        """Everything that an exact resume needs."""
        skin = None if self.skin is None else vars(self.skin)
        return {"deformation": self.deformation.state_dict(), "guides": self.guides, "graph": self.graph, "skin": skin}

    def restore(self, state: dict) -> None:
        """The reverse of `state`."""
        self.deformation.load_state_dict(state["deformation"])
        device = self.guides.device
        self.guides, self.graph = state["guides"], state["graph"]
        self.skin = None if state["skin"] is None else Skinning(**state["skin"])
        self.to(device)

    @torch.no_grad()
    def follow(self, means: Tensor) -> None:
        """Renew what depends on where the canonical `means` (n, 3) are: skinning weights, the graph of trajectories."""
        means = means.detach()
        if isinstance(self.deformation, ControlNodes):
            self.skin = self.deformation.skin(means)
        if isinstance(self.deformation, Trajectories):
            self.guides = means.clone()
            self.graph = nearest_graph(self.guides, self.config.graph_neighbors)

    @torch.no_grad()
    def take_features(self, features: PointFeatures, *, anchor: float | None, reach: float) -> None:
        """Features of the guides, for the field of the control nodes.

        Where the guides are at times further than `reach` from `anchor` is not known yet, nor what they look like there: as
        the motion does, their temporal features stay as they are at the nearest known time.
        """
        assert isinstance(self.deformation, ControlNodes)
        z_t, times = features.z_t, features.times
        if anchor is not None:
            known = ((times - anchor).abs() <= reach + 1e-6).nonzero()[:, 0]
            if len(known):
                z_t = z_t[known[(times[:, None] - times[known]).abs().argmin(dim=1)]]
        nodes = self.deformation
        nodes.z_s.copy_(features.z_s)
        nodes.z_t.copy_(z_t)
        nodes.z_times.copy_(times)

    def hold_outside(self, reach: float) -> None:
        """Times further than `reach` from the anchor keep the pose that the motion has there."""
        assert self.anchor is not None
        paths = [self.deformation] if isinstance(self.deformation, Trajectories) else []
        for part in [*self.fields, *paths]:
            part.hold_outside(self.anchor, reach)

    @torch.no_grad()
    def guides_at(self, times: Tensor) -> Tensor:
        """(v, m, 3) where the guides are at `times` (v,)."""
        return self._guide_motion(times).positions

    def moved(self, canonical: Gaussians, times: Tensor) -> tuple[Moved, dict[str, Tensor]]:
        """The Gaussians at `times` (v,), and the weighted priors of the motion around these times."""
        v, d = len(times), self.spacing
        around = torch.cat([times, times - d, times + d])
        around = around % 1 if self.loop else around.clamp(0, 1)
        match self.deformation:
            case ControlNodes():
                motion = self.deformation.motion(around)
                moved = self.deformation.deform_batch(canonical, times, motion=motion[:v], skin=self.skin)
            case STHexPlane():
                motion = self.deformation.motion(self.guides, around)
                moved = self.deformation.deform_batch(canonical, times)
            case _:
                motion = self.deformation.motion(canonical.means, around)
                moved = self.deformation.deform_batch(canonical, times, motion=motion[:v])
        return moved, self._priors(motion, times)

    def _guide_motion(self, times: Tensor) -> PointMotion:
        if isinstance(self.deformation, ControlNodes):
            return self.deformation.motion(times)
        return self.deformation.motion(self.guides, times)

    def _priors(self, motion: PointMotion, times: Tensor) -> dict[str, Tensor]:
        weights, v = self.config.weights, len(times)
        terms: dict[str, Tensor] = {}
        if weights.rigidity:
            terms["rigidity"] = weights.rigidity * rigidity(self.guides, motion, self.graph)
        # At the ends of the clip one neighbour in time is missing: no acceleration is known there.
        inner = (times - self.spacing > -1e-6) & (times + self.spacing < 1 + 1e-6) | self.loop
        if weights.acceleration and bool(inner.any()):
            now, before, after = motion.positions[:v], motion.positions[v : 2 * v], motion.positions[2 * v :]
            knee = self.config.acceleration_knee * self.extent
            uneven = acceleration(before[inner], now[inner], after[inner], knee=knee) / self.extent**2
            terms["acceleration"] = weights.acceleration * 1000 * uneven
        for field in self.fields:
            space, smooth = field.total_variation()
            terms["plane_space"] = terms.get("plane_space", 0) + weights.plane_space * space
            terms["plane_time"] = terms.get("plane_time", 0) + weights.plane_time * smooth
        return terms
