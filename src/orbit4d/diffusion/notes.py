"""How many frames and orbits can be asked for, and what a user is told of conditions that are sampled all the same, though the
model was not trained to meet them."""

from __future__ import annotations

import math

from torch.nn import functional

from ..cameras import MAX_ORBITS, Cameras
from ..clip import OrbitalClip
from ..data.wordings import with_article
from ..errors import InputError

MAX_REFERENCES = 16
"""Given frames; and as many of the first orbit that a later one shares, beside them."""
TRAINED_REFERENCES = 5
"""Training shows one clean frame, two to four of any view and time, or two to five of one view."""
FAR_DEG = 15.0
"""Views of a static clip further than this from the view that is sampled show another side of the object."""


def check_orbits(orbits: int, shared_frames: int) -> None:
    """Raises InputError for numbers of orbits and of frames that they share which cannot be sampled."""
    if not 1 <= orbits <= MAX_ORBITS:
        raise InputError(f"--orbits: expected 1 to {MAX_ORBITS}, got {orbits}")
    if not 0 <= shared_frames <= MAX_REFERENCES:
        raise InputError(f"--shared-frames: expected 0 (sampled together) to {MAX_REFERENCES}, got {shared_frames}")


def references_note(record: dict, count: int) -> str | None:
    """A line on `count` reference frames shown at once to the model of this `pipeline.json`; None when it was trained for them."""
    if count < 2:
        return None
    training = record.get("training")
    if not isinstance(training, dict) or not training.get("several_share"):
        return (
            f"{count} reference frames are given, and this model was trained with one at most; it may not follow them"
        )
    if count > TRAINED_REFERENCES:
        return f"{count} reference frames are given at once, but training shows {TRAINED_REFERENCES} at most; fewer may do better"
    return None


def picture_note(what: str, *, looks_like: str | None, asked: str | None, prompted: bool) -> str | None:
    """A line on a picture or video (`what`) of something else than the model's vocabulary or than the prompt's kind.

    looks_like: the kind that the captioner sees in it. asked: the kind that the prompt names. prompted: whether there is a prompt.
    """
    if asked is None:
        if looks_like is not None:
            return None
        rest = "" if prompted else ", or say what it shows with --prompt if the model knows it"
        return f"the {what} shows none of the kinds that the captioner knows; expect its colours and roughly its front{rest}"
    if looks_like == asked:
        return None
    seen = "nothing it knows" if looks_like is None else with_article(looks_like)
    return (
        f"the prompt names {with_article(asked)}, and in the {what} the captioner sees {seen}; where they differ, the words "
        "mostly win over what is shown: to keep to that, leave the prompt out"
    )


def static_note(clip: OrbitalClip, cameras: Cameras) -> str | None:
    """A line when a camera to sample is far, in direction or scale, from its nearest view of the static `clip`; else None."""
    wanted, given = (functional.normalize(c.positions, dim=-1) for c in (cameras, clip.cameras))
    nearest, index = (wanted @ given.T).max(dim=1)
    degrees = math.degrees(math.acos(float(nearest.min().clamp(-1, 1))))
    if degrees > FAR_DEG:
        return (
            f"--static: a sampled view is {degrees:.0f} degrees from the nearest one of the static clip, "
            "which is shown in its place; give views from all around"
        )
    # The object's size in the frame: focal length over distance, as a share of the frame.
    ours, theirs = (
        c.intrinsics[:, 0, 0] / c.width / c.positions.norm(dim=-1).clamp_min(1e-6) for c in (cameras, clip.cameras)
    )
    scale = theirs[index] / ours
    if float(scale.min()) < 0.8 or float(scale.max()) > 1.25:
        odd = max(scale.tolist(), key=lambda s: abs(math.log(max(s, 1e-6))))
        return f"--static: the clip shows the object {odd:.2f} times as large as training did; it may not be followed"
    return None
