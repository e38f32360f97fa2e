"""The first model's vocabulary: which assets it is trained on, what they are called, and how motions are worded."""

from __future__ import annotations

from .wordings import motion_words as general_words

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

_WORDINGS: dict[str, list[str]] = {
    "leaping": ["leaping", "galloping and jumping"],
    "running with a gun": ["aiming"],
    "walking with a gun": ["aiming"],
    "aiming a gun": ["aiming"],
    "shooting": ["aiming"],
    "chopping": ["attacking with a sword", "attacking"],
    "slicing": ["attacking with a sword", "attacking"],
    "stabbing": ["attacking with a sword", "attacking"],
    "attacking with a sword": ["attacking with a sword", "attacking"],
    "biting": ["attacking", "lunging to bite"],
    "attacking": ["attacking", "lunging to bite"],
    "dying": ["dying", "falling over"],
    "blocking": ["blocking", "ducking"],
    "ducking": ["blocking", "ducking"],
    "rolling": ["dodging"],
}
"""What these assets' motions are called besides, or instead: the model was trained on these words."""


def motion_words(animation: str) -> list[str]:
    """Wordings for an animation's name in the first model's words: "Attack" -> ["attacking", "lunging to bite"]."""
    words = general_words(animation)
    return _WORDINGS.get(words[0], words)
