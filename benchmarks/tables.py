"""Write docs/results.md from benchmarks/results/*.json, and the figures in the other pages of docs/: none is typed by hand.

    python benchmarks/tables.py --out docs/results.md --docs docs

A page shows a headline between two lines, `<!-- figures: NAME -->` and `<!-- end -->`; what stands between them is replaced.
NAME is one of HEADLINES. A page without such a place is not written.

Another benchmark joins by a line in SECTIONS (report -> section of results.md), in HEADLINES (place -> text) or in both, each a
function of its own report and of all reports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import control_tables
import model_tables
import orster_tables
import tyro
from control_tables import consistency, guidance, motion_control
from data_tables import blender, curation, data_engine, hostile, toybox
from markdown_tables import table
from model_tables import (
    captioner,
    contact_sheet,
    denoiser_ablations,
    features,
    image_to_4d,
    orbits,
    recognition,
    schedulers,
    training_speed,
)
from web_tables import compact, compact_elsewhere, export_readers, playback

from orbit4d.errors import InputError
from orbit4d.files import atomic_path

Text = Callable[[dict, dict], str]
"""(report of a benchmark, all reports by name) -> Markdown."""
RESULTS = Path(__file__).parent / "results"


@dataclass(kw_only=True)
class Arguments:
    out: Path = Path("docs/results.md")
    docs: Path | None = Path("docs")
    """Folder of pages whose places are filled; None for none."""
    results: Path = RESULTS


def main(arguments: Arguments) -> None:
    reports = read_reports(arguments.results)
    write(arguments.out, page(reports))
    for path in sorted(arguments.docs.glob("*.md")) if arguments.docs is not None else []:
        if path.resolve() != arguments.out.resolve():
            fill(path, reports)


def fill(path: Path, reports: dict[str, dict]) -> None:
    """Fill the places of a page. It is written only if that changes it, and its line ends stay."""
    text = path.read_bytes().decode()
    try:
        filled = with_headlines(text, reports)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for name in PLACE.findall(text):
        if name not in HEADLINES:
            print(f"{path}: no figures are called {name!r}; the place was left as it is")
    if filled != text:
        write(path, filled)


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


PLACE = re.compile(r"^<!-- figures: (\w+) -->\n(?:(?!<!-- figures: ).*\n)*?<!-- end -->$", re.MULTILINE)
NOT_MEASURED = "Not measured yet."


def with_headlines(text: str, reports: dict[str, dict]) -> str:
    """A page with its places filled from the reports of their names; a place without a report says so.

    Places whose names are not in HEADLINES stay as they are. Raises InputError where a place has no end.
    """

    def filled(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in HEADLINES:
            return match.group(0)
        report = reports.get(name)
        headline = HEADLINES[name](report, reports) if report is not None else ""
        return f"<!-- figures: {name} -->\n{headline or NOT_MEASURED}\n<!-- end -->"

    begun, whole = len(re.findall("^<!-- figures: ", text, re.MULTILINE)), len(PLACE.findall(text))
    if begun != whole:
        raise InputError(
            f"expected lines `<!-- figures: NAME -->` and `<!-- end -->` in pairs, got {begun} places, {whole} whole"
        )
    return PLACE.sub(filled, text)


def read_reports(folder: Path) -> dict[str, dict]:
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


def page(reports: dict[str, dict]) -> str:
    sections = [INTRODUCTION]
    for name, section in SECTIONS.items():
        if name in reports:
            sections.append(section(reports[name], reports))
    return "\n\n".join(sections) + "\n"


INTRODUCTION = """# Results

Written by `python benchmarks/tables.py` from the JSON files in `benchmarks/results/`, which also hold settings, seeds, hardware
and versions. Every script is in `benchmarks/`; its docstring says how to run it. Scores are means over frames: PSNR in dB and
SSIM on the whole image on white, and PSNR over the pixels whose true alpha exceeds 0.5 (*foreground*). Unless a table says
otherwise: two CPU cores, no GPU (an AMD EPYC, or an Intel Xeon with AMX: each JSON names its own). Where seconds were measured
while other work shared the cores, CPU seconds stand beside them."""


def trio(s: dict | None) -> str:
    return "the truth" if s is None else f"{s['whole_psnr']:.2f} / {s['foreground_psnr']:.2f} / {s['ssim']:.3f}"


def elk(report: dict, reports: dict) -> str:
    rows = []
    for name, title in (
        ("elk", "moving and static orbit"),
        ("elk_short", "the same, 500 steps"),
        ("elk_moving_only", "moving orbit only"),
    ):
        if name in reports:
            m = reports[name]["mean"]
            rows.append([f"orbit4d, {title} ({len(reports[name]['runs'])} seeds)", trio(m), f"{m['seconds']:.0f}"])
            rows[-1].append(f"{m['cpu_seconds']:.0f}")
    r = report["reference_4dgaussians"]
    rows.append(["4DGaussians, public code, moving and static orbit", trio(r), r["seconds"], ""])
    rows.append(["4DGaussians, public code, moving orbit only", "22.43 / 16.47 / 0.873", 420, ""])
    return f"""## 4D construction: the elk

The published Diffusion4D sample elk, 256 x 256: constructed from its orbits, scored on the {report["frames"]} frames of the
front view that no orbit shows (`elk.py`).

{table(["", "whole / foreground / SSIM", "seconds", "CPU seconds"], rows)}"""


def construction(report: dict, reports: dict) -> str:
    full = report["variants"]["full"]
    rows = [[r["asset"], trio(r), f"{r['seconds']:.0f} ({r['cpu_seconds']:.0f})"] for r in report["rows"]]
    rows.sort(key=lambda row: row[1], reverse=True)
    worst = full["worst"]["asset"]
    rows.append(["**mean**", f"**{trio(full)}**", ""])
    threads = "one thread" if report["threads"] == 1 else f"{report['threads']} threads"
    return f"""## 4D construction: twelve animated assets

From one moving orbit and one static orbit (24 frames each, {report["size"]} pixels a side) to four cameras that no input shows, 15
degrees above the orbits, at 24 times (`construction.py`). Whole / foreground / SSIM. The worst is "{worst}"; why, and how it looks,
is said in [construction.md](construction.md#limits).

{table(["asset", "96 frames of four other views", f"seconds with {threads} (CPU)"], rows)}"""


def ablations(report: dict, reports: dict) -> str:
    rows = []
    for name, v in report["variants"].items():
        worst = v["worst"]
        rows.append([name, trio(v), f"{worst['whole_psnr']:.2f} / {worst['foreground_psnr']:.2f} ({worst['asset']})"])
        rows[-1] += [f"{v['train_psnr']:.1f}", f"{v['cpu_seconds']:.0f}"]
    count = len({r["asset"] for r in report["rows"]})
    return f"""## What each part of the construction is worth

{count} of these assets at {report["size"]} pixels, one thing changed at a time (`construction.py --variants ...`), one seed each: a
seed is worth about half a decibel on one asset. *Input* is the PSNR on the frames that were fitted.

- *no tracking*: all times at once instead of a window that widens from the static moment, and learning rates that fall from the
  start. *no control nodes*: the ST-HexPlane at
  every Gaussian, with all five deltas, under the same priors at guide points. *HexPlane only*: the same without priors and
  tracking, as the public 4DGaussians code does it. *trajectories*: a path of its own for every Gaussian, under the same priors.
- *no static orbit*: the moving orbit alone; *2 orbits* and *4 orbits*: as many, starting at evenly spaced azimuths.

{table(["variant", "mean", "worst asset", "input", "CPU seconds"], rows)}"""


def speed(report: dict, reports: dict) -> str:
    rates = [
        [c["size"], c["frames"], c["steps_per_second"], c["frames_per_second"]]
        for c in report["cells"]
        if "frames" in c
    ]
    whole = [c for c in report["cells"] if "seconds" in c]
    texts = [
        f"{c['steps']} steps with {c['gaussians']} Gaussians at {c['size']} pixels take {c['seconds']:.0f} s"
        for c in whole
    ]
    return f"""## Speed of construction

Optimisation steps a second with 10,000 Gaussians, fine stage at full size (`fit_speed.py`).
Whole default constructions: {"; ".join(texts)}.
Peak memory {report["peak_memory_gib"]} GiB.

{table(["side", "frames a step", "steps a second", "frames a second"], rates)}"""


OLDER_LADDER = """ Measured before construction tracked
motion: with the true orbits, the first rung, it is better now (see above)."""


def ladder(report: dict, reports: dict) -> str:
    views = report.get("views", ["front", "opposite"])
    parts = []
    if "mean" in report:
        rows = [
            [rung, *(trio(s.get(v)) for v in ("clip", *views)), s["m_of_truth"]] for rung, s in report["mean"].items()
        ]
        parts.append(f"**Mean of {len(report['assets'])} assets**\n\n")
        parts[-1] += table(["frames given to the construction", "clip", *views, "m / true m"], rows)
    for a in report["assets"]:
        rows = [[rung, *(trio(s[v]) for v in ("clip", *views))] for rung, s in a["rungs"].items()]
        parts.append(f'**{a["asset"]}, {a["animation"]}, "{a["prompt"]}"**\n\n')
        parts[-1] += table(["frames given to the construction", "clip", *views], rows)
    older = "" if "mean" in report else OLDER_LADDER
    without = ", frame 0 left out" if report.get("clip_without_frame_0") else ""
    unseen = ", ".join(f"*{view}*" for view in views)
    return f"""## Which stage limits? The oracle ladder

Each rung replaces one more true stage by ours (`oracle_ladder.py`); K orbits are sampled together and show every moment from K
sides. *clip*: the frames that the construction was given, against the true orbits{without}; {unseen}: the constructed scene, from
where no rung looked. A prompt fixes neither pose nor phase, so scores of sampled
rungs count any motion but the asset's own as wrong. Whole / foreground / SSIM.{older}

""" + "\n\n".join(parts)


def generated(report: dict, reports: dict) -> str:
    rows = []
    for c in report["cases"]:
        arguments = " ".join(a if a.startswith(("-", "DATA")) else f'"{a}"' for a in c["arguments"])
        seconds = c["seconds"]
        rows.append(
            [f"`{arguments}`", f"{c['seconds_wall']:.0f}", ", ".join(f"{k} {v:.0f}" for k, v in seconds.items())]
        )
        rows[-1] += [f"{c['peak_memory_mib'] / 1024:.1f}", f"{c['page_mib']:.2f}"]
    pages = [c["page"] for c in report["cases"] if "page" in c]
    good = [p for p in pages if min(p["changes_with_time"], p["changes_with_view"]) > 1e-3 < p["covered"]]
    return f"""## From prompt to page

`orbit4d generate` in a process of its own, as a user runs it (`generate.py`), and every page opened in headless Chromium:
{len(good)} of {len(pages)} pages are not blank and change both with time and with the view.

{table(["arguments", "seconds", "of these", "peak GiB", "page MiB"], rows)}"""


def autoencoder(report: dict, reports: dict) -> str:
    m = report["mean"]
    return f"""## The autoencoder

On the {len(report["assets"])} assets of held-out families (`autoencoder.py`): {m["whole_db"]:.1f} dB whole,
{m["foreground_db"]:.1f} dB foreground, alpha IoU {m["alpha_iou"]:.3f}."""


def kernels(report: dict, reports: dict) -> str:
    rows = [[c["gaussians"], c["size"], c["ms"], c["ms_forward"], c["two_threads"]] for c in report["rasteriser"]]
    ratio = report["rasteriser"][0]["twin_ratio"]
    return f"""## The CPU rasteriser

One camera, forward and backward, in milliseconds ({report["instruction_set"]}, `kernels.py`). The readable PyTorch twin takes
{ratio:.0f} times the processor time in the first cell.

{table(["Gaussians", "side", "forward + backward", "forward", "gain of a second thread"], rows)}"""


SECTIONS: dict[str, Text] = {
    "elk": elk,
    "construction": construction,
    "ablations": ablations,
    "fit_speed": speed,
    "oracle_ladder": ladder,
    "recognition": recognition,
    "image_to_4d": image_to_4d,
    "captioner": captioner,
    "motion_control": motion_control,
    "guidance": guidance,
    "contact_sheet": contact_sheet,
    "schedulers": schedulers,
    "orbits": orbits,
    "features": features,
    "orster": orster_tables.orster,
    "orster_costs": orster_tables.orster_costs,
    "orster_pilot": orster_tables.orster_pilot,
    "generate": generated,
    "autoencoder": autoencoder,
    "denoiser_ablations": denoiser_ablations,
    "training_speed": training_speed,
    "data_engine": data_engine,
    "curation": curation,
    "blender_silhouettes": blender,
    "fuzz_assets": hostile,
    "toybox_report": toybox,
    "consistency": consistency,
    "playback": playback,
    "compact": compact,
    "compact_elsewhere": compact_elsewhere,
    "export_readers": export_readers,
    "kernels": kernels,
}
"""Name of a report -> its section, in the order of results.md."""
HEADLINES: dict[str, Text] = control_tables.HEADLINES | model_tables.HEADLINES | orster_tables.HEADLINES
"""Name of a place -> what is put there."""


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
