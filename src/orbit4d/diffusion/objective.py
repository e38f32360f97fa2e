"""What the denoiser is trained to say of a noisy latent, and the loss.

The paths and outputs are those of `paths`; the loss of an "x0" output is that of the velocity it implies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .denoiser import Conditions
from .paths import Prediction, clean_part, path_coefficients

SMALLEST_T = 0.05
"""Below this noise level the velocity of an x0-prediction is divided by no less: the loss would explode."""


def add_noise(x0: Tensor, noise: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
    """x_t for clean latents and noise (b, f, c, h, w) at levels t (b, f) in [0, 1]."""
    a, s = path_coefficients(prediction, t[:, :, None, None, None])
    return a * x0 + s * noise


def clean_estimate(noisy: Tensor, output: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
    """x0_hat (b, f, c, h, w) from the network's output for x_t at levels t (b, f)."""
    return clean_part(prediction, output, noisy, t[:, :, None, None, None])


def prediction_error(
    output: Tensor, *, x0: Tensor, noise: Tensor, noisy: Tensor, t: Tensor, prediction: Prediction
) -> Tensor:
    """Squared error of the output against what it should be, averaged over each frame: (b, f)."""
    level = t[:, :, None, None, None]
    match prediction:
        case "flow":
            wanted = noise - x0
        case "v":
            a, s = path_coefficients(prediction, level)
            wanted = a * noise - s * x0
        case "x0":
            output, wanted = (noisy - output) / level.clamp_min(SMALLEST_T), noise - x0
    return (output - wanted).square().mean((2, 3, 4))


def noise_levels(reference: Tensor, shifts: tuple[float, ...], generator: torch.Generator) -> Tensor:
    """t (b, f): one level a sample, sigmoid(N(shift, 1)) with one of `shifts` at random; 0 on reference frames (b, f)."""
    b = len(reference)
    which = torch.randint(len(shifts), (b,), generator=generator)
    level = torch.sigmoid(torch.tensor(shifts)[which] + torch.randn(b, generator=generator))
    return torch.where(reference, 0.0, level[:, None])


def losses(
    model: nn.Module,
    x0: Tensor,
    still: Tensor,
    c: Conditions,
    reference: Tensor,
    *,
    noise_shift: tuple[float, ...],
    m_scale: float,
    generator: torch.Generator,
    prediction: Prediction = "flow",
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """(diffusion loss, L_mr) of one batch at noise levels and with noise that are drawn here; see `losses_at`. All tensors on
    one device; the generator's draws are made on its own."""
    t, noise = draw_noise(x0, reference, noise_shift=noise_shift, generator=generator)
    return losses_at(
        model, x0, still, c, reference, t=t, noise=noise, m_scale=m_scale, prediction=prediction, dtype=dtype
    )


def draw_noise(
    x0: Tensor, reference: Tensor, *, noise_shift: tuple[float, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Levels t (b, f) and noise (b, f, c, H, W) for latents x0, on their device."""
    t = noise_levels(reference.to(generator.device), noise_shift, generator)
    noise = torch.randn(x0.shape, generator=generator, device=generator.device)
    return t.to(x0.device), noise.to(x0.device)


def losses_at(
    model: nn.Module,
    x0: Tensor,
    still: Tensor,
    c: Conditions,
    reference: Tensor,
    *,
    t: Tensor,
    noise: Tensor,
    m_scale: float,
    prediction: Prediction,
    dtype: torch.dtype = torch.float32,
    scored_frames: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(diffusion loss, L_mr) of one batch at noise levels t (b, f); reference frames are given clean and not scored.

    L_mr = (1 - t) ( m_latent(x0_hat) - m_latent(x_0) )^2 / m_scale^2, with m_latent the mean squared difference to `still`,
    the same views frozen (Diffusion4D). `dtype` is what the network multiplies in. `scored_frames` is what the diffusion loss
    is divided by, the batch's own scored frames when None: so that the mean over a batch's parts is the loss of the whole.
    """
    device = x0.device
    noisy = add_noise(x0, noise, t, prediction)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        output = model(noisy, t, c)
    return losses_of(
        output,
        x0,
        still,
        c,
        reference,
        t=t,
        noise=noise,
        noisy=noisy,
        m_scale=m_scale,
        prediction=prediction,
        scored_frames=scored_frames,
    )


def losses_of(
    output: Tensor,
    x0: Tensor,
    still: Tensor,
    c: Conditions,
    reference: Tensor,
    *,
    t: Tensor,
    noise: Tensor,
    noisy: Tensor,
    m_scale: float,
    prediction: Prediction,
    scored_frames: float | None = None,
) -> tuple[Tensor, Tensor]:
    """`losses_at` of what a network has said already of `noisy`."""
    device, output = x0.device, output.float()
    scored = (~reference).float()
    error = prediction_error(output, x0=x0, noise=noise, noisy=noisy, t=t, prediction=prediction)
    loss = (error * scored).sum() / (scored.sum() if scored_frames is None else scored_frames)
    estimate = clean_estimate(noisy, output, t, prediction)

    def m_latent(x: Tensor) -> Tensor:
        return ((x - still).square().mean((2, 3, 4)) * scored).sum(1) / scored.sum(1)

    moving = torch.ones(len(x0), device=device) if c.static_mode is None else (~c.static_mode).float()
    sample_t = t.max(dim=1).values
    gap = ((m_latent(estimate) - m_latent(x0)) / m_scale).square().clamp(max=25.0)
    return loss, ((1 - sample_t) * moving * gap).mean()
