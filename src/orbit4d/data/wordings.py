"""Words for names: what an animation's name says the object does, what a file's name or a caption says the object is.

Nothing that the name does not say: an attack is no bite, and a chop needs no sword.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

MAX_NAME = 400
# A pattern must begin where a word of the animation's name begins; the first that is found decides.
_MOTIONS: list[tuple[str, list[str]]] = [
    (r"gallop.*jump", ["leaping", "galloping and jumping"]),
    (r"run.*jump|walk_?jump", ["leaping"]),
    (r"swim.*fast", ["swimming fast"]),
    (r"fast_fly", ["flying fast"]),
    (r"gallop", ["running", "galloping"]),
    (r"run.*(gun|shoot)", ["running with a gun"]),
    (r"walk.*(gun|shoot)", ["walking with a gun"]),
    (r"idle.*(gun|shoot)", ["aiming a gun"]),
    (r"shoot", ["shooting"]),
    (r"run(?!e)|sprint|jog", ["running"]),
    (r"walk|strafe", ["walking"]),
    (r"swim.*impulse|impulse", ["swimming in bursts"]),
    (r"swim", ["swimming"]),
    (r"head_?butt", ["headbutting"]),
    (r"kick", ["kicking"]),
    (r"punch", ["punching"]),
    (r"chop", ["chopping"]),
    (r"slic(e|ing)", ["slicing"]),
    (r"stab", ["stabbing"]),
    (r"sword", ["attacking with a sword"]),
    (r"bite|biting", ["biting"]),
    (r"attack|weapon", ["attacking"]),
    (r"death|dead|die|dying", ["dying"]),
    (r"out_of_water|out.*water", ["flopping out of water"]),
    (r"eat(?!h)", ["eating"]),
    (r"jump|leap|hop", ["jumping"]),
    (r"bounc(e(?!r)|ing)", ["bouncing"]),
    (r"danc", ["dancing"]),
    (r"wav(e|ing)", ["waving"]),
    (r"cheer|victory|celebrat", ["cheering"]),
    (r"throw", ["throwing"]),
    (r"block", ["blocking"]),
    (r"duck", ["ducking"]),
    (r"hit", ["being hit", "flinching"]),
    (r"thumbs", ["giving a thumbs up"]),
    (r"sit(?!e)", ["sitting down"]),
    (r"stand", ["standing up"]),
    (r"dodge|dodging", ["dodging"]),
    (r"roll", ["rolling"]),
    (r"interact|use(_|$)", ["reaching out"]),
    (r"fly(?!wheel)|flap", ["flying"]),
    (r"no(_|$)", ["shaking its head"]),
    (r"yes(_|$)|nod(_|ding|$)", ["nodding"]),
    (r"idle", ["standing", "idling"]),
    (r"spin|rotat|turn", ["spinning", "turning around"]),
    (r"crouch|sneak", ["crouching"]),
    (r"crawl", ["crawling"]),
    (r"climb", ["climbing"]),
    (r"open", ["opening"]),
    (r"clos(e|ing)", ["closing"]),
    (r"sway", ["swaying"]),
    (r"shak", ["shaking"]),
    (r"clap", ["clapping"]),
    (r"spell|cast(_|ing|$)", ["casting a spell"]),
    (r"pick_?up", ["picking something up"]),
    (r"lie(_|$)|lying", ["lying down"]),
    (r"sleep", ["sleeping"]),
    (r"fall", ["falling"]),
    (r"land(_|ing|$)", ["landing"]),
    (r"float|hover", ["hovering"]),
    (r"breath", ["breathing"]),
    (r"morph", ["morphing"]),
    (r"driv", ["driving"]),
    (r"pose(_|$)|static", ["holding still"]),
]
_MOTION = [(re.compile(f"(?:^|_)(?:{pattern})"), words) for pattern, words in _MOTIONS]
_VERBS = {word for _, words in _MOTIONS for phrase in words for word in phrase.split() if word.endswith("ing")} | {
    "activating", "bending", "curling", "chopping", "cheering", "floating", "growing", "headbutting", "lunging", "looking",
    "nodding", "performing", "playing", "recoiling", "riding", "shooting", "shrinking", "swinging", "taking", "talking",
    "trotting", "twisting", "swishing", "firing", "moving",
}  # fmt: skip
_AFTER_VERB = {
    "a", "an", "and", "around", "at", "away", "back", "backwards", "down", "fast", "forward", "forwards", "from", "her",
    "his", "in", "into", "its", "like", "off", "on", "or", "out", "over", "quickly", "round", "sideways", "slowly", "the",
    "their", "through", "to", "towards", "up", "while", "with",
}  # fmt: skip
_NOUNS_IN_ING = {
    "building",
    "ceiling",
    "duckling",
    "king",
    "ring",
    "sapling",
    "spring",
    "sting",
    "string",
    "thing",
    "wing",
}
_NOISE = {
    "anim", "animated", "animation", "armature", "asset", "blend", "default", "download", "export", "exported", "fbx",
    "final", "glb", "gltf", "lod", "mesh", "model", "node", "object", "obj", "rig", "rigged", "root", "scene",
    "sketchfab", "test", "textured", "untitled",
}  # fmt: skip


def motion_words(animation: str) -> list[str]:
    """Wordings for an animation's name, e.g. "AnimalArmature|Gallop" -> ["running", "galloping"]; ["moving"] if it says nothing."""
    words = _words(animation.rsplit("|", 1)[-1])
    name = "_".join(words)
    for pattern, wordings in _MOTION:
        if pattern.search(name):
            return wordings
    return [w for w in words if w.endswith("ing") and len(w) > 4 and w not in _NOUNS_IN_ING][:1] or ["moving"]


def noun_of(caption: str) -> str | None:
    """What a caption calls the object, without what it does: "a low-poly fox running" -> "a low-poly fox"; None if unclear."""
    words = caption.split()
    for i, word in enumerate(words):
        verb = word.strip(",").lower()
        ends = i + 1 == len(words) or words[i + 1].strip(",").lower() in _AFTER_VERB
        if verb in _VERBS and ends:
            noun = " ".join(words[:i]).rstrip(",")
            return noun if i >= 2 else None
    return None


def combine(names: Sequence[str], motions: Sequence[str]) -> list[str]:
    """Every wording of one clip, plainest first, the bare name last (motion unspecified)."""
    return [f"{name} {motion}" for motion in motions for name in names] + list(names[:1])


def clean_name(name: str) -> str:
    """A file's name as words: "q_animals_HorseWhite_v2.glb" -> "animals horse white"; "" where it says nothing."""
    stem = PurePosixPath(name).name.rsplit(".", 1)[0] if "." in name else PurePosixPath(name).name
    if re.fullmatch(r"[0-9a-fA-F-]{16,}", stem):  # an id
        return ""
    words = [w for w in _words(stem) if len(w) > 1 and w not in _NOISE and not re.fullmatch(r"v?\d+|lod\d*", w)]
    return " ".join(words)


def _words(name: str) -> list[str]:
    """Lower-case words of a name in camelCase, snake_case or with digits; "Idle_2HandedSword" -> idle 2 handed sword."""
    spaced = re.sub(
        r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Z])", " ", name[:MAX_NAME]
    )
    return [w.lower() for w in re.split(r"[\W_]+", spaced) if w]


def with_article(noun: str) -> str:
    """A noun phrase with its article: "fox" -> "a fox", "the fox" as it is."""
    if re.match(r"(an?|the|some)\s", noun):
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
