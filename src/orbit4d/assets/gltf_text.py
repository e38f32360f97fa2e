"""What a glTF file says of itself, as short plain strings: its strings are data from anywhere and end up on terminals."""

from __future__ import annotations

from typing import Any

MAX_ENTRIES = 32
MAX_ROOTS = 8
_MAX_WORD, _MAX_TEXT = 60, 200
_EXTRAS = ("title", "name", "caption", "description", "author", "license", "source", "kind", "motion", "seed")
_DUBLIN_CORE = {
    "dc:title": "title", "dc:creator": "author", "dc:rights": "license", "dc:description": "description",
    "dc:source": "source",
}  # fmt: skip


def plain(value: object, limit: int = _MAX_TEXT) -> str:
    """One printable line of at most `limit` characters: no control characters, escapes or lone surrogates."""
    text = str(value) if isinstance(value, str | int | float | BaseException) else repr(value)
    text = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def word(value: object) -> str:
    """`plain`, short enough for a message."""
    return plain(value, _MAX_WORD)


def read_metadata(document: dict, scene: dict | None) -> dict[str, str]:
    """Title, author, license, caption, copyright, generator ... and the names of the scene and its root nodes.

    From `asset`, its `extras` (as exporters and Sketchfab write them) and XMP packets. Whatever has another form than
    expected is left out: none of it is needed to draw the file.
    """
    asset = document.get("asset")
    asset = asset if isinstance(asset, dict) else {}
    found: dict[str, str] = {}

    def add(key: str, value: object) -> None:
        if isinstance(value, str | int | float) and not isinstance(value, bool) and len(found) < MAX_ENTRIES:
            text = _text(value)
            if text and key not in found:
                found[key] = text

    extras = asset.get("extras")
    extras = extras if isinstance(extras, dict) else {}
    for key in _EXTRAS:
        add(key, extras.get(key))
    for key, value in _xmp(document, asset):
        add(key, value)
    for key in ("copyright", "generator"):
        add(key, asset.get(key))
    scene = scene if isinstance(scene, dict) else {}
    add("scene", scene.get("name"))
    add("nodes", ", ".join(_roots(document, scene)))
    for key, value in list(extras.items())[: 4 * MAX_ENTRIES]:
        add(plain(key, 40), value)
    return found


def _text(value: str | int | float) -> str:
    try:
        return plain(value)
    except ValueError:  # an integer of thousands of digits
        return ""


def _roots(document: dict, scene: dict) -> list[str]:
    nodes, roots = document.get("nodes"), scene.get("nodes")
    if not isinstance(nodes, list) or not isinstance(roots, list):
        return []
    records = [nodes[i] for i in roots[:MAX_ROOTS] if isinstance(i, int) and 0 <= i < len(nodes)]
    names = [record.get("name") for record in records if isinstance(record, dict)]
    return [word(name) for name in names if isinstance(name, str) and name]


def _xmp(document: dict, asset: dict) -> list[tuple[str, object]]:
    """Dublin Core entries of the packet that `asset` names (KHR_xmp_json_ld); lists give their first entry."""
    found: list[tuple[str, object]] = []
    try:
        number = asset["extensions"]["KHR_xmp_json_ld"]["packet"]
        packet: dict[str, Any] = document["extensions"]["KHR_xmp_json_ld"]["packets"][number]
        for key, name in _DUBLIN_CORE.items():
            value = packet.get(key)
            for _ in range(4):
                if isinstance(value, dict):
                    value = next((value[k] for k in ("@value", "@list", "@set", "rdf:_1") if k in value), None)
                elif isinstance(value, list):
                    value = value[0] if value else None
            found.append((name, value))
    except (AttributeError, LookupError, TypeError):
        return []
    return found
