"""The rows of the experiment: each differs from `none` in what its line says, and in nothing else.

All share the 4D assets, steps, first weights, batches, levels and noise of their seed. `mixture` draws other batches: that is what
it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from orbit4d.data.latent_set import LatentClip, open_latents
from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.train_denoiser import DenoiserConfig, DenoiserTask
from orbit4d.errors import InputError
from orbit4d.transfer.orster import TransferConfig
from orbit4d.transfer.own_teacher import OwnTeacher
from orbit4d.transfer.task import OrsterTask
from orbit4d.transfer.teacher import PRIORS, Prior, Teacher
from orbit4d.transfer.train import default_block, start_from_teachers, with_priors

DEPTH = 4
BLOCK = default_block(DEPTH)
MEANS = {"prior_kind": "means"}
WIDE_SHARE = 0.5
"""Of the mixture's samples: from the static and the video set."""


@dataclass(kw_only=True)
class Row:
    """One way to use the teachers' data. `priors`: options of the student's priors, None for a student without. `transfer`: what
    differs from the defaults. `init`: the streams start from the teachers'. `wide`: their training sets are trained on."""

    says: str
    priors: dict[str, Any] | None = None
    transfer: dict[str, Any] = field(default_factory=dict)
    init: bool = False
    wide: bool = False

    @property
    def taught(self) -> bool:
        return self.init or self.priors is not None


ROWS = {
    "none": Row(says="no transfer"),
    "mixture": Row(says="joint training on the 4D, static and video sets", wide=True),
    "pointwise": Row(
        says="feature distillation: squared error, nothing injected, no decorrelation",
        priors=MEANS | {"prior_inject": False},
        transfer={"decorrelation_weight": 0.0},
    ),
    "no-orthogonality": Row(
        says="both teachers attached to one shared stream, no decorrelation",
        priors={"prior_shared": True},
        transfer={"decorrelation_weight": 0.0},
    ),
    "no-distributions": Row(says="means only: squared error, means injected", priors=MEANS),
    "orster": Row(says="the whole", priors={}),
    "init": Row(says="started from the teachers", init=True),
    "init-orster": Row(says="started from the teachers, and the whole", priors={}, init=True),
}
SETS = {"static": "wide", "video": "wide"}
"""What the folder of a role's clips is called: both are views of the same assets, rows for one and columns for the other."""
TEACHERS = {"teacher-spatial": "spatial", "teacher-temporal": "temporal"}


def network() -> Denoiser:
    """Teachers and students: 0.4 million parameters of the built-in architecture, so that a row takes minutes."""
    return Denoiser(
        spatial_width=64,
        temporal_width=32,
        depth=DEPTH,
        spatial_heads=2,
        temporal_heads=1,
        relative="camera",
        lift=16,
        lift_blocks=(1,),
    )


def clips(work: Path, name: str, count: int | None = None, *, role: str = "4d") -> list[LatentClip]:
    """The first clips of a set, by key. Raises InputError when there are fewer."""
    store = open_latents(work / "latents" / SETS.get(name, name))
    if count is not None and len(store) < count:
        raise InputError(f"{store.source}: holds {len(store)} clips, expected {count}; run prepare.py with more")
    found = [store[i] for i in range(len(store) if count is None else count)]
    for clip in found:
        clip.meta["role"] = role
    return found


def training_set(work: Path, row: Row, assets: int) -> LatentSet:
    found = clips(work, "four", assets)
    if row.wide:
        found += clips(work, "static", role="static") + clips(work, "video", role="video")
    return LatentSet(found)


def teachers(work: Path) -> dict[Prior, Teacher]:
    return {p: OwnTeacher(work / "teachers" / p / "teacher", prior=p, block=BLOCK) for p in PRIORS}


def transfer_config(settings: dict[str, Any]) -> TransferConfig:
    """`settings` over the defaults; numbers from a command line or JSON become what the field is."""
    whole = {f.name for f in fields(TransferConfig) if f.type == "int"}
    return TransferConfig(**{name: int(v) if name in whole else v for name, v in settings.items()})


def make_task(
    name: str,
    config: DenoiserConfig,
    data: LatentSet,
    *,
    work: Path,
    out: Path,
    transfer: dict[str, Any],
    make: Callable[[], Denoiser] = network,
    given: dict[Prior, Teacher] | None = None,
) -> DenoiserTask:
    """What is trained for a row; the student's first weights follow from torch's seed. `transfer` goes over the defaults, `make`
    is a student without priors, `given` are other teachers than those in `work`."""
    row = ROWS[name]
    config = replace(config, wide_share=WIDE_SHARE if row.wide else 0.0)
    model = make() if row.priors is None else with_priors(make, (block_of(make),), **row.priors)
    given = given or (teachers(work) if row.taught else {})
    if row.init:
        start_from_teachers(model, given)
    if row.priors is None:
        return DenoiserTask(data, config, model, out=out, autoencoder=None)
    return OrsterTask(
        data,
        config,
        model,
        out=out,
        autoencoder=None,
        teachers=given,
        transfer=transfer_config(transfer | row.transfer),
    )


def block_of(make: Callable[[], Denoiser]) -> int:
    """The block of a network after which students are compared with teachers."""
    with torch.random.fork_rng(devices=[]):  # the seed gives the student's weights, not these
        return default_block(int(make().config["depth"]))
