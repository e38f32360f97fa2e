"""Training of the captioner on the latent set: every view of every clip's first moment, with the words of its caption."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ..data.latent_set import LatentClip, LatentStore, open_latents
from ..errors import InputError
from ..files import atomic_path, digest, json_digest
from .autoencoder import RGBAAutoencoder, decode_straight
from .captioner import FILE, MAX_WORDS, SIZE, Captioner, save_captioner
from .machine import first_does_it, first_process, wait_for_everyone
from .trainer import fit
from .training import TrainingConfig
from .vocabulary import motion_words

TOY = "toy "
SHIFT, SCALE = 0.06, 0.08
"""Largest shift (of half the frame) and change of size of an augmented picture."""
MARGIN = 0.17
"""What `orbit4d.conditions.centred` leaves free on each side of a user's picture, as a share of it."""
CENTRED = 0.35
"""Share of the pictures that are centred like that; the others stand as in their clip, whose frame holds the whole motion."""
NO_WORD = -100
"""As a motion: the picture's caption names none, or none that is learned."""
_ORDERS = ((1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 2, 1), (1, 0, 2))


@dataclass(kw_only=True)
class CaptionerConfig(TrainingConfig):
    """Settings of one run."""

    steps: int = 2500
    batch: int = 64
    lr: float = 3e-3
    muon: bool = False
    ema: float = 0.99
    save_every: int = 250
    log_every: int = 50
    toy_share: float = 0.15
    """Of the pictures drawn, where toys stand for what is none of the kinds."""
    strange_share: float = 0.125
    """Of a batch: pictures made of others, with exchanged colours or two halves, which show none of the kinds."""


class NoWords(InputError):
    """The clips do not say what they show."""


@dataclass(kw_only=True)
class Views:
    """Pictures (n, 4, SIZE, SIZE) uint8 premultiplied of `kinds` (n,) and `motions` (n,), which are indices into the captioner's
    words: the number of kinds for none of them, NO_WORD for no motion."""

    pictures: Tensor
    kinds: Tensor
    motions: Tensor
    made_of: str = ""
    """Names the pictures."""


@dataclass(kw_only=True)
class Words:
    """What a captioner can say; see `Captioner`."""

    kinds: tuple[str, ...]
    motions: tuple[str, ...]
    motions_of: tuple[tuple[int, ...], ...]


def train_captioner(latents: Path, out: Path, *, autoencoder: Path, config: CaptionerConfig | None = None) -> Path:
    """Train on the clips of `latents` as they were authored (damped ones look the same at time 0), decoded by `autoencoder`.

    Toys count as none of the kinds, unless there are only toys. Checkpoint, log and decoded pictures (`views.safetensors`) lie
    in `out`; returns `out/captioner.safetensors`. Raises NoWords for clips without kind or caption.
    """
    config = config or CaptionerConfig()
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    weights = digest(sorted(autoencoder.glob("*.safetensors")))
    clips = clips_with_words(open_latents(latents, autoencoder=weights))
    labels = [(str(clip.meta["kind"]), clip.captions[0]) for clip in clips]
    made_of = json_digest([weights, SIZE, [[clip.key, *clip.made_of] for clip in clips]])
    cache = out / "views.safetensors"
    with first_does_it():
        if first_process() and _read_cache(cache, made_of=made_of) is None:
            _write_views(clips, autoencoder, cache, made_of=made_of)
    wait_for_everyone()
    known = _read_cache(cache, made_of=made_of)
    if known is None:
        raise InputError(f"{cache}: cannot be read back; is another run writing there?")
    words, views = labelled([known[clip.key] for clip in clips], labels)
    views.made_of = made_of
    model = Captioner(words.kinds, words.motions, words.motions_of)
    task = CaptionerTask(views, config, model, out=out)
    fit(model, task, out, config=config)
    return out / FILE


def clips_with_words(store: LatentStore) -> list[LatentClip]:
    """The undamped clips that say what they show. Raises NoWords where none does."""
    clips = [clip for i in range(len(store)) if not (clip := store[i]).meta.get("damped")]
    named = [clip for clip in clips if clip.meta.get("kind") and clip.captions]
    if not named:
        raise NoWords(f"{clips[0].key}: has no kind or no caption, nor has any other clip; curate the data with kinds")
    return named


def _write_views(clips: list[LatentClip], autoencoder: Path, cache: Path, *, made_of: str) -> None:
    """Of each clip the premultiplied pictures (v, 4, SIZE, SIZE) uint8 of all views at time 0, decoded once."""
    model = RGBAAutoencoder.from_pretrained(autoencoder, low_cpu_mem_usage=False).eval().float()
    views = {}
    for clip in tqdm(clips, desc="decode", unit="clip"):
        views[clip.key] = _decoded(clip.latents[[n for n, (_, j) in enumerate(clip.pairs) if j == 0]], model)
    with atomic_path(cache) as temporary:
        save_file(views, temporary, metadata={"made_of": made_of})


def labelled(pictures: list[Tensor], labels: list[tuple[str, str]]) -> tuple[Words, Views]:
    """The words of all clips, and their views with the numbers of their words. `labels`: kind and caption of each clip."""
    only_toys = all(kind.startswith(TOY) for kind, _ in labels)
    named = [
        (kind, motion_words(text, kind)) if only_toys or not kind.startswith(TOY) else None for kind, text in labels
    ]
    common = Counter(name[1] for name in named if name is not None and name[1])
    learned = {motion for motion, _ in common.most_common(MAX_WORDS)}
    named = [name and (name[0], name[1] if name[1] in learned else "") for name in named]
    seen: dict[str, set[str]] = {}
    for name in named:
        if name is not None:
            seen.setdefault(name[0], set()).update([name[1]] if name[1] else [])
    kinds, motions = sorted(seen), sorted(learned)
    if len(kinds) > MAX_WORDS:
        raise NoWords(f"{len(kinds)} kinds of clips, expected at most {MAX_WORDS}; give alike things one kind")
    words = Words(
        kinds=tuple(kinds),
        motions=tuple(motions),
        motions_of=tuple(tuple(motions.index(m) for m in sorted(seen[kind])) for kind in kinds),
    )
    numbers = [
        (len(kinds), NO_WORD)
        if name is None
        else (kinds.index(name[0]), motions.index(name[1]) if name[1] else NO_WORD)
        for name in named
    ]
    of = torch.tensor(numbers).repeat_interleave(torch.tensor([len(p) for p in pictures]), dim=0)
    return words, Views(pictures=torch.cat(pictures), kinds=of[:, 0], motions=of[:, 1])


@dataclass(kw_only=True)
class Shown:
    """Premultiplied pictures (b, 4, SIZE, SIZE) in [0, 1] and their words, as in `Views`."""

    pictures: Tensor
    kinds: Tensor
    motions: Tensor


class CaptionerTask:
    """What `fit` trains: augmented pictures, and the words that were found for them."""

    name = "captioner"
    frames = 1

    def __init__(self, views: Views, config: CaptionerConfig, model: Captioner, *, out: Path) -> None:
        self.views, self.config, self.model, self.out = views, config, model, out
        self.samples = config.batch
        self.none = len(model.kinds)
        labels = [views.kinds.tolist(), views.motions.tolist(), model.kinds, model.motions, model.motions_of]
        self.data = json_digest([views.made_of, labels])
        other = views.kinds == self.none
        share = config.toy_share if bool(other.any()) else 0.0
        self.weights = torch.where(
            other, share / other.sum().clamp_min(1).float(), (1 - share) / (~other).sum().clamp_min(1).float()
        )

    def draw(self, generator: torch.Generator, part: slice) -> Shown:
        chosen = torch.multinomial(self.weights, self.config.batch, replacement=True, generator=generator)
        pictures = augmented(self.views.pictures[chosen].float() / 255, generator)
        kinds, motions = self.views.kinds[chosen], self.views.motions[chosen]
        count = round(self.config.strange_share * self.config.batch)
        if count:
            pictures[:count] = strange(pictures, kinds, count, generator)
            kinds[:count], motions[:count] = self.none, NO_WORD
        return Shown(pictures=pictures[part], kinds=kinds[part], motions=motions[part])

    def loss(self, model: nn.Module, batch: Shown, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(batch.pictures.device.type, dtype, enabled=dtype != torch.float32):
            kinds, motions = model(batch.pictures)
        kind = F.cross_entropy(kinds.float(), batch.kinds, label_smoothing=0.02)
        told = self.model.among(motions.float(), batch.kinds)
        each = F.cross_entropy(told, batch.motions, ignore_index=NO_WORD, reduction="sum")
        motion = each / len(batch.motions)  # of parts of equal size the mean is that of the whole
        return kind + motion, {"kind": kind, "motion": motion}

    def export(self, values: dict[str, Tensor], *, step: int, seconds: float) -> None:
        with torch.random.fork_rng(devices=[]):
            copy = Captioner(self.model.kinds, self.model.motions, self.model.motions_of, **self.model.sizes)
        copy.load_state_dict(values)
        save_captioner(copy, self.out / FILE)

    def sheet(self, values: dict[str, Tensor]) -> Tensor | None:
        return None


def augmented(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Premultiplied pictures (n, 4, s, s), each with its own shift, size, colours and noise; some centred, some mirrored."""
    n = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    window, centre = centred_windows(pictures[:, 3])
    chosen = torch.rand(n, generator=generator) < CENTRED
    window, centre = torch.where(chosen, window, 1.0), torch.where(chosen[:, None], centre, 0.0)
    size = window * uniform(1 - SCALE, 1 + SCALE, n)
    mirrored = torch.rand(n, generator=generator) < 0.5
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = torch.where(mirrored, -size, size), size
    theta[:, :, 2] = centre + window[:, None] * uniform(-SHIFT, SHIFT, n, 2)
    x = F.grid_sample(pictures, F.affine_grid(theta, list(pictures.shape), align_corners=False), align_corners=False)
    alpha = x[:, 3:]
    rgb = x[:, :3] * uniform(0.8, 1.2, n, 3, 1, 1) + uniform(-0.06, 0.06, n, 3, 1, 1) * alpha
    x = torch.cat([torch.minimum(rgb.clamp_min(0), alpha), alpha], dim=1)
    return x + uniform(0, 0.04, n, 1, 1, 1) * torch.randn(x.shape, generator=generator)


def centred_windows(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """The square windows that centre what alpha (n, s, s) covers, with MARGIN around; of empty pictures the whole.

    Returns their sides (n,) as shares of the picture, and their centres (n, 2) as (x, y) in [-1, 1].
    """
    covered, side = alpha > 0.1, alpha.shape[-1]
    spans = []
    for axis in (1, 2):  # columns, then rows
        line = covered.any(dim=axis).float()
        spans.append((line.argmax(dim=1), side - line.flip(1).argmax(dim=1)))
    widest = torch.stack([last - first for first, last in spans]).amax(dim=0)
    centre = torch.stack([(first + last) / side - 1 for first, last in spans], dim=1)
    empty = ~covered.flatten(1).any(dim=1)
    return torch.where(empty, 1.0, widest / side / (1 - 2 * MARGIN)), torch.where(empty[:, None], 0.0, centre)


def strange(pictures: Tensor, kinds: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` pictures that show none of the kinds, made of the first ones: with exchanged colours, or, of every second one and of
    those too grey for it, with the upper half of a picture of another of `kinds` (n,).
    """
    made, middle = pictures[:count].clone(), pictures.shape[-2] // 2
    for i in range(count):
        colours = made[i, :3]
        exchanged = [colours[list(order)] for order in _ORDERS]
        exchanged = [c for c in exchanged if (c - colours).abs().sum() > 0.2 * made[i, 3].sum()]
        others = pictures[kinds != kinds[i]]
        which = int(torch.randint(2**31, (), generator=generator))
        if len(others) and (i % 2 or not exchanged):
            made[i, :, :middle] = others[which % len(others), :, :middle]
        elif exchanged:
            made[i, :3] = exchanged[which % len(exchanged)]
    return made


@torch.inference_mode()
def _decoded(latents: Tensor, autoencoder: RGBAAutoencoder) -> Tensor:
    rgb, alpha = decode_straight(autoencoder, latents.float())
    small = F.interpolate(torch.cat([rgb * alpha, alpha], dim=1), size=(SIZE, SIZE), mode="area")
    return (small.clamp(0, 1) * 255).round().byte()


def _read_cache(path: Path, *, made_of: str) -> dict[str, Tensor] | None:
    """What the file holds; None where there is none, it is damaged, or made of other latents."""
    try:
        with safe_open(path, framework="pt") as handle:
            if (handle.metadata() or {}).get("made_of") != made_of:
                return None
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError):
        return None
