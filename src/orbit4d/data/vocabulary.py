"""The built-in model's vocabulary: which assets it is trained on, what they are called, and how motions are worded."""

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
    "q_animals_Deer.glb": ["a deer", "a brown deer", "a low-poly deer"],
    "q_animals_Bull.glb": ["a bull", "a black bull", "a low-poly bull"],
    "q_animals_Husky.glb": ["a husky", "a dog", "a husky dog", "a low-poly husky"],
    "q_animals_Donkey.glb": ["a donkey", "a grey donkey", "a low-poly donkey"],
    "q_cute_fish_YellowTang.glb": ["a yellow tang", "a yellow fish", "a cute yellow fish"],
    "q_cute_fish_ParrotFish.glb": ["a parrotfish", "a teal fish", "a teal parrotfish with pink spots"],
    "q_cute_fish_Betta.glb": ["a betta", "a betta fish", "a blue fish with red fins"],
    "q_cute_fish_Koi.glb": ["a koi", "a red and white koi", "a koi carp"],
    "kaykit_Barbarian.glb": ["a barbarian", "a cartoon barbarian", "a bearded barbarian with an axe"],
    "kaykit_Rogue_Hooded.glb": ["a rogue", "a hooded rogue", "a rogue in a green hood"],
    "q_platformer_game_Enemy.glb": ["a horned monster", "a green monster with horns", "a round horned monster"],
    "q_platformer_game_Skull.glb": ["a skull", "a hopping skull", "a skull monster"],
    "raylib_greenman.glb": ["a green man", "a small green man", "a green blob with arms"],
    "q_platformer_game_Bouncer.glb": ["a spring", "a bouncing spring", "a red spring board"],
}
"""Asset file -> ways to name it. The first is the plainest. What the recognition bench asks for."""

MORE_NAMES: dict[str, list[str]] = {
    "q_animals_Horse.glb": ["a brown horse", "a low-poly brown horse"],
    "q_animals_ShibaInu.glb": ["a shiba inu", "a shiba inu dog", "an orange and white dog"],
    "kaykit_Rogue.glb": ["a bearded rogue", "a rogue with red hair and a green cape"],
    "kenney_platformer_character.glb": ["a cardboard robot", "a small purple robot with a box for a head"],
    "q_cyberpunk_Character.glb": ["a cyborg", "a white and yellow cyborg"],
    "q_platformer_game_Character_Gun.glb": ["a bunny with a gun", "a blue bunny character with a gun"],
    "q_platformer_game_Hazard_SpikeTrap.glb": ["a spike trap", "a red spike trap"],
    "babylon_cannon.glb": ["a cannon", "a black pirate cannon", "a black cannon on a wooden carriage"],
    "babylon_spellDisk.glb": ["a spell disk", "a teal magic spell disk"],
    "khronos_CesiumMilkTruck.glb": ["a milk truck", "a white delivery truck"],
    "khronos_AnimatedMorphCube.glb": ["a cube", "a grey cube"],
    "sharpgltf_InfiniteSkinnedTentacle.glb": ["a group of tentacles", "white tentacles"],
    "q_cute_fish_ArmoredCatfish.glb": ["a catfish", "a black armored catfish"],
    "q_cute_fish_Blobfish.glb": ["a blobfish", "a pink blobfish"],
    "q_cute_fish_BlueGoldfish.glb": ["a blue goldfish", "a blue goldfish with long fins"],
    "q_cute_fish_ButterflyFish.glb": ["a butterflyfish", "a white and yellow butterflyfish"],
    "q_cute_fish_CardinalFish.glb": ["a cardinalfish", "a red and white striped cardinalfish"],
    "q_cute_fish_CoralGrouper.glb": ["a grouper", "a red coral grouper"],
    "q_cute_fish_Cowfish.glb": ["a cowfish", "a yellow-green cowfish"],
    "q_cute_fish_FlowerHorn.glb": ["a flowerhorn", "a dark red flowerhorn fish"],
    "q_cute_fish_GoblinShark.glb": ["a goblin shark", "a grey goblin shark"],
    "q_cute_fish_Goldfish.glb": ["a goldfish", "an orange and white goldfish"],
    "q_cute_fish_Humphead.glb": ["a humphead", "a dark green humphead fish"],
    "q_cute_fish_MandarinFish.glb": ["a mandarinfish", "an orange and teal mandarinfish"],
    "q_cute_fish_MoorishIdol.glb": ["a moorish idol", "a black and yellow striped fish"],
    "q_cute_fish_Piranha.glb": ["a piranha", "a dark blue piranha"],
    "q_cute_fish_RedSnapper.glb": ["a red snapper", "a red fish with a white belly"],
    "q_cute_fish_RoyalGramma.glb": ["a royal gramma", "a purple and yellow fish"],
    "q_cute_fish_Sunfish.glb": ["a sunfish", "a grey ocean sunfish"],
    "q_cute_fish_Tang.glb": ["a tang", "a yellow and blue tang"],
    "q_cute_fish_Tetra.glb": ["a tetra", "a grey tetra with a red stripe"],
    "q_cute_fish_Tuna.glb": ["a tuna", "a blue and white tuna"],
    "q_cute_fish_ZebraClownFish.glb": ["a zebra clownfish", "a black and white clownfish"],
}
"""The other assets of the training side: the preset `m` trains on them too, the recognition bench does not ask for them."""

ALL_NAMES = NAMES | MORE_NAMES

HELD_OUT_ANIMATIONS: dict[str, str] = {
    "q_animals_Deer.glb": "Attack_Kick",
    "q_animals_Wolf.glb": "Eating",
    "q_animals_Donkey.glb": "Gallop_Jump",
    "q_animals_Husky.glb": "Death",
    "q_cute_fish_Betta.glb": "Attack",
    "q_cute_fish_Koi.glb": "Swimming_Fast",
    "kaykit_Barbarian.glb": "Jump_Full_Short",
    "kaykit_Rogue_Hooded.glb": "Cheer",
    "q_platformer_game_Skull.glb": "Dance",
    "q_platformer_game_Enemy.glb": "Yes",
    "q_platformer_game_Character.glb": "Duck",
    "raylib_robot.glb": "Robot_Punch",
}
"""Asset -> an animation that is never trained on, though another asset is trained on its motion: to test composition."""

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

UNWANTED = ("Jump_Idle", "Jump_Land", "Out_Of_Water", "0_pose")
"""Animations that are part of another, or in which nothing moves."""

_WORDINGS: dict[str, list[str]] = {
    "leaping": ["leaping", "galloping and jumping"],
    "running with a gun": ["running and aiming"],
    "walking with a gun": ["walking and aiming"],
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


_UNNAMED = {
    "cannon": ["recoiling"],
    "cannonMount": ["recoiling"],
    "0": ["driving"],
    "Square": ["morphing"],
    "Track0": ["swaying", "writhing"],
    "SpikeTrap_Activate": ["opening and closing", "thrusting its spikes"],
}
"""Animations whose names say little."""


def motion_words(animation: str) -> list[str]:
    """Wordings for an animation's name in the first model's words: "Attack" -> ["attacking", "lunging to bite"]."""
    words = _UNNAMED.get(animation) or general_words(animation)
    return _WORDINGS.get(words[0], words)
