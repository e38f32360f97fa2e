"""The sections of docs/results.md about the data engine; see tables.py."""

from __future__ import annotations

from markdown_tables import table


def data_engine(report: dict, reports: dict) -> str:
    causes = report["causes_of_failure"]
    failed = ", ".join(f"{count} {cause}" for cause, count in causes.items()) or "none"
    each = report["megabytes"] / max(report["rendered"], 1)
    return f"""## The data engine

All {report["animations"]} animations of {report["assets"]} third-party assets, {report["frames_a_sample"]} frames each
(orbit, static orbit, front clip) with depth at {_side(report["plan"])} on software OpenGL, {report["workers"]} worker
processes; reading, posing and writing included (`data_engine.py`): {report["rendered"]} rendered,
{sum(causes.values())} failed ({failed}); **{report["frames_per_second"]:.0f} frames a second,
{report["animations_per_hour"]:,} animations an hour**, {each:.1f} MB a sample;
{report["frames_per_cpu_second"]:.0f} frames a second of processor time.
{_render_speed(reports["render_speed"]) if "render_speed" in reports else ""}"""


def _side(plan: dict) -> str:
    return f"{plan['size']} x {plan['size']}, {plan['supersample']} x {plan['supersample']} supersampled,"


def _render_speed(report: dict) -> str:
    rows = []
    for cell in report["cells"]:
        samples = f"{cell['supersample']} x {cell['supersample']}"
        stages = ", ".join(f"{name} {ms:.1f}" for name, ms in cell["cpu_milliseconds_by_stage"].items())
        speed, cpu = f"{cell['frames_per_second']:.0f}", f"{cell['cpu_milliseconds_a_frame']:.1f}"
        rows.append([samples, cell["processes"], speed, cpu, stages])
    head = ["samples a pixel", "processes", "frames/s", "processor ms a frame", "of which"]
    return f"""
One skinned asset of {report["triangles"]:,} triangles at {report["size"]} x {report["size"]}, RGBA + depth, from the file
to PNGs (`render_speed.py`):

{table(head, rows)}"""


def blender(report: dict, _: dict) -> str:
    above = sum(min(row["iou"]) > report["goal"] for row in report["rows"])
    explained = "; ".join(f"`{name}`: {why}" for name, why in report["explained"].items())
    return f"""## The glTF reader against Blender

Silhouettes of the same file at three moments, read and posed by us and by Blender {report["blender"]["bpy"]}, both drawn by one
rasteriser (`blender_silhouettes.py`): of {report["assets"]} files {above} agree above an IoU of {report["goal"]} at every
moment, mean {report["mean_iou"]:.5f}, smallest {report["smallest_iou"]:.5f}. The others are explained: {explained}."""


def hostile(report: dict, _: dict) -> str:
    rows = []
    for family, outcomes in report["by_family"].items():
        bad = sum(count for name, count in outcomes.items() if name not in ("loaded", "refused"))
        rows.append([family, outcomes.get("loaded", 0), outcomes.get("refused", 0), bad])
    limits, seconds = report["limits"], report["seconds"]
    return f"""## Hostile files

{report["files"]:,} mutated and truncated files (`fuzz_assets.py`), each read, posed and some placed in a watched process with
{limits["seconds"]:.0f} s of processor time and {limits["memory_mib"] / 1024:.0f} GiB: **{len(report["bad"])} crashes, hangs,
unbounded memory or anything else but a result or one clear line.** Median {1000 * seconds["median"]:.0f} ms, slowest
{seconds["most"]:.1f} s.

{table(["mutation", "loaded", "refused in one line", "bad"], rows)}"""


def curation(report: dict, _: dict) -> str:
    ours, published = report["by_rule"], report["by_rule_as_published"]
    rows = [[rule, ours.get(rule, 0), published.get(rule, 0)] for rule in sorted(set(ours) | set(published))]
    return f"""## What curation keeps

Of the same {report["total"]} animations {report["kept"]} are kept (`curation.py`; every dropped one with its reason is in the
JSON). Measuring and the report took {report["seconds_measuring_and_reporting"]:.0f} s, deciding again
{report["seconds_deciding_again"]:.1f} s.

{table(["dropped as", "our default", "Diffusion4D's static rule to the letter"], rows)}

![histograms and contact sheets of the curation report](images/curation.webp)"""


def toybox(report: dict, _: dict) -> str:
    made, moves, kinds = report["manifest"], report["rendered"]["motion_magnitude"], report["motions_of_each_kind"]
    motions = {motion for each in kinds.values() for motion in each}
    words, triangles, overlap = made["captions"], made["triangles"], report["rendered"]["silhouette_iou"]
    still, wild = (100 * report["curation"][name] for name in ("too_still", "too_wild"))
    return f"""## The toybox

{len(kinds)} kinds, {len(motions)} named motions, {made["kinds_x_motions"]} pairs of them (`toybox_report.py`, {made["toys"]} toys):

![two hundred toys](images/toybox.webp)

{report["speed"]["core_seconds_a_toy"] * 1000:.0f} ms of one core a toy. Triangles {triangles["min"]:,.0f} to
{triangles["max"]:,.0f} (median {triangles["median"]:,.0f}); {words["distinct"]:,} of {words["in_all"]:,} captions are distinct,
in {words["vocabulary"]} words; silhouettes overlap by {overlap["within_kinds"]:.2f} (IoU) within a kind and
{overlap["between_kinds"]:.2f} between kinds; motion magnitude {moves["p5"]:.4f} to {moves["p95"]:.3f} (5 to 95 %), median
{moves["median"]:.3f}. Curation would drop {still:.1f} % as too still and {wild:.1f} % as too violent."""
