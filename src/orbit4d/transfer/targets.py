"""Which rows and columns the teachers are asked about: those that cross the student's frames, of the same assets.

For the student's frame (view i, time j) the spatial teacher sees other views of time j, the temporal teacher other times of
view i, under the same noise level, the crossing frame under the very same noise. Where the student is shown clean frames, so
is the teacher, of its own row or column: (their view, time j), (view i, their time). A teacher of evenly spaced frames is given it
apart from them, as its image. A frame whose row or column was not rendered whole has no target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.batches import BatchPlan, LatentSet
from ..diffusion.train_denoiser import DenoiserBatch
from .teacher import Prior, Teacher, TeacherClip, log_snr


@dataclass(kw_only=True)
class Crossing:
    """n of the student's frames, and the row or column of each.

    Attributes:
        sample, frame: (n,) which of the student's frames. position: (n,) where it stands in its row or column.
        clip: the rows or columns, as the teacher sees them.
    """

    sample: Tensor
    frame: Tensor
    position: Tensor
    clip: TeacherClip


def crossings(
    data: LatentSet,
    batch: DenoiserBatch,
    plan: BatchPlan,
    *,
    teacher: Teacher,
    clean: Tensor | None,
    prediction: str,
    count: int,
    frames: int,
    generator: torch.Generator,
) -> Crossing | None:
    """Up to `count` crossings with `frames` frames each; None when no frame of the batch has a target. `clean` are the set's
    frames in the teacher's latent space, None when they are the student's."""
    still = (plan.x0 == plan.still).all(1)  # static samples, and those in which time runs and nothing moves
    if teacher.prior == "spatial":
        possible = data.full_rows[plan.clips[:, None], plan.times] | still[:, None]
    else:
        possible = data.full_columns[plan.clips[:, None], plan.views] & ~still[:, None]
    candidates = (possible & ~plan.reference).nonzero()
    if not len(candidates):
        return None
    chosen = candidates[torch.randperm(len(candidates), generator=generator)[:count]]
    lines = [
        _line(data, plan, int(b), int(f), prior=teacher.prior, ordered=teacher.ordered, frames=frames, still=bool(still[b]),
              generator=generator)
        for b, f in chosen.tolist()
    ]  # fmt: skip
    rows, views, times, reference, position, shown = (torch.stack(part) for part in zip(*lines, strict=True))
    sample, frame = chosen.unbind(1)
    known = data.latents if clean is None else clean
    latents = known[rows].float()
    image = known[shown.clamp_min(0)].float() * (shown >= 0)[:, None, None, None] if teacher.ordered else None
    noise = torch.randn(latents.shape, generator=generator)
    if clean is None:
        noise[torch.arange(len(rows)), position] = batch.noise[sample, frame]
    c = batch.conditions
    clip = TeacherClip(
        latents=latents,
        noise=noise,
        log_snr=log_snr(prediction, batch.t[sample, frame]),
        reference=reference,
        plucker=data.camera_rays[plan.cameras[sample][:, None], views],
        times=data.times[times],
        text=None if c.text is None else c.text[sample],
        text_mask=None if c.text_mask is None else c.text_mask[sample],
        log_m=plan.motion[sample] * data.log_m_std + data.log_m_mean,
        prompts=[plan.prompts[i] for i in sample.tolist()],
        image=image,
    )
    return Crossing(sample=sample, frame=frame, position=position, clip=clip)


def _line(
    data: LatentSet,
    plan: BatchPlan,
    b: int,
    f: int,
    *,
    prior: Prior,
    ordered: bool,
    frames: int,
    still: bool,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One row or column through frame f of sample b: latents' rows, views, times, references (m,), the crossing's place, and the
    latent's row of a frame that the student is shown of it, -1 for none."""
    clip, view, time = int(plan.clips[b]), int(plan.views[b, f]), int(plan.times[b, f])
    spatial = prior == "spatial"
    length = int(data.clips[clip]["camera_to_world"].shape[0]) if spatial else data.count
    length = min(length, data.count - 1) if spatial else length  # an orbit's last view is its first
    own = (view if spatial else time) % length
    shown = plan.reference[b].nonzero()[:, 0]
    theirs = (plan.views if spatial else plan.times)[b, shown] % length
    theirs = theirs[theirs != own][:1]
    row = data.still[clip] if still else data.index[clip, :, time]
    line = row if spatial else data.index[clip, view]
    shown_row = line[theirs[0]] if len(theirs) else torch.tensor(-1)
    if ordered:
        along = (own + torch.arange(frames) * length // frames) % length
        along = along.sort().values
        theirs = theirs[torch.isin(theirs, along)]
    else:
        others = torch.randperm(length, generator=generator)
        others = others[(others != own) & ~torch.isin(others, theirs)]
        along = torch.cat([torch.tensor([own]), others[: frames - 1 - len(theirs)], theirs])
    position = (along == own).nonzero()[0, 0]
    reference = torch.isin(along, theirs)
    views, times = (along, torch.full_like(along, time)) if spatial else (torch.full_like(along, view), along)
    return line[along], views, times, reference, position, shown_row
