"""The little of diffusers that the denoiser is built on, for machines without it; `train.py` puts it on the path only there."""
