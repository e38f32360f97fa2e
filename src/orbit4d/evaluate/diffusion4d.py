"""Diffusion4D's evaluation in one call: CLIP-F, CLIP-O, SSIM, PSNR, LPIPS and FVD over a set of cases.

What the paper leaves open, and what is computed here instead of guessed, is in docs/evaluation.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from ..cameras import Cameras
from ..errors import InputError
from ..files import atomic_path, ensure_writable_parent, json_digest, parse_json
from ..outputs import check_replaceable
from ..report import hardware, versions
from .clip_score import ClipScorer, load_clip_scorer
from .diffusion4d_cases import (
    VIEWS,
    Case,
    View,
    ViewPlan,
    find_cases,
    fingerprint,
    free_views,
    generated_views,
    made_with,
    true_views,
)
from .fvd import MIN_VIDEOS, VideoFeatures, few_samples_note, load_video_features, sample_distance
from .lpips import LPIPS, load_lpips
from .metrics import foreground_psnr, psnr, ssim
from .weights import NotMeasured

Condition = Literal["image", "text"]
METRICS = ("clip_f", "clip_o", "ssim", "psnr", "foreground_psnr", "lpips", "fvd")
"""The table's columns. All but clip_f are of the orbital views; the front view's own are under `front`."""
PIXEL_METRICS = ("ssim", "psnr", "foreground_psnr", "lpips")
BENCHMARK_FILES = r"cases/(?:[A-Za-z0-9._-]+\.json)?|report\.json|table\.txt"
PROTOCOL = 1
"""Goes into what finished cases are known by: a change of what is computed makes them stale."""


@dataclass(kw_only=True)
class _Tools:
    """The networks that are here; for those that are not, the words that say why."""

    clip: ClipScorer | str
    lpips: LPIPS | str
    video: VideoFeatures | str

    def names(self) -> dict[str, str]:
        """What each network is called, or why there is none."""
        lpips = f"LPIPS {self.lpips.network}" if isinstance(self.lpips, LPIPS) else self.lpips
        return {
            "clip": getattr(self.clip, "name", str(self.clip)),
            "lpips": lpips,
            "fvd": getattr(self.video, "name", str(self.video)),
        }


def run_benchmark(
    generated: Sequence[str | Path],
    *,
    against: Sequence[str | Path] = (),
    out: str | Path | None = None,
    condition: Condition = "image",
    prompts: Sequence[str] = (),
    clip: str | Path | None = None,
    lpips: str | Path | Sequence[str | Path] | None = None,
    fvd: str | Path | None = None,
    run_fvd_code: bool = False,
    skip_input_view: bool = False,
    plan: ViewPlan | None = None,
    progress: bool = True,
) -> dict:
    """Score generated scenes or clips as Diffusion4D does.

    Args:
        generated: scenes (`scene.safetensors` or the folder it lies in) or clips (a clip argument; a folder with orbit/ and
            front/), or one folder of such cases.
        against: the truth of each case, in order: an animated asset (rendered here), Diffusion4D's renders, a clip, or a
            folder with orbit/ and front/ clips. Where `generated` is a folder of cases: the folder with their truths, by name.
        out: folder for report.json, table.txt and cases/NAME.json; a later call with the same cases takes up what is there.
        condition: ``image``: frames against true frames. ``text``: CLIP against the text alone; there is no truth.
        prompts: the texts, one a case; where there are none, those in the reports beside the scenes.
        clip: name or folder of a CLIP. lpips: weights, see `load_lpips`. fvd: name or folder of a video network, or the I3D
            TorchScript file, which is a program and is opened only with `run_fvd_code`.
        skip_input_view: leave out the first frame of either view, which an image condition shows as it is.
        plan: views, size and animation where they are rendered from an asset; orbit and size for text.

    Returns: a JSON-ready report: `mean` and `cases` (figures in `scores`, those of the front view in `front`; null where not
    measured), `not_measured` (why), `samples`, `settings`, `networks`, `notes`, `versions`, `hardware`.
    Raises InputError for anything wrong, before anything is computed where it can be known.
    """
    if condition not in ("image", "text"):
        raise InputError(f"--condition: expected image or text, got {condition!r}")
    if skip_input_view and condition == "text":
        raise InputError("--skip-input-view: a text shows no view; it goes with --condition image")
    plan = plan or ViewPlan()
    cases = find_cases(generated, against=against, prompts=prompts, text=condition == "text")
    folder = None if out is None else _open_out(Path(out))
    settings = {"condition": condition, "skip_input_view": skip_input_view, "plan": asdict(plan)}
    tools = _Tools(
        clip=_tool(lambda: load_clip_scorer(clip)),
        lpips=_tool(lambda: load_lpips(lpips)) if condition == "image" else "not measured: a text has no true frames",
        video=_tool(lambda: load_video_features(fvd, run_code=run_fvd_code))
        if condition == "image"
        else "not measured: a text has no true frames",
    )
    identity = {"protocol": PROTOCOL, **settings, "networks": [_network_identity(x) for x in (clip, lpips, fvd)]}
    records = []
    for case in tqdm(cases, desc="benchmark", unit="case", disable=not progress):
        key = _case_key(case, identity)
        record = None if folder is None else _finished(folder, case, key)
        if record is None:
            record = {"key": key} | _score_case(case, tools, condition=condition, plan=plan, skip=skip_input_view)
            if folder is not None:
                _write(folder / "cases" / f"{case.name}.json", json.dumps(record))
        records.append(record)
    report = _summary(records, tools, settings)
    if folder is not None:
        _write(folder / "report.json", json.dumps(report, indent=1) + "\n")
        _write(folder / "table.txt", format_benchmark(report) + "\n")
    return report


def format_benchmark(report: dict) -> str:
    """The report of `run_benchmark` as a table for people, with what was not measured and why below it."""
    rows: list[tuple[str, ...]] = [("case", *METRICS)]
    for case in (*report["cases"], {"case": "mean", "scores": report["mean"]}):
        cells = [case["scores"].get(metric) for metric in METRICS]
        rows.append((case["case"], *("-" if c is None else f"{c:.{2 if c > 2 else 3}f}" for c in cells)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    front = {k: v for k, v in report["front_mean"].items() if v is not None}
    if front:
        lines.append("front view: " + ", ".join(f"{k} {v:.3f}" for k, v in front.items()))
    samples = report["samples"]
    lines.append(
        f"{samples['cases']} cases, {samples['orbit_frames']} orbital and {samples['front_frames']} front frames; "
        f"condition: {report['settings']['condition']}"
    )
    lines += [f"{metric}: {why}" for metric, why in report["not_measured"].items()]
    lines += [f"note: {note}" for note in report["notes"]]
    return "\n".join(lines)


def _score_case(case: Case, tools: _Tools, *, condition: Condition, plan: ViewPlan, skip: bool) -> dict:
    record: dict[str, Any] = {
        "case": case.name,
        "generated": str(case.generated),
        "made_with": made_with(case.generated),
    }
    scores: dict[View, dict[str, float | None]] = {view: {} for view in VIEWS}
    features: dict[str, list[list[float]]] = {}
    first = 1 if skip else 0
    frames: dict[View, Tensor]
    if case.truth is None:
        assert case.prompt is not None
        frames = generated_views(case.generated, free_views(plan), fixed=False)
        frames = {view: x[first:] for view, x in frames.items()}
        if isinstance(tools.clip, ClipScorer):
            for view, shown in frames.items():
                scores[view]["clip"] = _mean(tools.clip.image_text(shown, case.prompt).tolist())
        record["prompt"] = case.prompt
    else:
        truth = true_views(case.truth, plan)
        wanted: dict[View, tuple[Cameras, Tensor]] = {view: (t.cameras, t.times) for view, t in truth.items()}
        frames = {view: x[first:] for view, x in generated_views(case.generated, wanted, fixed=True).items()}
        for view, shown in frames.items():
            target = truth[view].on_background()[first:]
            scores[view], features[view] = _compare(shown, target, truth[view].alpha[first:], tools)
        record["truth"] = str(case.truth)
    orbit, front = scores["orbit"], scores["front"]
    record["scores"] = {"clip_f": front.get("clip"), "clip_o": orbit.get("clip")}
    record["scores"] |= {metric: orbit.get(metric) for metric in PIXEL_METRICS}
    record["front"] = {metric: front.get(metric) for metric in PIXEL_METRICS}
    record["frames"] = {view: len(frames[view]) if view in frames else 0 for view in VIEWS}
    record["resolution"] = list(next(iter(frames.values())).shape[:-3:-1])
    record["features"] = features
    return record


def _compare(
    shown: Tensor, target: Tensor, alpha: Tensor, tools: _Tools
) -> tuple[dict[str, float | None], list[list[float]]]:
    """Means over the frames of one view, and the features of the generated and of the true video (none without a network)."""
    scores = {
        "ssim": _mean(ssim(shown, target).tolist()),
        "psnr": _mean(psnr(shown, target).tolist()),
        "foreground_psnr": _mean(foreground_psnr(shown, target, alpha).tolist()) if bool((alpha < 0.5).any()) else None,
        "lpips": _mean(tools.lpips.score(shown, target).tolist()) if isinstance(tools.lpips, LPIPS) else None,
        "clip": _mean(tools.clip.image_image(shown, target).tolist()) if isinstance(tools.clip, ClipScorer) else None,
    }
    video = tools.video
    features = [] if isinstance(video, str) else [video.features(x).tolist() for x in (shown, target)]
    return scores, features


def _summary(records: list[dict], tools: _Tools, settings: dict) -> dict:
    mean = {m: _mean([r["scores"][m] for r in records if r["scores"].get(m) is not None]) for m in METRICS[:-1]}
    front = {m: _mean([r["front"][m] for r in records if r["front"].get(m) is not None]) for m in PIXEL_METRICS}
    notes, reasons = [], {}
    mean["fvd"], why, note = _set_distance(records, "orbit", tools.video)
    front["fvd"], _, _ = _set_distance(records, "front", tools.video)
    notes += [note] if note else []
    for metric in METRICS:
        if mean[metric] is None:
            reasons[metric] = why if metric == "fvd" else _reason(metric, records, tools, settings["condition"])
    counted = {m: sum(r["scores"].get(m) is not None for r in records) for m in METRICS[:-1]}
    return {
        "program": "orbit4d",
        "benchmark": "diffusion4d",
        "mean": mean,
        "front_mean": front,
        "not_measured": reasons,
        "notes": notes,
        "samples": {
            "cases": len(records),
            "orbit_frames": sum(r["frames"]["orbit"] for r in records),
            "front_frames": sum(r["frames"]["front"] for r in records),
            "cases_with": counted,
        },
        "settings": settings,
        "networks": tools.names(),
        "cases": [{k: v for k, v in r.items() if k not in ("features", "key")} for r in records],
        "versions": versions(),
        "hardware": hardware(),
    }


def _set_distance(records: list[dict], view: View, video: VideoFeatures | str) -> tuple[float | None, str, str | None]:
    """The Frechet distance over all cases, or why there is none, and what to say beside it."""
    if isinstance(video, str):
        return None, video, None
    pairs = [r["features"][view] for r in records if r["features"].get(view)]
    if len(pairs) < MIN_VIDEOS:
        return None, f"not measured: a Frechet distance needs {MIN_VIDEOS} videos, got {len(pairs)} ({view} view)", None
    made, true = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    return _rounded(sample_distance(made, true)), "", few_samples_note(len(pairs), made.shape[1])


def _reason(metric: str, records: list[dict], tools: _Tools, condition: str) -> str:
    view: View = "front" if metric == "clip_f" else "orbit"
    tool = {"clip_f": tools.clip, "clip_o": tools.clip, "lpips": tools.lpips}.get(metric)
    if isinstance(tool, str):
        return tool
    if condition == "text" and metric in PIXEL_METRICS:
        return "not measured: a text has no true frames"
    if not any(r["frames"][view] for r in records):
        return f"not measured: no case has the {view} view"
    if metric == "foreground_psnr":
        return "not measured: the truth has no alpha channel, or no foreground"
    return "not measured: identical frames, whose PSNR is infinite"


def _tool(load) -> Any:
    try:
        return load()
    except NotMeasured as reason:
        return str(reason)


def _network_identity(given: str | Path | Sequence[str | Path] | None) -> list:
    """What networks are known by when a run is taken up: names, and of files their sizes and dates."""
    out: list = []
    for item in [] if given is None else [given] if isinstance(given, str | Path) else given:
        path = Path(item).expanduser()
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
        out.append([str(item), [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]])
    return out


def _case_key(case: Case, identity: dict) -> str:
    parts = [identity, fingerprint(case.generated), fingerprint(case.truth), case.prompt]
    return json_digest(parts)


def _finished(folder: Path, case: Case, key: str) -> dict | None:
    """The record of a case that an earlier run finished with the same files and settings."""
    try:
        file = folder / "cases" / f"{case.name}.json"
        record = parse_json(file.read_bytes(), source=file)
    except (OSError, InputError):
        return None
    return record if isinstance(record, dict) and record.get("key") == key else None


def _open_out(out: Path) -> Path:
    folder = check_replaceable(out, files=BENCHMARK_FILES)
    ensure_writable_parent(folder / "cases" / "x.json")
    return folder


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def _mean(values: Sequence[float]) -> float | None:
    """Of the values that are defined (finite); None where there are none."""
    defined = [v for v in values if math.isfinite(v)]
    return _rounded(sum(defined) / len(defined)) if defined else None


def _rounded(value: float) -> float:
    return round(value, 5)
