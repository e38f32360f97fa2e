"""The first model's vocabulary: which assets it is trained on, what they are called, and how motions are worded."""

from __future__ import annotations

import re

NAMES: dict[str, list[str]] = {
    "q_animals_Fox.glb": ["a fox", "a low-poly fox", "an orange fox"],
    "q_animals_Wolf.glb": ["a wolf", "a grey wolf", "a low-poly wolf"],
    "q_animals_Cow.glb": ["a cow", "a brown cow", "a low-poly cow"],
    "q_animals_Horse_White.glb": ["a horse", "a white horse", "a low-poly white horse"],
    "q_cute_fish_Clownfish.glb": ["a clownfish", "a fish", "an orange clownfish", "a cute clownfish"],
    "q_cute_fish_BlueTang.glb": ["a blue tang", "a blue fish", "a blue tang fish"],
    "q_cute_fish_Shark.glb": ["a shark", "a cartoon shark", "a cute shark"],
    "raylib_robot.glb": ["a robot", "a yellow robot", "a cartoon robot"],
    "kaykit_Knight.glb": ["a knight", "a cartoon knight", "a knight with a sword and a shield"],
    "q_platformer_game_Character.glb": ["a bunny", "a person in a blue bunny suit", "a blue bunny character"],
    "q_monster_Slime.glb": ["a slime", "a green slime", "a green slime monster"],
    "q_monster_Bat.glb": ["a bat", "a purple bat", "a purple cartoon bat"],
    "q_platformer_game_Crab.glb": ["a crab", "a red crab", "a red cartoon crab"],
    "q_easy_enemies_Frog.glb": ["a frog", "a green frog", "a low-poly green frog"],
}
"""Asset file -> ways to name it. The first is the plainest."""

KAYKIT_ANIMATIONS = [
    "Walking_A",
    "Running_A",
    "Idle",
    "Cheer",
    "Death_A",
    "1H_Melee_Attack_Chop",
    "1H_Melee_Attack_Slice_Horizontal",
    "Block",
    "Jump_Full_Short",
    "Interact",
    "Throw",
    "Unarmed_Melee_Attack_Kick",
    "Sit_Floor_Down",
    "Dodge_Left",
]
"""KayKit characters hold 76 animations; these 14 are used so that one asset does not outweigh the others."""

_MOTIONS: list[tuple[str, list[str]]] = [
    (r"gallop.*jump|run.*jump|walkjump", ["leaping", "galloping and jumping"]),
    (r"swim.*fast", ["swimming fast"]),
    (r"fast_fly", ["flying fast"]),
    (r"gallop", ["running", "galloping"]),
    (r"run.*(gun|shoot)|walk.*(gun|shoot)|idle.*(gun|shoot)|shoot", ["aiming"]),
    (r"run", ["running"]),
    (r"walk|strafe", ["walking"]),
    (r"swim.*impulse|impulse", ["swimming in bursts"]),
    (r"swim", ["swimming"]),
    (r"headbutt", ["headbutting"]),
    (r"kick", ["kicking"]),
    (r"punch", ["punching"]),
    (r"chop|slice|stab|weapon|sword", ["attacking with a sword", "attacking"]),
    (r"bite|attack", ["attacking", "lunging to bite"]),
    (r"death|die", ["dying", "falling over"]),
    (r"out_of_water|out.*water", ["flopping out of water"]),
    (r"eat", ["eating"]),
    (r"jump", ["jumping"]),
    (r"bounce", ["bouncing"]),
    (r"danc", ["dancing"]),
    (r"wave", ["waving"]),
    (r"cheer", ["cheering"]),
    (r"throw", ["throwing"]),
    (r"block|duck", ["blocking", "ducking"]),
    (r"hit", ["being hit", "flinching"]),
    (r"thumbs", ["giving a thumbs up"]),
    (r"sit", ["sitting down"]),
    (r"stand", ["standing up"]),
    (r"dodge|roll", ["dodging"]),
    (r"interact|use", ["reaching out"]),
    (r"fly|flap", ["flying"]),
    (r"(^|_)no($|_)", ["shaking its head"]),
    (r"(^|_)yes($|_)", ["nodding"]),
    (r"idle", ["standing", "idling"]),
]


def motion_words(animation: str) -> list[str]:
    """Wordings for an animation's name, e.g. "AnimalArmature|Gallop" -> ["running", "moving fast"]; ["moving"] if unknown."""
    name = animation.rsplit("|", 1)[-1].lower()
    for pattern, words in _MOTIONS:
        if re.search(pattern, name):
            return words
    return ["moving"]


def captions(names: list[str], motions: list[str]) -> list[str]:
    """Every wording of one clip, plainest first, the bare name last (motion unspecified)."""
    return [f"{name} {motion}" for motion in motions for name in names] + names[:1]


def declared_vocabulary() -> list[str]:
    """The plain names a prompt may use."""
    return [names[0] for names in NAMES.values()]
