"""The toybox: an unlimited, seeded supply of animated, captioned toys as real glTF.

Some twenty kinds (animals, people, vehicles, plants, things), each of several sorts and with ten or more named motions.
Shapes, colours, patterns and extra parts vary with the seed; every animation is a seamless loop. Skins, morph targets and
node animation all occur, as do vertex colours and textures, so that a toy takes the way of any other asset.
"""

from .kinds import KINDS, MOTIONS
from .toys import VERSION, Toy, make_toy
from .writing import MAX_COUNT, write_toybox

__all__ = ["KINDS", "MAX_COUNT", "MOTIONS", "VERSION", "Toy", "make_toy", "write_toybox"]
