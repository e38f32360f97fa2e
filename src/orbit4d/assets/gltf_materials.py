"""glTF materials as the renderer needs them: base colour, texture with its sampler and transform, alpha mode."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..errors import InputError
from .gltf_container import Container

MAX_TEXTURE_SIDE = 8192
_IMAGE_EXTENSIONS = ("EXT_texture_webp", "EXT_texture_avif")


@dataclass(kw_only=True)
class Material:
    """PBR-lite: linear base colour factor (4,), optional sRGB texture (h, w, 4) uint8, alpha mode, flags.

    `emissive` (3,) is linear light that is added, times the sRGB `emissive_texture` (h, w, 4) where there is one, which is
    sampled with the base colour's coordinates and sampler.
    """

    color: np.ndarray
    texture: np.ndarray | None = None
    uv_set: int = 0
    uv_transform: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    wrap: tuple[bool, bool] = (True, True)
    nearest: bool = False
    alpha_mode: str = "OPAQUE"
    alpha_cutoff: float = 0.5
    unlit: bool = False
    double_sided: bool = False
    emissive: np.ndarray = field(default_factory=lambda: np.zeros(3, np.float32))
    emissive_texture: np.ndarray | None = None


class Materials:
    """Reads the materials of a file, each once; images shared by materials are decoded once."""

    def __init__(self, file: Container) -> None:
        self.file = file
        self._materials: dict[int | None, Material] = {}
        self._images: dict[int, np.ndarray] = {}

    def __getitem__(self, index: int | None) -> Material:
        if index not in self._materials:
            self._materials[index] = self._read({} if index is None else self.file.record("materials", index))
        return self._materials[index]

    def _read(self, record: dict) -> Material:
        pbr, extensions = record.get("pbrMetallicRoughness", {}), record.get("extensions", {})
        specular = extensions.get("KHR_materials_pbrSpecularGlossiness", {})
        factor = np.array(pbr.get("baseColorFactor", specular.get("diffuseFactor", (1, 1, 1, 1))), dtype=np.float32)
        mode = record.get("alphaMode", "OPAQUE")
        if factor.shape != (4,) or not np.isfinite(factor).all() or mode not in ("OPAQUE", "MASK", "BLEND"):
            raise InputError(
                f"{self.file.path}: material {str(record.get('name', '?'))[:60]!r} needs 4 finite colour factors and "
                f"alphaMode OPAQUE, MASK or BLEND, got {factor.tolist()} and {str(mode)[:20]!r}; export the file again"
            )
        out = Material(
            color=factor,
            alpha_mode=mode,
            alpha_cutoff=float(record.get("alphaCutoff", 0.5)),
            unlit="KHR_materials_unlit" in extensions,
        )
        info = pbr.get("baseColorTexture", specular.get("diffuseTexture"))
        if info is not None:
            self._texture(info, out)
        return out

    def _texture(self, info: dict, out: Material) -> None:
        texture = self.file.record("textures", info["index"])
        others = [texture.get("extensions", {}).get(name, {}).get("source") for name in _IMAGE_EXTENSIONS]
        source = next((s for s in (texture.get("source"), *others) if s is not None), None)
        if source is None:
            raise InputError(f"{self.file.path}: a texture has no PNG, JPEG, WebP or AVIF image; convert its textures")
        if source not in self._images:
            self._images[source] = self._image(self.file.record("images", source))
        out.texture = self._images[source]
        out.uv_set = int(info.get("texCoord", 0))
        sampler = self.file.record("samplers", texture["sampler"]) if "sampler" in texture else {}
        out.wrap = (sampler.get("wrapS", 10497) != 33071, sampler.get("wrapT", 10497) != 33071)
        out.nearest = sampler.get("magFilter") == 9728
        transform = info.get("extensions", {}).get("KHR_texture_transform")
        if transform is not None:
            out.uv_set = int(transform.get("texCoord", out.uv_set))
            out.uv_transform = _uv_transform(transform)

    def _image(self, record: dict) -> np.ndarray:
        path = self.file.path
        if "bufferView" in record:
            data, start, length, _ = self.file.view(record["bufferView"])
            data = data[start : start + length]
        else:
            data = self.file.uri(record["uri"])
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "AVIF")) as picture:
                width, height = picture.size
                if max(width, height) > MAX_TEXTURE_SIDE:
                    raise InputError(
                        f"{path}: a texture of {width} x {height} pixels; at most {MAX_TEXTURE_SIDE} a side is read"
                    )
                self.file.spend(width * height * 4, f"a texture of {width} x {height} pixels")
                return np.asarray(picture.convert("RGBA"))
        except InputError:
            raise
        except Exception as error:  # Pillow raises many kinds for damaged images
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"{path}: a texture cannot be decoded ({reason}); export the file again") from error


def _uv_transform(record: dict) -> np.ndarray:
    """(3, 3). The rotation follows the extension's text and its test model (image clockwise, v down), not its GLSL."""
    (ox, oy), (sx, sy) = record.get("offset", (0, 0)), record.get("scale", (1, 1))
    c, s = np.cos(float(record.get("rotation", 0))), np.sin(float(record.get("rotation", 0)))
    return np.array([[sx * c, sy * s, ox], [-sx * s, sy * c, oy], [0, 0, 1]], dtype=np.float32)
