"""Training of the STD-4D denoiser on cached latents: random subsets of (view, time) pairs, orbits and static orbits.

    L = || v_hat - (eps - x_0) ||^2 + w (1 - t) ( m_latent(x0_hat) - m_latent(x_0) )^2 / scale^2      (L_mr, Diffusion4D)

with x0_hat = x_t - t v_hat and m_latent the mean squared difference to the same views frozen at time 0.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..cameras import Cameras
from ..data.latent_set import load_latents, open_latents
from ..data.sample_set import log_motion
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
        store = open_latents(folder)
        clips = [load_latents(file) for file in store.files]
        self.clips: list[dict] = [clip.meta for clip in clips]
        self.latents = torch.cat([clip.latents for clip in clips])
        pairs_of = [torch.tensor(clip.pairs) for clip in clips]
        pairs = torch.cat(pairs_of)
        self.clip_ids = torch.arange(len(clips)).repeat_interleave(torch.tensor([len(p) for p in pairs_of]))
        count = len(self.clips[0]["times"])
        for file, clip in zip(store.files, self.clips, strict=True):
            _check_grid(file, clip, first=self.clips[0])
        self.index = torch.full((len(clips), count, count), -1)
        self.index[self.clip_ids, pairs[:, 0], pairs[:, 1]] = torch.arange(len(pairs))
        for index, clip in zip(self.index, self.clips, strict=True):
            views = len(clip["camera_to_world"])
            index[views:] = index[: count - views]  # an orbit's last view is its first
        everywhere = torch.arange(count)
        static_times = torch.tensor([int(clip.get("static_time", 0)) for clip in self.clips])
        # Of all views one time, even where some have a frame at time 0 as well: a static orbit shows one moment.
        self.still = self.index[torch.arange(len(clips)), :, static_times]
        """(clips, views) latents of the static orbit. `index` (clips, views, times) those of what was rendered, -1 else."""
        for missing in ((self.index[:, everywhere, everywhere] < 0), (self.still < 0)):
            if bool(missing.any()):
                file = store.files[int(missing.any(dim=1).nonzero()[0])]
                raise InputError(
                    f"{file}: lacks frames of the orbit or of the static orbit, which the denoiser trains on; render them"
                )
        self.count = count
        self.rows = [torch.nonzero(self.clip_ids == i)[:, 0] for i in range(len(self.clips))]
        self.pairs = pairs
        log_m = torch.tensor([log_motion(c["motion_magnitude"]) for c in self.clips])
        self.log_m_mean = float(log_m.mean())
        self.log_m_std = float(log_m.std()) if len(log_m) > 1 and float(log_m.std()) > 0 else 1.0
        self.motion = (log_m - self.log_m_mean) / self.log_m_std
        self.log_m_quantiles = torch.quantile(log_m, torch.linspace(0, 1, 21)).tolist()
        kinds = [str(c["kind"] or "") for c in self.clips]
        toy = torch.tensor([kind.startswith("toy ") for kind in kinds])
        self.toys, self.real = toy.nonzero()[:, 0], (~toy).nonzero()[:, 0]
        counts = Counter(kinds)
        self.weights = torch.tensor([counts[kind] ** -0.5 for kind in kinds])
        self.vocabulary = sorted(set(kinds) - {""})
        self.times = torch.tensor(self.clips[0]["times"])
        self.camera_rays, self.camera_set = self._camera_sets()
        self.rays = self.camera_rays[0]
        self.m_scale = self._latent_motion_scale()

    def _camera_sets(self) -> tuple[Tensor, Tensor]:
        """Token rays (sets, views, h, w, 6) of the different orbits that the clips were rendered from, and each clip's set."""
        sets: dict[bytes, int] = {}
        rays, which = [], []
        for clip in self.clips:
            views = torch.arange(self.count) % len(clip["camera_to_world"])
            cameras = Cameras(
                camera_to_world=clip["camera_to_world"][views],
                intrinsics=clip["intrinsics"][views],
                width=clip["width"],
                height=clip["height"],
            )
            relative = cameras.resized(1, 1).intrinsics
            name = cameras.camera_to_world.numpy().tobytes() + relative.numpy().tobytes()
            if name not in sets:
                sets[name] = len(rays)
                rays.append(token_rays(cameras, self.latents.shape[-1] // 2))
            which.append(sets[name])
        return torch.stack(rays), torch.tensor(which)

    def rays_of(self, clip: int, views: Tensor) -> Tensor:
        """(f, h, w, 6) token rays of these views of a clip, from the cameras that it was rendered from."""
        return self.camera_rays[self.camera_set[clip], views]

    def _latent_motion_scale(self) -> float:
        """Mean m_latent over the main orbits: the unit of L_mr."""
        i = torch.arange(self.count)
        values = [
            (self.latents[n[i, i]].float() - self.latents[s].float()).square().mean()
            for n, s in zip(self.index, self.still, strict=True)
        ]
        return float(torch.stack(values).mean())


def _check_grid(file: Path, clip: dict, *, first: dict) -> None:
    """Raises InputError unless the clip lies on an orbit's grid with the same times as the first, and m is known."""
    views, times = len(clip["camera_to_world"]), clip["times"]
    if views not in (len(times) - 1, len(times)):
        raise InputError(
            f"{file}: {views} views and {len(times)} times are no orbit's; the denoiser trains on samples of "
            "`orbit4d data render` and on Diffusion4D's"
        )
    if len(times) != len(first["times"]) or max(abs(a - b) for a, b in zip(times, first["times"], strict=True)) > 1e-4:
        raise InputError(
            f"{file}: its {len(times)} times differ from the {len(first['times'])} of others; render all with one --frames"
        )
    still = clip.get("static_time", 0)
    if not isinstance(still, int) or not 0 <= still < len(times):
        raise InputError(f"{file}: expected a time's index as its `static_time`, got {still!r:.40}; encode again")
    if clip["motion_magnitude"] is None:
        raise InputError(f"{file}: its motion magnitude is not known; delete it and encode again")


def sample_batch(
    data: LatentSet, config: DenoiserConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Conditions, Tensor]:
    """One batch: x0 (b, f, c, h, w), static targets of the same views (b, f, c, h, w), conditions, reference mask (b, f)."""

    def chance(share: float) -> bool:
        return bool(torch.rand((), generator=generator) < share)

    with_reference = chance(config.reference_share)
    x0, still, rays, times, prompts, motion, static_mode, static_mask = [], [], [], [], [], [], [], []
    static_count = round(config.static_share * config.batch)  # the same in every batch: shapes stay constant
    for i in range(config.batch):
        toy = chance(config.toy_share)
        pool = data.toys if len(data.toys) and (toy or not len(data.real)) else data.real
        clip = int(pool[torch.multinomial(data.weights[pool], 1, generator=generator)])
        frozen = i < static_count
        v, j = _pick_pairs(data, clip, config, frozen, generator)
        if with_reference:
            v, j = torch.cat([v.new_zeros(1), v]), torch.cat([j.new_zeros(1), j])
        still.append(data.latents[data.still[clip, v]])
        x0.append(still[-1] if frozen else data.latents[data.index[clip, v, j]])
        rays.append(data.rays_of(clip, v))
        times.append(j)
        wordings = data.clips[clip]["captions"]
        word = wordings[int(torch.randint(len(wordings), (), generator=generator))] if wordings else ""
        prompts.append("" if chance(config.drop_text) else word)
        motion.append(float("nan") if frozen or chance(config.drop_motion) else float(data.motion[clip]))
        static_mode.append(frozen)
        static_mask.append(not frozen and chance(config.static_3d_share))
    time = torch.stack(times)
    text, text_mask = encode_text(prompts, pad_to=MAX_TOKENS)
    reference = torch.zeros(time.shape, dtype=torch.bool)
    if with_reference:
        reference[:, 0] = True
    still_latents = torch.stack(still).float()
    conditions = Conditions(
        plucker=torch.stack(rays),
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
        "vocabulary": latents.vocabulary,
        "clips": len(latents.clips),
        "training": asdict(config) | {"step": step, "hours": round(seconds / 3600, 3)},
    }
    with atomic_path(out / "pipeline.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1))
