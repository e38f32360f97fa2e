"""The section of docs/results.md about the page that plays."""

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
    return f"""## The page, beside other players

One scene (the Khronos fox, running) in headless Chromium with *software* GL on two cores, {width} x {height}, every player with a
file from disk and {report["frames"]} states of the same Gaussians (`playback.py`). This page moves continuously, the others
show one state at a time, 12 a second. A graphics card plays any of them faster; nothing was measured on one.

{table(["Gaussians", "player", *RATES.values()], rows)}"""
