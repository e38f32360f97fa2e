"""The sorts of four-legged animals: proportions and the colours that suit them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sort:
    """Proportions of a four-legged animal: lengths in glTF units, about 1 from nose to tail."""

    legs: float = 0.32
    length: float = 0.34
    width: float = 0.17
    height: float = 0.17
    neck: float = 0.12
    lean: float = 0.6
    head: float = 0.17
    muzzle: float = 0.1
    snout: float = 0.5
    ears: str = "pointed"
    tail: str = "long"
    thick: float = 0.062
    extras: tuple[str, ...] = ()


SORTS = {
    "dog": Sort(muzzle=0.13, ears="floppy", tail="up"),
    "cat": Sort(legs=0.27, width=0.145, height=0.145, head=0.175, muzzle=0.055, tail="long", extras=("whiskers",)),
    "fox": Sort(legs=0.27, width=0.14, height=0.14, muzzle=0.16, snout=0.36, tail="bushy"),
    "horse": Sort(
        legs=0.47,
        length=0.38,
        width=0.17,
        height=0.18,
        neck=0.3,
        lean=0.75,
        head=0.125,
        muzzle=0.19,
        snout=0.72,
        tail="hair",
        thick=0.058,
        extras=("mane",),
    ),
    "giraffe": Sort(
        legs=0.56,
        length=0.3,
        width=0.16,
        height=0.17,
        neck=0.68,
        lean=0.3,
        head=0.11,
        muzzle=0.13,
        snout=0.7,
        ears="side",
        tail="tuft",
        thick=0.05,
        extras=("knobs",),
    ),
    "elephant": Sort(
        legs=0.32,
        length=0.36,
        width=0.27,
        height=0.27,
        neck=0.05,
        lean=1.0,
        head=0.2,
        muzzle=0.0,
        ears="huge",
        tail="tuft",
        thick=0.1,
        extras=("trunk", "tusks"),
    ),
    "pig": Sort(
        legs=0.17,
        length=0.32,
        width=0.21,
        height=0.2,
        neck=0.02,
        lean=1.2,
        head=0.17,
        muzzle=0.09,
        snout=0.55,
        ears="small",
        tail="curl",
        thick=0.06,
        extras=("disc",),
    ),
    "bear": Sort(
        legs=0.24,
        length=0.34,
        width=0.24,
        height=0.24,
        neck=0.06,
        lean=0.9,
        head=0.19,
        muzzle=0.1,
        snout=0.52,
        ears="round",
        tail="stub",
        thick=0.09,
    ),
    "cow": Sort(
        legs=0.31,
        length=0.38,
        width=0.2,
        height=0.2,
        neck=0.12,
        lean=1.0,
        head=0.15,
        muzzle=0.12,
        snout=0.8,
        ears="side",
        tail="tuft",
        extras=("horns",),
    ),
    "lion": Sort(
        legs=0.3,
        length=0.36,
        width=0.17,
        height=0.17,
        neck=0.1,
        head=0.17,
        muzzle=0.09,
        snout=0.6,
        ears="round",
        tail="tuft",
        extras=("ruff",),
    ),
    "sheep": Sort(
        legs=0.24,
        length=0.3,
        width=0.2,
        height=0.2,
        neck=0.08,
        lean=0.9,
        head=0.13,
        muzzle=0.11,
        snout=0.7,
        ears="side",
        tail="stub",
        thick=0.045,
        extras=("wool",),
    ),
    "rabbit": Sort(
        legs=0.18,
        length=0.23,
        width=0.16,
        height=0.17,
        neck=0.06,
        lean=0.5,
        head=0.17,
        muzzle=0.05,
        ears="long",
        tail="puff",
        thick=0.055,
    ),
}

MAINS = {
    "dog": ("brown", "tan", "white", "black", "cream"),
    "cat": ("orange", "grey", "black", "white", "cream"),
    "fox": ("orange",),
    "horse": ("brown", "white", "black", "tan"),
    "giraffe": ("yellow", "tan"),
    "elephant": ("grey", "sky blue"),
    "pig": ("pink",),
    "bear": ("brown", "white", "black"),
    "cow": ("white", "brown", "black"),
    "lion": ("tan", "yellow", "orange"),
    "sheep": ("white", "cream", "grey"),
    "rabbit": ("white", "grey", "brown", "pink"),
}
