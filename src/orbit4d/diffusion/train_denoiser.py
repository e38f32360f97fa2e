"""Training of the STD-4D denoiser on cached latents: random subsets of (view, time) pairs, orbits and static orbits.

    L = || v_hat - (eps - x_0) ||^2 + w (1 - t) ( m_latent(x0_hat) - m_latent(x_0) )^2 / scale^2      (L_mr, Diffusion4D)

with x0_hat = x_t - t v_hat and m_latent the mean squared difference to the same views frozen at time 0.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from ..cameras import Orbit
from ..errors import InputError
from ..files import atomic_path
from .denoiser import Conditions, Denoiser, token_rays
from .text import MAX_TOKENS, encode_text
from .training import EMA, Log, Optimizers, learning_rate_factor, load_checkpoint, save_checkpoint, save_half


@dataclass(kw_only=True)
class DenoiserConfig:
    """Settings of one run; `steps` may be changed on resume (the learning rate decays over the last quarter)."""

    steps: int = 6000
    batch: int = 16
    frames: int = 6
    """Random frames of a clip in each training sample; the model itself takes any number."""
    lr: float = 1.5e-3
    muon: bool = True
    ema: float = 0.998
    seed: int = 0
    noise_shift: float = 0.8
    """t = sigmoid(N(noise_shift, 1)): most of the loss at high noise."""
    motion_weight: float = 0.05
    """w of L_mr."""
    static_share: float = 0.2
    main_orbit_share: float = 0.6
    """Share of the moving samples drawn from the orbit the model is asked for; the rest are any (view, time) pairs."""
    toy_share: float = 0.1
    drop_text: float = 0.1
    drop_motion: float = 0.3
    reference_share: float = 0.4
    static_3d_share: float = 0.15
    save_every: int = 200
    bf16: bool = True


class LatentSet:
    """Cached latents with their (view, time) pairs, sampled without a data loader: everything is in memory."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise InputError(
                f"{folder}: expected latent clips (*.safetensors), found none; run `orbit4d train` with --stage latents first"
            )
        self.clips: list[dict] = []
        latents, pairs_of = [], []
        for file in files:
            try:
                with safe_open(file, framework="pt") as handle:
                    self.clips.append(json.loads(handle.metadata()["clip"]))
                    latents.append(handle.get_tensor("latents"))
                    pairs_of.append(handle.get_tensor("pairs").long())
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                raise InputError(
                    f"{file}: not a latent clip ({error}); delete it and run `orbit4d train` with --stage latents again"
                ) from error
        self.latents, pairs = torch.cat(latents), torch.cat(pairs_of)
        self.clip_ids = torch.arange(len(files)).repeat_interleave(torch.tensor([len(p) for p in pairs_of]))
        count = int(pairs.max()) + 1
        self.index = torch.full((len(self.clips), count, count), -1)
        self.index[self.clip_ids, pairs[:, 0], pairs[:, 1]] = torch.arange(len(pairs))
        everywhere = torch.arange(count)
        for missing in ((self.index[:, everywhere, everywhere] < 0), (self.index[:, :, 0] < 0)):
            if bool(missing.any()):
                file = files[int(missing.any(dim=1).nonzero()[0])]
                raise InputError(
                    f"{file}: lacks frames of the orbit or of the static orbit; delete it and encode again"
                )
        self.count = count
        self.rows = [torch.nonzero(self.clip_ids == i)[:, 0] for i in range(len(self.clips))]
        self.pairs = pairs
        log_m = torch.tensor([max(c["motion_magnitude"], 1e-6) for c in self.clips]).log()
        self.log_m_mean, self.log_m_std = float(log_m.mean()), float(log_m.std())
        self.motion = (log_m - self.log_m_mean) / self.log_m_std
        self.log_m_quantiles = torch.quantile(log_m, torch.linspace(0, 1, 21)).tolist()
        self.toys = torch.tensor(
            [i for i, c in enumerate(self.clips) if c["kind"].startswith("toy ")], dtype=torch.long
        )
        self.real = torch.tensor(
            [i for i, c in enumerate(self.clips) if not c["kind"].startswith("toy ")], dtype=torch.long
        )
        kinds = sorted({c["kind"] for c in self.clips})
        counts = {k: sum(c["kind"] == k for c in self.clips) for k in kinds}
        self.weights = torch.tensor([counts[c["kind"]] ** -0.5 for c in self.clips])
        orbit = Orbit(frames=count)
        self.rays = token_rays(orbit.cameras(128), self.latents.shape[-1] // 2)
        self.times = orbit.times
        self.m_scale = self._latent_motion_scale()

    def _latent_motion_scale(self) -> float:
        """Mean m_latent over the main orbits: the unit of L_mr."""
        i = torch.arange(self.count)
        values = [(self.latents[n[i, i]].float() - self.latents[n[i, 0]].float()).square().mean() for n in self.index]
        return float(torch.stack(values).mean())


def sample_batch(
    data: LatentSet, config: DenoiserConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Conditions, Tensor]:
    """One batch: x0 (b, f, c, h, w), static targets of the same views (b, f, c, h, w), conditions, reference mask (b, f)."""

    def chance(share: float) -> bool:
        return bool(torch.rand((), generator=generator) < share)

    with_reference = chance(config.reference_share)
    x0, still, views, times, prompts, motion, static_mode, static_mask = [], [], [], [], [], [], [], []
    static_count = round(config.static_share * config.batch)  # the same in every batch: shapes stay constant
    for i in range(config.batch):
        toy = chance(config.toy_share)
        pool = data.toys if len(data.toys) and (toy or not len(data.real)) else data.real
        clip = int(pool[torch.multinomial(data.weights[pool], 1, generator=generator)])
        frozen = i < static_count
        v, j = _pick_pairs(data, clip, config, frozen, generator)
        if with_reference:
            v, j = torch.cat([v.new_zeros(1), v]), torch.cat([j.new_zeros(1), j])
        x0.append(data.latents[data.index[clip, v, j]])
        still.append(data.latents[data.index[clip, v, torch.zeros_like(v)]])
        views.append(v)
        times.append(j)
        wordings = data.clips[clip]["captions"]
        word = wordings[int(torch.randint(len(wordings), (), generator=generator))]
        prompts.append("" if chance(config.drop_text) else word)
        motion.append(float("nan") if frozen or chance(config.drop_motion) else float(data.motion[clip]))
        static_mode.append(frozen)
        static_mask.append(not frozen and chance(config.static_3d_share))
    view, time = torch.stack(views), torch.stack(times)
    text, text_mask = encode_text(prompts, pad_to=MAX_TOKENS)
    reference = torch.zeros(view.shape, dtype=torch.bool)
    if with_reference:
        reference[:, 0] = True
    still_latents = torch.stack(still).float()
    conditions = Conditions(
        plucker=data.rays[view],
        times=data.times[time],
        text=text,
        text_mask=text_mask,
        motion=torch.tensor(motion),
        static_latents=still_latents,
        static_mask=torch.tensor(static_mask),
        reference=reference,
        static_mode=torch.tensor(static_mode),
    )
    return torch.stack(x0).float(), still_latents, conditions, reference


def _pick_pairs(
    data: LatentSet, clip: int, config: DenoiserConfig, frozen: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    order = torch.randperm(data.count, generator=generator)[: config.frames]
    if frozen:
        return order, torch.zeros_like(order)
    if torch.rand((), generator=generator) < config.main_orbit_share:
        return order, order
    rows = data.rows[clip]
    picked = data.pairs[rows[torch.randperm(len(rows), generator=generator)[: config.frames]]]
    return picked[:, 0], picked[:, 1]


def losses(
    model: Denoiser,
    x0: Tensor,
    still: Tensor,
    c: Conditions,
    reference: Tensor,
    *,
    config: DenoiserConfig,
    m_scale: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """(flow-matching loss, L_mr) of one batch; reference frames are given clean and not scored."""
    b, f = x0.shape[:2]
    t = torch.sigmoid(config.noise_shift + torch.randn(b, generator=generator))[:, None].expand(b, f)
    t = torch.where(reference, 0.0, t)
    noise = torch.randn(x0.shape, generator=generator)
    level = t[:, :, None, None, None]
    noisy = (1 - level) * x0 + level * noise
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        velocity = model(noisy, t, c)
    velocity = velocity.float()
    scored = (~reference).float()
    error = (velocity - (noise - x0)).square().mean((2, 3, 4))
    flow = (error * scored).sum() / scored.sum()
    estimate = noisy - level * velocity

    def m_latent(x: Tensor) -> Tensor:
        return ((x - still).square().mean((2, 3, 4)) * scored).sum(1) / scored.sum(1)

    moving = torch.ones(b) if c.static_mode is None else (~c.static_mode).float()
    sample_t = t.max(dim=1).values
    gap = ((m_latent(estimate) - m_latent(x0)) / m_scale).square().clamp(max=25.0)
    return flow, ((1 - sample_t) * moving * gap).mean()


def train_denoiser(
    data: Path,
    out: Path,
    *,
    config: DenoiserConfig | None = None,
    model: Denoiser | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train on the latents in `data` (`encode_training_set`); checkpoint, log and EMA weights in `out`.

    Resumes from `out/checkpoint.pt`. `stop_after` ends the call at that step without changing the schedule (for tests and
    for sharing a machine). The result is the folder `out/denoiser` (config.json + fp16 EMA weights) and `out/pipeline.json`.
    """
    config = config or DenoiserConfig()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = model or Denoiser()
    latents = LatentSet(data)
    ema, optimizers = EMA(model, config.ema), Optimizers(model, lr=config.lr, muon=config.muon)
    generator = torch.Generator().manual_seed(config.seed)
    start, seconds, checkpoint = 0, 0.0, out / "checkpoint.pt"
    if checkpoint.is_file():
        start, seconds = load_checkpoint(checkpoint, model=model, ema=ema, optimizers=optimizers, generator=generator)
    log = Log(out / "log.jsonl", start_seconds=seconds)
    end = min(config.steps, stop_after or config.steps)
    bar = tqdm(range(start, end), initial=start, total=config.steps, desc="denoiser")
    for step in bar:
        x0, still, conditions, reference = sample_batch(latents, config, generator)
        flow, motion = losses(
            model, x0, still, conditions, reference, config=config, m_scale=latents.m_scale, generator=generator
        )
        (flow + config.motion_weight * motion).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate_factor(step, steps=config.steps))
        ema.update(model)
        log.add(flow=flow, motion=motion)
        if (step + 1) % 25 == 0 or step + 1 == end:
            line = log.write(step + 1)
            bar.set_postfix(flow=line["flow"], motion=line["motion"])
        if (step + 1) % config.save_every == 0 or step + 1 == end:
            save_checkpoint(
                checkpoint,
                model=model,
                ema=ema,
                optimizers=optimizers,
                step=step + 1,
                generator=generator,
                seconds=log.seconds,
            )
            _export(model, ema, latents, config, out, step=step + 1, seconds=log.seconds)
    return out


def _export(
    model: Denoiser, ema: EMA, latents: LatentSet, config: DenoiserConfig, out: Path, *, step: int, seconds: float
) -> None:
    save_half(model, ema.values, out / "denoiser")
    record = {
        "log_m_mean": latents.log_m_mean,
        "log_m_std": latents.log_m_std,
        "log_m_quantiles": latents.log_m_quantiles,
        "vocabulary": sorted({c["kind"] for c in latents.clips}),
        "clips": len(latents.clips),
        "training": asdict(config) | {"step": step, "hours": round(seconds / 3600, 3)},
    }
    with atomic_path(out / "pipeline.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1))
