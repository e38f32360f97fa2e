"""What the denoiser trains on: random (view, time) pairs of clips whose latents are in memory, with random conditions."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..data.latent_set import LatentClip, load_latents, open_latents
from ..data.motion_scale import log_motion
from ..errors import InputError
from .denoiser import Conditions, token_rays
from .text import MAX_TOKENS, encode_text
from .vocabulary import motion_words

Only = Literal["all", "rows", "columns"]
Role = Literal["4d", "static", "video"]
ROLES: tuple[Role, ...] = get_args(Role)
STILL_BELOW = 1.0
"""How far the log m that stands for no motion lies below the least of all clips."""


@dataclass(kw_only=True)
class BatchConfig:
    """How batches are drawn. Shares are probabilities of a sample unless they say otherwise."""

    batch: int = 16
    frames: int = 7
    """Random frames of a clip in each sample, references included; the model itself takes any number."""
    static_share: float = 0.125
    """Share of each batch that are static orbits, with the temporal stream closed."""
    main_orbit_share: float = 0.7
    """Of the moving samples: drawn from the orbit the model is asked for; the rest are any (view, time) pairs."""
    toy_share: float = 0.06
    drop_text: float = 0.1
    drop_text_shown: float = 0.5
    """Of the samples with clean frames: where words name the object, nothing is to be learned from its picture."""
    drop_motion: float = 0.15
    drop_all: float = 0.08
    """No condition at all: the null branch of guidance."""
    image_share: float = 0.2
    """One clean frame at time 0, half of them at view 0, the others anywhere; one in four at another time."""
    several_share: float = 0.1
    """Two to four clean frames at any pairs: what later orbits are given of the first."""
    video_share: float = 0.05
    """Two to five clean frames of one view at several times."""
    static_3d_share: float = 0.2
    still_share: float = 0.05
    """Of the moving samples: time runs, nothing moves, and the motion condition is the least there is."""
    only: Only = "all"
    """rows: all samples are static orbits, at any time that was rendered from all views, with the temporal stream closed. columns:
    all are videos of one view. What spatial and temporal teachers are trained on."""
    wide_share: float = 0.0
    """Of the static samples: from clips of the role "static"; of the moving ones: videos, from clips of the role "video"."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.frames < 2:
            raise InputError(f"training: expected batch >= 1 and frames >= 2, got {self.batch} and {self.frames}")
        if self.only not in get_args(Only):
            raise InputError(f"training: expected only = all, rows or columns, got {self.only!r}")
        if self.image_share + self.several_share + self.video_share > 1:
            raise InputError("training: the shares of image, several and video references add up to more than 1")


class LatentSet:
    """Cached latents with their (view, time) pairs, sampled without a data loader: everything is in memory."""

    def __init__(
        self,
        source: Path | Sequence[LatentClip],
        *,
        encode: Callable[..., tuple[Tensor, Tensor]] = encode_text,
    ) -> None:
        """`source`: a folder of latent clips, or the clips themselves. `encode`: how captions become text conditions, as
        `text.encode_text` does. `latents`, `camera_rays` and `times` may be moved to a GPU afterwards: `gather_batch` gathers
        there."""
        if isinstance(source, Path):
            files = open_latents(source).files
            clips, names = [load_latents(file) for file in files], list(map(str, files))
        else:
            clips, names = list(source), [clip.key for clip in source]
        self.encode = encode
        self.clips: list[dict] = [clip.meta for clip in clips]
        self.identity = hashlib.sha256(json.dumps(sorted([c.key, *c.made_of] for c in clips)).encode()).hexdigest()[:16]
        """16 hexadecimal digits that name what is trained on: the samples and the autoencoder."""
        self.latents = torch.cat([clip.latents for clip in clips])
        pairs_of = [torch.tensor(clip.pairs) for clip in clips]
        pairs = torch.cat(pairs_of)
        self.clip_ids = torch.arange(len(clips)).repeat_interleave(torch.tensor([len(p) for p in pairs_of]))
        count = len(self.clips[0]["times"])
        for file, clip in zip(names, self.clips, strict=True):
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
                file = names[int(missing.any(dim=1).nonzero()[0])]
                raise InputError(
                    f"{file}: lacks frames of the orbit or of the static orbit, which the denoiser trains on; render them"
                )
        self.count = count
        self.full_rows, self.full_columns = (self.index >= 0).all(1), (self.index >= 0).all(2)
        """(clips, times) and (clips, views): where all views of a time, or all times of a view, were rendered."""
        self.rows = [torch.nonzero(self.clip_ids == i)[:, 0] for i in range(len(self.clips))]
        self.pairs = pairs
        every_log_m = torch.tensor([log_motion(c["motion_magnitude"]) for c in self.clips])
        roles = torch.tensor([_role(file, clip) for file, clip in zip(names, self.clips, strict=True)])
        # Of a static set only its static orbits are known.
        known = roles != ROLES.index("static")
        log_m = every_log_m[known] if known.any() else every_log_m
        self.log_m_mean = float(log_m.mean())
        self.log_m_std = float(log_m.std()) if len(log_m) > 1 and float(log_m.std()) > 0 else 1.0
        self.motion = (every_log_m - self.log_m_mean) / self.log_m_std
        self.log_m_quantiles = torch.quantile(log_m, torch.linspace(0, 1, 21)).tolist()
        authored = every_log_m[known & torch.tensor([not clip.get("damped") for clip in self.clips])]
        self.usual_motion = float((log_m <= authored.median()).float().mean()) if len(authored) else None
        """The quantile of the undamped clips' median."""
        self.log_m_quantiles[0] -= STILL_BELOW
        self.still_motion = (self.log_m_quantiles[0] - self.log_m_mean) / self.log_m_std
        """The motion condition of what does not move at all: quantile 0."""
        kinds = [str(c["kind"] or "") for c in self.clips]
        toy = torch.tensor([kind.startswith("toy ") for kind in kinds])
        whole = roles == ROLES.index("4d")
        self.toys, self.real = (toy & whole).nonzero()[:, 0], (~toy & whole).nonzero()[:, 0]
        self.wide = {role: (roles == ROLES.index(role)).nonzero()[:, 0] for role in ("static", "video")}
        """Clips of which training is shown only static orbits, or only videos of one view; `toys` and `real` are the others."""
        counts = Counter(kinds)
        self.weights = torch.tensor([counts[kind] ** -0.5 for kind in kinds]) * _motion_left(self.clips)
        """How often clips are drawn: kinds with many of them less often each, damped ones as often as they move."""
        self.vocabulary = sorted(set(kinds) - {""})
        self.static_times = static_times
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

    @property
    def prompts(self) -> dict[str, list[str]]:
        """The plainest caption of each clip, distinct and sorted, by kind."""
        found: dict[str, set[str]] = {}
        for clip in self.clips:
            if clip["kind"] and clip["captions"]:
                found.setdefault(str(clip["kind"]), set()).add(str(clip["captions"][0]))
        return {kind: sorted(captions) for kind, captions in sorted(found.items())}

    @property
    def amounts(self) -> dict[str, dict[str, float]]:
        """Kind -> motion, as captions word it ("a fox" -> "running") -> how much that moves as authored: the
        quantile of the mean log m of its undamped clips. Without toys, whose captions are free text."""
        found: dict[str, dict[str, list[float]]] = {}
        for clip in self.clips:
            kind = str(clip["kind"] or "toy ")
            if kind.startswith("toy ") or clip.get("damped") or clip.get("role") == "static":
                continue
            for motion in {motion_words(str(caption), kind) for caption in clip["captions"]} - {""}:
                of_kind = found.setdefault(kind, {})
                of_kind.setdefault(motion, []).append(log_motion(clip["motion_magnitude"]))
        return {
            kind: {motion: round(self._quantile_of(statistics.fmean(of)), 4) for motion, of in sorted(motions.items())}
            for kind, motions in sorted(found.items())
        }

    def _quantile_of(self, log_m: float) -> float:
        """The inverse of reading `log_m_quantiles` between its entries; in [0, 1]."""
        return float(np.interp(log_m, self.log_m_quantiles, np.linspace(0, 1, len(self.log_m_quantiles))))

    def _latent_motion_scale(self) -> float:
        """Mean m_latent over the main orbits, above 0 even where nothing moves: the unit of L_mr."""
        i = torch.arange(self.count)
        values = [
            (self.latents[n[i, i]].float() - self.latents[s].float()).square().mean()
            for n, s in zip(self.index, self.still, strict=True)
        ]
        return max(float(torch.stack(values).mean()), 1e-8)


def undamped_key(clip: dict) -> str:
    """The key of the clip that a damped one (KEY-dN) is of; its own otherwise."""
    key = str(clip.get("key"))
    return key.rsplit("-d", 1)[0] if clip.get("damped") else key


def _motion_left(clips: Sequence[dict]) -> Tensor:
    """(n,) the amplitude that is left to each clip, in [0, 1]: sqrt(m / m of the clip that it is a damped one of), 1 for others."""
    whole = {str(c.get("key")): float(c["motion_magnitude"]) for c in clips if not c.get("damped")}
    left = torch.ones(len(clips))
    for i, clip in enumerate(clips):
        base = whole.get(undamped_key(clip)) if clip.get("damped") else None
        if base:
            left[i] = min(max(float(clip["motion_magnitude"]) / base, 1e-3), 1.0) ** 0.5
    return left


def pipeline_record(latents: LatentSet) -> dict[str, Any]:
    """What a pipeline has to know of the data that its denoiser was trained on."""
    return {
        "log_m_mean": latents.log_m_mean,
        "log_m_std": latents.log_m_std,
        "log_m_quantiles": latents.log_m_quantiles,
        "usual_motion": latents.usual_motion,
        "vocabulary": latents.vocabulary,
        "prompts": latents.prompts,
        "amounts": latents.amounts,
        "clips": len(latents.clips),
    }


def _role(file: str, clip: dict) -> int:
    """What training may use of a clip, as an index of ROLES."""
    role = clip.get("role", "4d")
    if role not in ROLES:
        raise InputError(f"{file}: expected a role of {', '.join(ROLES)}, got {role!r:.40}")
    return ROLES.index(role)


def _check_grid(file: str, clip: dict, *, first: dict) -> None:
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
    data: LatentSet, config: BatchConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Conditions, Tensor]:
    """One batch: x0 (b, f, c, h, w), static targets of the same views (b, f, c, h, w), conditions, reference mask (b, f)."""
    return gather_batch(data, plan_batch(data, config, generator))


@dataclass(kw_only=True)
class BatchPlan:
    """What was drawn for a batch, before any latent is touched: small, so that other processes can draw it.

    Attributes:
        clips: (b,) numbers of the set's clips.
        x0, still: (b, f) rows of the set's latents: the samples' frames and the same views frozen.
        cameras: (b,) which of the set's orbits; views, times: (b, f) indices on it. prompts: b captions, "" where dropped.
        motion: (b,) standardised log m, NaN where absent. reference (b, f), static_mode (b,), static_mask (b,): as conditions.
    """

    clips: Tensor
    x0: Tensor
    still: Tensor
    cameras: Tensor
    views: Tensor
    times: Tensor
    prompts: list[str]
    motion: Tensor
    reference: Tensor
    static_mode: Tensor
    static_mask: Tensor


def plan_batch(data: LatentSet, config: BatchConfig, generator: torch.Generator) -> BatchPlan:
    """Draw the clips, pairs and conditions of one batch."""

    def chance(share: float) -> bool:
        return bool(torch.rand((), generator=generator) < share)

    x0, still, clips, views, times, prompts, motion, static_mode, static_mask, counts = ([] for _ in range(10))
    static_share = {"all": config.static_share, "rows": 1.0, "columns": 0.0}[config.only]
    static_count = round(static_share * config.batch)  # the same in every batch: shapes stay constant
    for i in range(config.batch):
        frozen, toy = i < static_count, chance(config.toy_share)
        pool = data.toys if len(data.toys) and (toy or not len(data.real)) else data.real
        wide = config.wide_share > 0 and chance(config.wide_share)
        pool = data.wide["static" if frozen else "video"] if wide else pool
        clip = int(pool[torch.multinomial(data.weights[pool], 1, generator=generator)])
        null = chance(config.drop_all)
        video = config.only == "columns" or (wide and not frozen)
        still_life = not frozen and not null and not video and chance(config.still_share)
        v, j = _references(data, clip, config, frozen, generator)
        v, j = (v[:0], j[:0]) if null else (v, j)
        counts.append(len(v))
        if config.only == "rows" or video:
            v, j = _line(data, clip, config, row=frozen, generator=generator)
        else:
            wanted_v, wanted_j = _targets(data, clip, config, frozen, config.frames - len(v), generator)
            v, j = torch.cat([v, wanted_v]), torch.cat([j, wanted_j])
        still.append(data.still[clip, v])
        if config.only == "rows":  # any moment of a row is static to a network that knows no time
            still[-1], j = data.index[clip, v, j], torch.zeros_like(j)
        x0.append(still[-1] if frozen or still_life else data.index[clip, v, j])
        clips.append(clip)
        views.append(v)
        times.append(j)
        wordings = data.clips[clip]["captions"]
        word = wordings[int(torch.randint(len(wordings), (), generator=generator))] if wordings else ""
        prompts.append("" if chance(config.drop_text_shown if counts[-1] else config.drop_text) or null else word)
        unknown = (chance(config.drop_motion) and not still_life) or frozen or null
        motion.append(float("nan") if unknown else data.still_motion if still_life else float(data.motion[clip]))
        static_mode.append(frozen)
        static_mask.append(chance(config.static_3d_share) and not frozen and not null)
    return BatchPlan(
        clips=torch.tensor(clips),
        x0=torch.stack(x0),
        still=torch.stack(still),
        cameras=data.camera_set[torch.tensor(clips)],
        views=torch.stack(views),
        times=torch.stack(times),
        prompts=prompts,
        motion=torch.tensor(motion),
        reference=torch.arange(config.frames) < torch.tensor(counts)[:, None],
        static_mode=torch.tensor(static_mode),
        static_mask=torch.tensor(static_mask),
    )


def gather_batch(data: LatentSet, plan: BatchPlan) -> tuple[Tensor, Tensor, Conditions, Tensor]:
    """The tensors of a plan, on the plan's device, where the set's latents have to be too; see `sample_batch`."""
    text, text_mask = data.encode(plan.prompts, pad_to=MAX_TOKENS)
    still = data.latents[plan.still].float()
    conditions = Conditions(
        plucker=data.camera_rays[plan.cameras[:, None], plan.views],
        times=data.times[plan.times],
        text=text,
        text_mask=text_mask,
        motion=plan.motion,
        static_latents=still,
        static_mask=plan.static_mask,
        reference=plan.reference,
        static_mode=plan.static_mode,
    )
    return data.latents[plan.x0].float(), still, conditions, plan.reference


def _references(
    data: LatentSet, clip: int, config: BatchConfig, frozen: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The (view, time) pairs of a sample's clean frames: none, one, several, or a video's."""
    most = config.frames - 1
    draw = float(torch.rand((), generator=generator))

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    if draw < config.image_share:
        view = 0 if integer(0, 1) else integer(0, data.count - 1)
        if frozen:
            return torch.tensor([view]), torch.tensor([0])
        if integer(0, 3):
            return torch.tensor([view]), data.static_times[clip][None]
        return _rendered(data, clip, 1, generator)
    draw -= config.image_share
    if draw < config.several_share:
        count = integer(min(2, most), min(4, most))
        if frozen:
            views = torch.randperm(data.count, generator=generator)[:count]
            return views, torch.zeros_like(views)
        return _rendered(data, clip, count, generator)
    if draw - config.several_share < config.video_share and not frozen:
        view = 0 if integer(0, 1) else integer(0, data.count - 1)
        seen = (data.index[clip, view] >= 0).nonzero()[:, 0]
        times = seen[torch.randperm(len(seen), generator=generator)[: integer(min(2, most), min(5, most))]]
        return torch.full_like(times, view), times
    return torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)


def _targets(
    data: LatentSet, clip: int, config: BatchConfig, frozen: bool, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    order = torch.randperm(data.count, generator=generator)[:count]
    if frozen:
        return order, torch.zeros_like(order)
    if torch.rand((), generator=generator) < config.main_orbit_share:
        return order, order
    return _rendered(data, clip, count, generator)


def _line(
    data: LatentSet, clip: int, config: BatchConfig, *, row: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The (view, time) pairs of a sample from one row, or one column, that was rendered whole, in random order."""
    full = (data.full_rows if row else data.full_columns)[clip].nonzero()[:, 0]
    if not len(full):
        which = "row (all views of one time)" if row else "column (all times of one view)"
        raise InputError(f"{data.clips[clip]['key']}: holds no whole {which}; render with --rows and --columns")
    fixed = full[torch.randint(len(full), (), generator=generator)].repeat(config.frames)
    order = torch.randperm(data.count, generator=generator)[: config.frames]
    return (order, fixed) if row else (fixed, order)


def _rendered(data: LatentSet, clip: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` of a clip's pairs, at random."""
    rows = data.rows[clip]
    picked = data.pairs[rows[torch.randperm(len(rows), generator=generator)[:count]]]
    return picked[:, 0], picked[:, 1]
