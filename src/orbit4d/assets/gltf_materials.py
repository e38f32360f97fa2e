"""glTF materials as the renderer needs them: base colour, emission, textures with their sampler and transform, alpha mode."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from .gltf_container import Container
from .gltf_text import word

MAX_TEXTURE_SIDE = 8192
MAX_PIXELS = 192 * 2**20
"""Of all textures of a file: a picture of a few kilobytes may decode to any size, and takes its time."""
MAX_EMISSION = 16.0
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
        self._pixels = 0

    def __getitem__(self, index: Any) -> Material:
        if index not in self._materials:
            self._materials[index] = self._read({} if index is None else self.file.record("materials", index))
        return self._materials[index]

    def _read(self, record: dict) -> Material:
        pbr, extensions = record.get("pbrMetallicRoughness", {}), record.get("extensions", {})
        specular = extensions.get("KHR_materials_pbrSpecularGlossiness", {})
        mode = record.get("alphaMode", "OPAQUE")
        if mode not in ("OPAQUE", "MASK", "BLEND"):
            raise InputError(
                f"{self.file.path}: material {word(record.get('name', '?'))!r} has alphaMode {word(mode)!r}, "
                "expected OPAQUE, MASK or BLEND; export the file again"
            )
        factor, info = pbr.get("baseColorFactor", (1, 1, 1, 1)), pbr.get("baseColorTexture")
        if specular and not ("baseColorFactor" in pbr or "baseColorTexture" in pbr):
            factor, info = specular.get("diffuseFactor", (1, 1, 1, 1)), specular.get("diffuseTexture")
        strength = extensions.get("KHR_materials_emissive_strength", {}).get("emissiveStrength", 1)
        emissive = self._numbers(record, "emissiveFactor", record.get("emissiveFactor", (0, 0, 0)), 3)
        emissive = emissive * self._numbers(record, "emissiveStrength", (strength,), 1)
        out = Material(
            color=self._numbers(record, "colour", factor, 4).clip(0, 1),
            alpha_mode=mode,
            alpha_cutoff=float(self._numbers(record, "alphaCutoff", (record.get("alphaCutoff", 0.5),), 1)[0]),
            unlit="KHR_materials_unlit" in extensions,
            double_sided=record.get("doubleSided") is True,
            emissive=emissive.clip(0, MAX_EMISSION).astype(np.float32),
        )
        if info is not None:
            out.texture = self._texture(info, out)
        glow = record.get("emissiveTexture")
        if glow is not None and out.emissive.any():
            # One set of coordinates serves both: the base colour's, where it has a texture.
            out.emissive_texture = self._texture(glow, Material(color=out.color) if info is not None else out)
        return out

    def _numbers(self, record: dict, key: str, value: Any, count: int) -> np.ndarray:
        """(count,) finite float32."""
        out = np.array(value, dtype=float)
        if out.shape != (count,) or not np.isfinite(out).all():
            raise InputError(
                f"{self.file.path}: material {word(record.get('name', '?'))!r} needs {count} finite numbers as its {key}, "
                f"got {word(value)}; export the file again"
            )
        return out.clip(-1e30, 1e30).astype(np.float32)

    def _texture(self, info: dict, out: Material) -> np.ndarray:
        """The image that `info` names; its coordinates and sampler are put into `out`."""
        texture = self.file.record("textures", info["index"])
        extensions = texture.get("extensions", {})
        others = [extensions.get(name, {}).get("source") for name in _IMAGE_EXTENSIONS]
        source = next((s for s in (texture.get("source"), *others) if s is not None), None)
        if source is None:
            kind = ", ".join(word(name) for name in extensions) or "none"
            raise InputError(
                f"{self.file.path}: a texture has no PNG, JPEG, WebP or AVIF image (extensions: {word(kind)}); convert its "
                "textures first (`gltf-transform png IN OUT`)"
            )
        if source not in self._images:
            self._images[source] = self._image(self.file.record("images", source))
        sampler = self.file.record("samplers", texture["sampler"]) if "sampler" in texture else {}
        out.wrap = (sampler.get("wrapS", 10497) != 33071, sampler.get("wrapT", 10497) != 33071)
        out.nearest = sampler.get("magFilter") == 9728
        out.uv_set = int(info.get("texCoord", 0))
        transform = info.get("extensions", {}).get("KHR_texture_transform")
        if transform is not None:
            out.uv_set = int(transform.get("texCoord", out.uv_set))
            out.uv_transform = self._uv_transform(transform)
        return self._images[source]

    def _image(self, record: dict) -> np.ndarray:
        path = self.file.path
        if "bufferView" in record:
            data, start, length, _ = self.file.view(record["bufferView"])
            data = data[start : start + length]
        else:
            data = self.file.uri(record["uri"])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its own limit on pixels is above MAX_TEXTURE_SIDE squared
                return self._decode(bytes(data))
        except InputError:
            raise
        except Exception as error:  # Pillow raises many kinds for damaged images
            raise InputError(f"{path}: a texture cannot be decoded ({word(error)}); export the file again") from error

    def _decode(self, data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "AVIF")) as picture:
            width, height = picture.size
            if max(width, height) > MAX_TEXTURE_SIDE:
                raise InputError(
                    f"{self.file.path}: a texture of {width} x {height} pixels; at most {MAX_TEXTURE_SIDE} a side is read"
                )
            self._pixels += width * height
            if self._pixels > MAX_PIXELS:
                raise InputError(
                    f"{self.file.path}: more than {MAX_PIXELS >> 20} million pixels of textures; make them smaller "
                    "(`gltf-transform resize --width 1024 --height 1024 IN OUT`)"
                )
            self.file.spend(width * height * 4, f"a texture of {width} x {height} pixels")
            if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip
                grey = np.asarray(picture).astype(np.int64) >> 8
                return np.asarray(Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGBA"))
            return np.asarray(picture.convert("RGBA"))

    def _uv_transform(self, record: dict) -> np.ndarray:
        """(3, 3). The rotation follows the extension's text and its test model (image clockwise, v down), not its GLSL."""
        ox, oy = self._numbers({}, "texture offset", record.get("offset", (0, 0)), 2)
        sx, sy = self._numbers({}, "texture scale", record.get("scale", (1, 1)), 2)
        angle = float(self._numbers({}, "texture rotation", (record.get("rotation", 0),), 1)[0])
        c, s = np.cos(angle), np.sin(angle)
        return np.array([[sx * c, sy * s, ox], [-sx * s, sy * c, oy], [0, 0, 1]], dtype=np.float32)
