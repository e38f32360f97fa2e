"""What curation did, for people: one HTML page that needs nothing else, two contact sheets as PNG, and the counts as JSON.

Everything that comes from files is escaped: names and reasons may hold anything.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..files import atomic_path
from .curation import CurationRules, orbit_pairs
from .curation_plots import Threshold, bar, histogram, ssim_plane
from .sample import Sample, on_white

THUMBNAILS, THUMBNAIL_SIDE = 4, 96
SHOWN_KEPT, SHOWN_DROPPED = 60, 12
"""Tiles of kept animations, and of dropped ones for each rule."""
MAX_ROWS = 5000
MAX_KINDS = 30
RULES = {
    "static": "the front view hardly changes",
    "violent": "the front view changes too abruptly",
    "leaves-frame": "the object touches the border of an orbital frame",
    "nearly-empty": "hardly anything is seen in an orbital frame",
    "one-colour": "the object is drawn in one flat colour",
    "duplicate": "exactly the frames of another that is kept",
    "unreadable": "the file or the sample cannot be read",
    "no-animation": "the file has no animation",
    "timeout": "rendering took too long",
    "memory": "rendering took too much memory",
    "crash": "the process ended",
    "error": "rendering failed",
}

Line = Mapping[str, Any]


def write_curation_report(folder: str | Path, lines: Sequence[Line], *, rules: CurationRules) -> Path:
    """Write `folder`/curation/report.html, report.json, kept.png and dropped.png; returns the page's path.

    `lines` are those of curation.jsonl; thumbnails are read from `folder`/curation/thumbnails.
    """
    folder = Path(folder)
    kept = [line for line in lines if line["decision"] == "kept"]
    dropped = [line for line in lines if line["decision"] != "kept"]
    counts = _counts(lines, rules=rules)
    shown = _evenly_by_motion(kept, SHOWN_KEPT)
    by_rule = {
        rule: [line for line in dropped if line["rule"] == rule and thumbnail_path(folder, line["key"]).is_file()]
        for rule in counts["by_rule"]
    }
    groups = {rule: _evenly(group, SHOWN_DROPPED) for rule, group in by_rule.items() if group}
    values = {
        "summary": _summary(counts),
        "rules": _rule_rows(counts),
        "kinds": _kind_rows(counts),
        "figures": _figures(kept, dropped, rules=rules),
        "kept_note": _shown_of(len(shown), len(kept)),
        "kept": "".join(_tile(folder, line) for line in shown) or "<p>Nothing was kept.</p>",
        "dropped": "".join(
            f'<h3>{html.escape(rule)} <span class="note">{_shown_of(len(group), len(by_rule[rule]))}</span></h3>'
            f'<div class="tiles">{"".join(_tile(folder, line, reason=True) for line in group)}</div>'
            for rule, group in groups.items()
        )
        or "<p>No rendered animation was dropped.</p>",
        "choices": "".join(f"<option>{html.escape(rule)}</option>" for rule in counts["by_rule"]),
        "rows": "".join(_row(line) for line in dropped[:MAX_ROWS]),
        "rows_note": ""
        if len(dropped) <= MAX_ROWS
        else f"The first {MAX_ROWS} of {len(dropped)}; curation.jsonl holds all. ",
    }
    out = folder / "curation"
    _save_sheet(out / "kept.png", folder, {"kept, by motion magnitude": shown})
    _save_sheet(out / "dropped.png", folder, groups)
    with atomic_path(out / "report.json") as temporary:
        temporary.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    template = Template(files("orbit4d.data").joinpath("curation_report.html").read_text(encoding="utf-8"))
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(template.substitute(values), encoding="utf-8")
    return out / "report.html"


def thumbnail_path(folder: str | Path, key: str) -> Path:
    return Path(folder) / "curation" / "thumbnails" / f"{key}.webp"


def thumbnail_strip(sample: Sample) -> bytes:
    """A WebP of four frames evenly over the first orbit, side by side on white."""
    orbit = orbit_pairs(sample)
    strip = Image.new("RGB", (THUMBNAILS * THUMBNAIL_SIDE, THUMBNAIL_SIDE), "white")
    for i in range(THUMBNAILS):
        frame = on_white(sample.rgba(orbit[i * len(orbit) // THUMBNAILS]))
        tile = Image.fromarray((frame * 255).round().astype("uint8"))
        tile = ImageOps.contain(tile, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        left, top = (THUMBNAIL_SIDE - tile.width) // 2, (THUMBNAIL_SIDE - tile.height) // 2
        strip.paste(tile, (i * THUMBNAIL_SIDE + left, top))
    out = io.BytesIO()
    strip.save(out, format="WEBP", quality=80)
    return out.getvalue()


def _counts(lines: Sequence[Line], *, rules: CurationRules) -> dict[str, Any]:
    """What report.json holds."""
    dropped = [line for line in lines if line["decision"] != "kept"]
    kinds = Counter(line["kind"] or "unknown" for line in lines)
    kept_kinds = Counter(line["kind"] or "unknown" for line in lines if line["decision"] == "kept")
    return {
        "total": len(lines),
        "kept": len(lines) - len(dropped),
        "dropped": len(dropped),
        "not_rendered": sum(line["sample"] is None for line in lines),
        "assets": len({line["input"] for line in lines}),
        "by_rule": dict(Counter(str(line["rule"]) for line in dropped).most_common()),
        "by_kind": {
            kind: {"kept": kept_kinds[kind], "dropped": n - kept_kinds[kind]} for kind, n in kinds.most_common()
        },
        "rules": asdict(rules),
    }


def _summary(counts: Mapping[str, Any]) -> str:
    share = f"{100 * counts['kept'] / counts['total']:.0f} %" if counts["total"] else "0 %"
    numbers = [
        (counts["total"], f"animations of {counts['assets']} files"),
        (counts["kept"], f"kept ({share})"),
        (counts["dropped"], f"dropped ({counts['not_rendered']} never rendered)"),
    ]
    cells = "".join(f"<div><b>{n:,}</b> {html.escape(text)}</div>" for n, text in numbers)
    parts = [("kept", counts["kept"], "kept")]
    parts += [(rule, n, "dropped") for rule, n in counts["by_rule"].items()]
    return f'<div class="numbers">{cells}</div>{bar(parts)}'


def _rule_rows(counts: Mapping[str, Any]) -> str:
    rows = [
        f'<tr><th scope="row">{html.escape(rule)}</th><td>{html.escape(RULES.get(rule, ""))}</td><td class="n">{n:,}</td></tr>'
        for rule, n in counts["by_rule"].items()
    ]
    return "".join(rows) or '<tr><td colspan="3">nothing was dropped</td></tr>'


def _kind_rows(counts: Mapping[str, Any]) -> str:
    kinds = list(counts["by_kind"].items())
    rows = [
        f'<tr><th scope="row">{html.escape(kind)}</th><td class="n">{n["kept"]:,}</td><td class="n">{n["dropped"]:,}</td></tr>'
        for kind, n in kinds[:MAX_KINDS]
    ]
    if len(kinds) > MAX_KINDS:
        rest = {part: sum(n[part] for _, n in kinds[MAX_KINDS:]) for part in ("kept", "dropped")}
        rows.append(
            f'<tr><th scope="row">{len(kinds) - MAX_KINDS} more</th><td class="n">{rest["kept"]:,}</td>'
            f'<td class="n">{rest["dropped"]:,}</td></tr>'
        )
    return "".join(rows)


def _figures(kept: Sequence[Line], dropped: Sequence[Line], *, rules: CurationRules) -> str:
    """The figures of all animations that were measured; in each those that have its measure."""
    groups = [[line["measures"] for line in group if line["measures"]] for group in (kept, dropped)]
    of = lambda name: [[m[name] for m in group if name in m] for group in groups]  # noqa: E731
    planes: list[list[tuple[float, float]]] = [[], [], []]
    for line in (*kept, *dropped):
        place = 0 if line["rule"] is None else 1 if line["rule"] in ("static", "violent") else 2
        if "ssim_quarter" in line["measures"]:
            planes[place].append((line["measures"]["ssim_quarter"], line["measures"]["ssim_half"]))
    limits = [
        Threshold(value=rules.violent_ssim, label=f"violent below {rules.violent_ssim:g}"),
        Threshold(value=rules.static_ssim, label=f"static above {rules.static_ssim:g}"),
    ]
    figures = [
        ssim_plane(*planes, static=rules.static_ssim, violent=rules.violent_ssim),
        histogram(
            *of("ssim_quarter"), title="SSIM at 1/4 against the start", axis="SSIM", low=0, high=1, thresholds=limits
        ),
        histogram(
            *of("ssim_half"), title="SSIM at 1/2 against the start", axis="SSIM", low=0, high=1, thresholds=limits
        ),
        histogram(*of("motion_magnitude"), title="Motion magnitude m", axis="m", low=1e-5, high=1, log=True),
        histogram(
            *of("coverage_min"),
            title="Smallest share of a frame covered",
            axis="share of an orbital frame's pixels",
            low=1e-4,
            high=1,
            log=True,
            thresholds=[Threshold(value=max(rules.empty, 1e-4), label=f"nearly empty below {rules.empty:g}")],
        ),
        histogram(
            *of("border_max"),
            title="Largest share of the border covered",
            axis="share of the outermost pixels",
            low=1e-3,
            high=1,
            log=True,
            thresholds=[Threshold(value=max(rules.border, 1e-3), label=f"leaves the frame above {rules.border:g}")],
        ),
    ]
    return "".join(f"<figure>{figure}</figure>" for figure in figures)


def _tile(folder: Path, line: Line, *, reason: bool = False) -> str:
    """A figure of one animation: its strip, key and what there is to say."""
    path = thumbnail_path(folder, line["key"])
    picture = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
    caption = line["captions"][0] if line["captions"] else line["input"]
    said = [f"<code>{html.escape(line['key'])}</code>", html.escape(caption)]
    if line["motion_magnitude"] is not None:
        quantile = f" (quantile {line['motion_quantile']:.2f})" if line["motion_quantile"] is not None else ""
        said.append(f"m {line['motion_magnitude']:.4f}{quantile}")
    if reason:
        said.append(f"<em>{html.escape(line['reason'] or '')}</em>")
    image = (
        f'<img loading="lazy" width="{THUMBNAILS * THUMBNAIL_SIDE}" height="{THUMBNAIL_SIDE}" alt="" '
        f'src="data:image/webp;base64,{picture}">'
    )
    return f'<figure class="tile">{image if picture else ""}<figcaption>{"<br>".join(said)}</figcaption></figure>'


def _row(line: Line) -> str:
    name = "" if line["animation"] is None else f"{line['animation']} {line['animation_name'] or ''}"
    cells = [line["input"], name, line["rule"] or "", line["reason"] or ""]
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _shown_of(shown: int, total: int) -> str:
    return f"{total:,}" if shown == total else f"{shown} of {total:,}"


def _evenly(lines: Sequence[Line], count: int) -> list[Line]:
    """At most `count` of the lines, evenly from the first to the last."""
    if len(lines) <= count:
        return list(lines)
    return [lines[round(i * (len(lines) - 1) / (count - 1))] for i in range(count)]


def _evenly_by_motion(lines: Sequence[Line], count: int) -> list[Line]:
    return _evenly(sorted(lines, key=lambda line: (line["motion_magnitude"] or 0.0, line["key"])), count)


def _save_sheet(path: Path, folder: Path, groups: Mapping[str, Sequence[Line]]) -> None:
    """A PNG of the groups' strips, three in a row, each over its key and m, and the reason where there is one."""
    across, width, height = 3, THUMBNAILS * THUMBNAIL_SIDE + 16, THUMBNAIL_SIDE + 62
    rows = sum(-(-len(group) // across) for group in groups.values())
    sheet = Image.new("RGB", (across * width, rows * height + 32 * max(1, len(groups))), "white")
    draw, font, large, top = ImageDraw.Draw(sheet), ImageFont.load_default(12), ImageFont.load_default(17), 0
    for name, group in groups.items():
        draw.text((8, top + 6), f"{name} ({len(group)})", fill="black", font=large)
        top += 32
        for i, line in enumerate(group):
            left = i % across * width + 8
            strip = thumbnail_path(folder, line["key"])
            # Without thumbnails, or with damaged ones, the text stands alone.
            with suppress(OSError), Image.open(strip, formats=("WEBP",)) as image:
                sheet.paste(image.convert("RGB"), (left, top))
            m = "" if line["motion_magnitude"] is None else f"   m {line['motion_magnitude']:.4f}"
            key = _wrapped(line["key"], width - 100, font)[0]
            draw.text((left, top + THUMBNAIL_SIDE + 2), key + m, fill="black", font=font)
            reason = (
                (line["reason"] or "").encode("ascii", "replace").decode()
            )  # the font holds no other letters for sure
            text = "\n".join(_wrapped(reason, width - 16, font)[:2])
            draw.multiline_text((left, top + THUMBNAIL_SIDE + 19), text, fill="#a33b00", font=font, spacing=2)
            top += height if i % across == across - 1 or i == len(group) - 1 else 0
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _wrapped(text: str, width: int, font: Any) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces; a longer word is cut."""
    lines = [""]
    for word in text[:400].split():
        while font.getlength(word) > width:
            word = word[: int(len(word) * 0.9)]
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
