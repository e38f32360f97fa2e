"""The sections of docs/results.md about the page that plays, the compact files in it, and who else reads our exports."""

from __future__ import annotations

from markdown_tables import table

PLAYERS = {"orbit4d": "this page", "viser4d": "viser4d, its own export", "spark": "Spark, a mesh a state"}
RATES = {
    "first_frame_s": "first frame, s",
    "frames_per_s": "frames/s",
    "cpu_ms_a_frame": "CPU ms a frame",
    "memory_mb": "memory, MB",
    "file_mb": "file, MB",
}


def playback(report: dict, reports: dict) -> str:
    rows = [
        [f"{r['gaussians']:,}", PLAYERS[r["player"]], *(r.get(k, r.get("error", "")) for k in RATES)]
        for r in report["rows"]
    ]
    width, height = report["window"]
    players = report.get("players", {})
    versions = " Versions: " + ", ".join(f"{k} {v}" for k, v in players.items() if v) + "." if players else ""
    return f"""## The page, beside other players

One scene (the Khronos fox, running) in headless Chromium with *software* GL on two cores, {width} x {height}, every player with a
file from disk and {report["frames"]} states of the same Gaussians (`playback.py`). This page moves continuously, the others
show one state at a time, 12 a second. *First frame* is the first draw call that covers the splats, not yet its picture. A
graphics card plays any of them faster; nothing was measured on one.{versions}

{table(["Gaussians", "player", *RATES.values()], rows)}"""


def compact(report: dict, reports: dict) -> str:
    rows = [
        [
            r["bound"],
            f"{r['bytes'] / 1e6:.2f}",
            f"{r['bytes_per_gaussian']:.0f}",
            f"{r['times_smaller_than_ply']:.0f}",
            r["rank"],
            f"{abs(r['loss_db']):.3f}" if abs(r["loss_db"]) < 5e-4 else f"{r['loss_db']:.3f}",
            f"{r['same_db']:.1f}",
            r["position_error_of_bound"],
            f"{r['encode_seconds']:.0f}",
        ]
        for r in report["compact"]
    ]
    names = ["bound", "MB", "bytes a Gaussian", "times smaller than PLY", "targets", "lost on an unseen view, dB"]
    names += ["PSNR against the exact model, dB", "position error of its bound", "seconds"]
    frames, ply, page = report["frames"], report["ply_sequence_bytes"] / 1e6, report["page_bytes"] / 1e6
    text = f"""## The compact 4D asset

{report["gaussians"]:,} Gaussians constructed from {frames} frames of the Khronos fox, running ({report["exact_psnr"]} dB on
an unseen view; `compact.py`, [format.md](format.md)). As {frames} PLY files: {ply:.1f} MB; as a page: {page:.2f} MB.

{table(names, rows)}"""
    others = report["fourdgs"]
    if isinstance(others, str):
        return text
    linear = all("position_error_between" in r for r in others)
    how = "positions on straight lines between them" if linear else "measured without motion between them"
    rows = [
        [r["profile"], f"{r['bytes'] / 1e6:.2f}", r["position_error_of_extent"], r.get("position_error_between", "")]
        for r in others
    ]
    names = ["profile", "MB", "position error at the states, of the extent", "between them"]
    return f"""{text}

As `.4dgs` (package `fourdgs`), {report["frames"]} states, {how}:

{table(names, rows)}"""


def compact_elsewhere(report: dict, reports: dict) -> str:
    file, splats = report["file"], report["splats"]
    others = f"mirrored {splats['psnr_mirrored']}, a black picture {splats['psnr_of_black']}"
    rows = [
        [r["time"], "knot" if r["knot"] else "between", r["worst"], r["mean"], r["moved"], r["lit"], r["lit_by_time_0"]]
        for r in report["rows"]
    ]
    names = ["time", "", "worst", "mean", "moved since time 0", "centres drawn", "the same of time 0"]
    return f"""### In three.js, which knows nothing of it

The file of bound {report["bound"]}, unpacked, in three.js r{file["three"]} with its own `GLTFLoader` and animation mixer,
headless Chromium (`compact_elsewhere.py`): {file["vertices"]:,} points, {file["targets"]} targets. Distances from the exact
centres as shares of the extent; *centres drawn*: share of the exact centres whose pixel is lit. Its splat plugin draws time 0,
without motion, at {splats["psnr"]} dB of our rasteriser's picture ({others}).

{table(names, rows)}"""


def export_readers(report: dict, reports: dict) -> str:
    """Largest differences between what was exported and what other programs read of it."""
    glb, fourdgs = report["glb"], report["4dgs"]
    found = {
        "PLY sequence, plyfile": report["ply_sequence"].get("plyfile"),
        "PLY sequence, splat-transform": report["ply_sequence"].get("splat-transform"),
        "GLB, fourdgs": glb.get("fourdgs.from_gltf"),
        "splat-transform's GLB of our PLY, against ours": glb.get("splat-transform's GLB of our PLY, up z"),
        "splat-transform's GLB, our reader": glb.get("our reader on splat-transform's GLB"),
        "4dgs, fourdgs, at a keyframe": fourdgs.get("at a keyframe"),
        "4dgs, fourdgs, between keyframes": fourdgs.get("between keyframes"),
        ".splat, splat-transform against our reader": report.get("splat_import, splat-transform against ours"),
    }
    names = {
        "position": ("position",),
        "scale (or its logarithm)": ("scale", "log_scale"),
        "rotation, degrees": ("rotation_deg",),
        "opacity (or its logit)": ("opacity", "logit_opacity"),
        "colour": ("f_dc", "spherical_harmonics", "mean_colour", "colour"),
    }
    rows = [
        [title, *(next((d[k] for k in keys if k in d), "") for keys in names.values())]
        for title, d in found.items()
        if isinstance(d, dict)
    ]
    readers = ", ".join(f"{name} {version}" for name, version in report["readers"].items())
    return f"""## Our exports in other programs

`{report["scene"]}`, {report["gaussians"]:,} Gaussians, {report["frames"]} times (`export_readers.py`): the largest differences to
what was exported. Readers: {readers}. What gltf-validator says is in the JSON file and in
[using-the-result.md](using-the-result.md).

{table(["file and reader", *names], rows)}"""
