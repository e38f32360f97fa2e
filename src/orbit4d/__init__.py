"""orbit4d: text, an image or a static 3D asset in; a dynamic 3D Gaussian model out."""

import os

# OpenMP threads that spin while they wait make torch many times slower as soon as another process wants a core. Takes
# effect when orbit4d is imported before torch, as the command does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
