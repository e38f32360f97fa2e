"""Differentiable rasterisation of 3D Gaussians: one function, three backends.

The mathematics is that of EWA splatting as used in 3D Gaussian Splatting (Kerbl et al. 2023), implemented from scratch:

    Sigma' = J W R S S^T R^T W^T J^T + 0.3 I        (pixels^2; J the projection's Jacobian at the mean)
    alpha_i(p) = min(0.999, o_i exp(-1/2 d^T Sigma'^-1 d)),  dropped below 1/255
    C(p) = sum_i c_i alpha_i prod_{j < i} (1 - alpha_j),     stopped once the product falls below 1e-4

Backends: ``cpu`` (our C++ core), ``cuda`` (gsplat, optional), ``reference`` (readable PyTorch, for tests).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from .gaussians import Gaussians
from .native import library
from .spherical_harmonics import shade

Backend = Literal["auto", "cpu", "cuda", "reference"]
MAX_CHANNELS = 32
"""Of a colour."""


@dataclass(kw_only=True)
class Rendering:
    """What v cameras see.

    Attributes:
        rgb: (v, c, h, w) premultiplied colour of c channels (3 unless asked otherwise), over the background if one was given.
        alpha: (v, 1, h, w) coverage in [0, 1).
        depth: (v, 1, h, w) expected camera-z in world units (alpha-weighted mean), 0 where alpha is below 1e-4.
        radii: (v, n) half-size in pixels of each Gaussian's screen box, 0 where it is not seen; no gradient.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    radii: Tensor


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    background: float | Tensor | None = None,
    backend: Backend = "auto",
    probe: Tensor | None = None,
    threads: int = 0,
) -> Rendering:
    """Render one set of Gaussians from v cameras. See `render_batch` for the arguments."""
    return render_batch(
        means=gaussians.means,
        quats=gaussians.quats,
        log_scales=gaussians.log_scales,
        logit_opacities=gaussians.logit_opacities,
        colors=view_colors(gaussians, cameras),
        cameras=cameras,
        background=background,
        backend=backend,
        probe=probe,
        threads=threads,
    )


def render_batch(
    *,
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    logit_opacities: Tensor,
    colors: Tensor,
    cameras: Cameras,
    background: float | Tensor | None = None,
    backend: Backend = "auto",
    probe: Tensor | None = None,
    threads: int = 0,
) -> Rendering:
    """Render v cameras in one call; each parameter is shared by all views or given per view (moving scenes).

    Args:
        means: (n, 3) or (v, n, 3) world units. quats: (n, 4) or (v, n, 4) wxyz, need not be normalised.
        log_scales: (n, 3) or (v, n, 3). logit_opacities: (n,) or (v, n). colors: (n, c) or (v, n, c), any range, 1 <= c <= 32
            channels.
        cameras: v cameras. background: scalar, (c,) or (v, c, 1, 1); None leaves the colour premultiplied on black.
        probe: (v, n, 2) zeros with requires_grad: after backward its grad is dL/d(screen mean), in pixels^-1.
        threads: 0 means ORBIT4D_THREADS or up to 8; results do not depend on it.

    Raises ValueError for wrong shapes and (``cpu``) for NaN or infinity in any input, InputError for Gaussians that cover
    too many tiles.
    """
    if cameras.camera_to_world.ndim != 3:
        raise ValueError(
            f"cameras must be a batch (v, 4, 4), got {tuple(cameras.camera_to_world.shape)}; use cameras[i : i + 1]"
        )
    v, n, channels = len(cameras), means.shape[-2], colors.shape[-1] if colors.ndim else 0
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"colors must have 1 to {MAX_CHANNELS} channels, got shape {tuple(colors.shape)}")
    shapes = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "logit_opacities": (n,), "colors": (n, channels)}
    given = {
        "means": means,
        "quats": quats,
        "log_scales": log_scales,
        "logit_opacities": logit_opacities,
        "colors": colors,
    }
    for name, tail in shapes.items():
        if tuple(given[name].shape) not in (tail, (v, *tail)):
            raise ValueError(f"{name} must have shape {tail} or {(v, *tail)}, got {tuple(given[name].shape)}")
    backend = _choose(backend, means)
    if backend == "cuda":
        rgb, alpha, depth, radii = _render_gsplat(given, cameras, probe)
        depth = _mean_depth(depth, alpha)
    elif backend == "reference":
        from .reference import render_reference

        rgb, alpha, depth, radii = render_reference(cameras=cameras, **given)  # type: ignore[arg-type]
        depth = _mean_depth(depth, alpha)
    else:
        probe = means.new_zeros(v, n, 2) if probe is None else probe
        k, w2c = cameras.intrinsics, cameras.world_to_camera
        missing = -channels % 3  # the core draws three channels at a time
        whole = torch.nn.functional.pad(colors, (0, missing)) if missing else colors
        rgb, alpha, depth, radii = _CpuRasterizer.apply(
            means, quats, log_scales, logit_opacities, whole, probe, w2c, k, (cameras.width, cameras.height, threads)
        )  # type: ignore[misc]
        rgb = rgb[:, :channels] if missing else rgb
    if background is not None:
        value = torch.as_tensor(background, dtype=rgb.dtype, device=rgb.device)
        rgb = rgb + (value[:, None, None] if value.ndim == 1 else value) * (1 - alpha)
    return Rendering(rgb=rgb, alpha=alpha, depth=depth, radii=radii)


def _mean_depth(accumulated: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(alpha > 1e-4, accumulated / alpha.clamp_min(1e-4), torch.zeros_like(alpha))


def view_colors(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """(n, 3) base colours for degree 0, (v, n, 3) for higher degrees, whose colour depends on the direction."""
    if gaussians.sh.shape[1] == 1:
        return gaussians.base_colors
    return shade(gaussians.sh, gaussians.means.detach(), cameras.positions)


def _choose(backend: Backend, means: Tensor) -> Backend:
    if backend == "auto":
        return "cuda" if means.is_cuda else "cpu"
    if backend == "cuda" and not (torch.cuda.is_available() and means.is_cuda):
        raise ValueError("backend 'cuda' needs CUDA tensors and a GPU; use backend='cpu'")
    if backend == "cpu" and means.is_cuda:
        raise ValueError("backend 'cpu' needs CPU tensors, got CUDA tensors; use backend='cuda' or move them")
    return backend


class _CpuRasterizer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, log_scales, opacities, colors, probe, w2c, k, frame):
        width, height, threads = frame
        core = library()
        names = ("means", "quats", "log_scales", "logit_opacities", "colors", "cameras", "intrinsics")
        inputs = []
        for name, x in zip(names, (means, quats, log_scales, opacities, colors, w2c, k), strict=True):
            x = x.detach().to(torch.float32).contiguous()
            if not core.o4d_finite(x.numel(), x.data_ptr()):
                raise ValueError(f"{name} holds NaN or infinity; cannot rasterise")
            inputs.append(x)
        v, n, channels = w2c.shape[0], means.shape[-2], colors.shape[-1]
        strides = torch.tensor(
            [
                0 if x.shape[0] == n and x.ndim == d else x[0].numel()
                for x, d in zip(inputs[:5], (2, 2, 2, 1, 2), strict=True)
            ]
        )
        rgb, alpha, depth = (torch.empty(v, c, height, width) for c in (channels, 1, 1))
        radii = torch.empty(v, n)
        pointers = [x.data_ptr() for x in (*inputs[:5], strides, *inputs[5:], rgb, alpha, depth, radii)]
        handle = core.o4d_forward(v, n, width, height, channels // 3, threads, *pointers)
        if not handle:
            raise InputError(
                f"cannot rasterise {n} Gaussians at {width} x {height}: they cover more tiles than are allowed or than "
                "memory holds; use a smaller image or fewer, smaller Gaussians"
            )
        # The session keeps pointers into these tensors: they live as long as it does.
        ctx.session = _Session(handle, [*inputs, strides, rgb.detach(), alpha.detach(), depth.detach()])
        ctx.shapes = [x.shape for x in (means, quats, log_scales, opacities, colors)]
        ctx.size = (v, n, channels)
        ctx.dtype = means.dtype
        ctx.mark_non_differentiable(radii)
        return (*tuple(x.to(means.dtype) for x in (rgb, alpha, depth)), radii)

    @staticmethod
    def backward(ctx, g_rgb, g_alpha, g_depth, _):
        v, n, channels = ctx.size
        grads = [g.to(torch.float32).contiguous() for g in (g_rgb, g_alpha, g_depth)]
        outs = [torch.zeros(v, n, *tail) for tail in ((3,), (4,), (3,), (), (channels,), (2,))]
        if not library().o4d_backward(
            ctx.session.handle, *[g.data_ptr() for g in grads], *[o.data_ptr() for o in outs]
        ):
            raise MemoryError("rasteriser: no memory for the gradients")
        # A parameter shared by all views gets the sum of their gradients.
        results = [
            (o.sum(0) if v > 1 else o[0]) if len(s) < o.ndim else o for o, s in zip(outs[:5], ctx.shapes, strict=True)
        ]
        return *(r.to(ctx.dtype) for r in results), outs[5].to(ctx.dtype), None, None, None


class _Session:
    """Owns a native session: freed when the autograd graph lets go of it."""

    def __init__(self, handle: int, keep: list[Tensor]) -> None:
        self.handle, self.keep = handle, keep

    def __del__(self) -> None:
        if self.handle:
            library().o4d_free(self.handle)
            self.handle = 0


def _render_gsplat(
    given: dict[str, Tensor], cameras: Cameras, probe: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same images through gsplat's CUDA kernels; per-view parameters are rendered one view at a time.

    gsplat gives the gradient of the screen means in its own tensor, from where it is passed on to `probe`.
    """
    try:
        from gsplat import rasterization  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError("backend 'cuda' needs gsplat; run `pip install orbit4d[gpu]`") from error
    tails = {"means": 2, "quats": 2, "log_scales": 2, "logit_opacities": 1, "colors": 2}
    shared = all(given[k].ndim == d for k, d in tails.items())
    images, alphas, radii = [], [], []
    for views in [slice(None)] if shared else [slice(i, i + 1) for i in range(len(cameras))]:
        one = {k: x if x.ndim == tails[k] else x[views.start] for k, x in given.items()}
        image, alpha, meta = rasterization(
            one["means"],
            torch.nn.functional.normalize(one["quats"], dim=-1),
            one["log_scales"].exp(),
            one["logit_opacities"].sigmoid(),
            one["colors"],
            cameras.world_to_camera[views],
            cameras.intrinsics[views],
            cameras.width,
            cameras.height,
            near_plane=0.05,
            eps2d=0.3,
            packed=False,
            render_mode="RGB+D",
        )
        if probe is not None and meta["means2d"].requires_grad:
            meta["means2d"].register_hook(lambda g, views=views: _add_gradient(probe, views, g))
        images.append(image.permute(0, 3, 1, 2))
        alphas.append(alpha.permute(0, 3, 1, 2))
        radii.append(meta["radii"].float().amax(-1) if meta["radii"].ndim == 3 else meta["radii"].float())
    image = torch.cat(images)
    return image[:, :-1], torch.cat(alphas), image[:, -1:], torch.cat(radii)


def _add_gradient(probe: Tensor, views: slice, gradient: Tensor) -> None:
    probe.grad = torch.zeros_like(probe) if probe.grad is None else probe.grad
    probe.grad[views] += gradient
