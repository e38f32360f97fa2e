"""What the denoiser is built of: Fourier features, attention, modulated blocks, one stream with its own parameters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .geometry import RelativePose
from .machine import cpu_multiplies_tiles


def fourier(x: Tensor, count: int) -> Tensor:
    """(..., d) -> (..., d (2 count + 1)): x with sin and cos of pi 2^k x, k < count."""
    angles = x[..., None] * (math.pi * 2.0 ** torch.arange(count, device=x.device, dtype=x.dtype))
    return torch.cat([x[..., None], angles.sin(), angles.cos()], dim=-1).flatten(-2)


def harmonics(angle: Tensor, count: int) -> Tensor:
    """(...,) radians -> (..., 2 count): sin and cos of the first `count` harmonics."""
    angles = angle[..., None] * torch.arange(1, count + 1, device=angle.device, dtype=angle.dtype)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


MASKED = -1e4
"""Added to the scores of keys that must not be seen: exp of it is 0, and bf16 holds it."""


TILES = cpu_multiplies_tiles()


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention (n, heads, l, d).

    In bf16 on a CPU two plain products are up to 5 times faster than the fused kernel at our lengths (64 to 1,700). But where the
    CPU multiplies tiles the fused kernel's way forth is 1.5 to 3 times faster than they are: it is used there where no way back
    is needed. Everywhere else the fused kernel is used.
    """
    forth_only = TILES and not (torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad))
    if v.device.type != "cpu" or v.dtype != torch.bfloat16 or forth_only:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    k = k * k.shape[-1] ** -0.5
    if mask is not None and mask.shape[-2] == 1:
        # The same keys for all queries: one more channel, q' k' = q k + bias, spares two passes over the scores.
        bias = torch.zeros_like(mask, dtype=k.dtype).masked_fill_(~mask, MASKED)
        k = torch.cat([k, bias.transpose(-1, -2).expand(*k.shape[:-1], 1)], dim=-1)
        q = torch.cat([q, q.new_ones(1).expand(*q.shape[:-1], 1)], dim=-1)
        mask = None
    scores = q @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ v


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(head_width), nn.RMSNorm(head_width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None, pose: RelativePose | None = None) -> Tensor:
        """x (n, l, d) attends to itself and to context (n, c, d); mask broadcasts to (n, 1, l, l + c), True = attend.
        With `pose` tokens see each other through their relative poses."""
        joint = self.qkv(torch.cat([x, context], dim=1)).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        q, k, v = joint.unbind(2)
        q, k = self.q_norm(q[:, :, : x.shape[1]].float()), self.k_norm(k.float())
        if pose is None:
            y = _attend(q.to(v.dtype), k.to(v.dtype), v, mask)
        else:
            length = x.shape[1]
            k, v = pose.key(k, length).to(v.dtype), pose.value(v, length)
            y = pose.out(_attend(pose.query(q).to(v.dtype), k, v, mask))
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm attention and MLP, modulated per frame (adaLN with one shared projection and a table per block)."""

    def __init__(self, width: int, heads: int, read_width: int = 0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.table = nn.Parameter(torch.zeros(6, width))
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.mlp[-1].weight)  # type: ignore[arg-type]
        self.read = nn.Linear(read_width, width) if read_width else None

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        context: Tensor,
        mask: Tensor | None,
        *,
        per_frame: bool,
        other: Tensor | None = None,
        pose: RelativePose | None = None,
    ) -> Tensor:
        """x (b, f, p, d); modulation (b, f, 6, d); context (b, c, d). `per_frame` attends within each frame only, `pose` acts
        on attention over all frames."""
        b, f, p, d = x.shape
        if self.read is not None and other is not None:
            x = x + self.read(other)
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table)[:, :, :, None].unbind(2)
        y = self.norm1(x) * (1 + scale1) + shift1
        if per_frame:
            tiled = context[:, None].expand(b, f, -1, d).flatten(0, 1)
            y = self.attention(y.flatten(0, 1), tiled, mask).unflatten(0, (b, f))
        else:
            y = self.attention(y.flatten(1, 2), context, mask, pose).unflatten(1, (f, p))
        x = x + gate1 * y
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class Stream(nn.Module):
    """One stream's own parameters: embedding, modulation, text projection, blocks, head."""

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        width: int,
        heads: int,
        depth: int,
        condition: int,
        text: int,
        tokens: int,
        read: int,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.condition = nn.Sequential(nn.Linear(condition, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled_text = nn.Linear(text, width)
        self.text = nn.Linear(text, width)
        self.null_text = nn.Parameter(0.02 * torch.randn(1, width))
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList([Block(width, heads, read) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, outputs)
        for layer in (self.modulation, self.final, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.modulation.bias.view(6, width)[[2, 5]] = 0.5  # residual gates start half open

    def conditioned(self, condition: Tensor, pooled: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Per-frame condition (b, f, k), pooled text (b, text), extra embedding (b, d) -> condition vector (b, f, d),
        modulation (b, f, 6, d)."""
        vector = self.condition(condition) + self.pooled_text(pooled)[:, None]
        vector = F.silu(vector if extra is None else vector + extra[:, None])
        return vector, self.modulation(vector).unflatten(-1, (6, -1))

    def context(self, text: Tensor) -> Tensor:
        """Text states (b, l, text) -> context (b, 1 + l, d); the first token is always there, so that attention is defined."""
        return torch.cat([self.null_text.expand(text.shape[0], 1, -1), self.text(text)], dim=1)

    def output(self, z: Tensor, vector: Tensor) -> Tensor:
        shift, scale = self.final(vector)[:, :, None].chunk(2, dim=-1)
        return self.head(self.norm(z) * (1 + scale) + shift)
