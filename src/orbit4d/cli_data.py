"""The verbs of `orbit4d data`: from animated assets to curated training clips. Each is a thin layer over one function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from .cli_arguments import Folder, Names, OptionalCount, OptionalFile, OptionalFolder, OptionalText
from .cli_parse import Verbs
from .errors import InputError

Inputs = Annotated[Positional[tuple[Path, ...]], arg(metavar="INPUT ...", help_behavior_hint="(required)")]

REPORTED_TOYS = 420
"""Twenty of each kind."""
DATA_DESCRIPTION = """From animated assets to curated 4D training clips. Every step resumes where it was stopped.

  orbit4d data toybox --count 1000 --out toys                 assets from a seed, if you have none
  orbit4d data render toys more/*.glb --out data              every animation as orbit, static orbit and front clip
  orbit4d data curate data                                    keep or drop each, with the reason; see data/curation/report.html
  orbit4d data shard data --out shards                        WebDataset tars
  orbit4d train s --data shards --out runs/mine               a model trained on them

`orbit4d data VERB --help` explains each verb."""


def toybox(out: Folder, count: int = 25, seed: int = 0, workers: OptionalCount = None, report: bool = False) -> None:
    """Make animated, captioned GLB assets from a seed: training data, test fixtures and demo inputs without licences.

    DIR receives toy_000000.glb and so on, and manifest.json with the captions.

    For example:
      orbit4d data toybox --count 1000 --out toys
      orbit4d data toybox --count 50 --seed 7 --report --out toys

    Args:
        out: Folder to write; what an earlier run with the same seed wrote there is kept.
        count: Number of assets; kinds and motions take turns.
        seed: The same seed gives the same assets.
        workers: Processes; as many as there are cores when absent.
        report: Also render DIR/report: a contact sheet (of the first 420) and what the assets are made of.
    """
    from .assets.toybox import write_toybox

    write_toybox(out, count=count, seed=seed, workers=workers)
    print(f"{count} assets in {out}")
    if report:
        from .data.toybox_report import report_toybox

        report_toybox(out, out / "report", limit=REPORTED_TOYS)
        print(f"pictures and counts in {out / 'report'}")


def render(
    inputs: Inputs,
    /,
    out: Folder,
    size: int = 256,
    frames: int = 24,
    orbits: int = 1,
    rows: int = 1,
    columns: int = 1,
    outputs: tuple[Literal["depth", "normals", "flow"], ...] = ("depth",),
    light: Literal["studio", "random"] = "studio",
    elevation: float = 0.0,
    fit: Literal["swept", "t0"] = "swept",
    loop: Literal["loop", "once", "clamp"] = "loop",
    amplitude: float = 1.0,
    supersample: int = 2,
    animations: Literal["all", "first"] = "all",
    captions: OptionalFile = None,
    hide: Names = (),
    objaverse_root: OptionalFolder = None,
    seed: int = 0,
    workers: OptionalCount = None,
    timeout: float = 120.0,
    memory_gib: float = 4.0,
    ray: OptionalText = None,
    retry_failed: bool = False,
) -> None:
    """Render every animation of many assets: orbit, static orbit and front clip, as samples in DIR/samples.

    Each asset is read and rendered in a process of its own that is watched: one that crashes, hangs or needs too much memory
    costs only itself. DIR/manifest.jsonl has a line for every input, rendered or failed, with its reason. The same command
    continues a run that was stopped; nothing is rendered twice.

    For example:
      orbit4d data render assets/ --out data                              all .glb and .gltf files in a folder
      orbit4d data render a.glb list.txt --size 128 --orbits 8 --out data
      orbit4d data render assets/ --outputs depth normals flow --light random --out data
      orbit4d data render objaverse:all --objaverse-root ~/.objaverse --ray auto --out /shared/data

    Args:
        inputs: Assets (.glb, .gltf), folders of them, text files with a path a line, or objaverse:UID.
        out: Folder to write; one that an earlier run with the same settings wrote is continued.
        size: Side of the frames in pixels.
        frames: Frames of a clip; the last view of an orbit is its first again.
        orbits: Phase-shifted orbits: K views of every moment.
        rows: Moments seen from all views; the first is time 0, the static orbit.
        columns: Views from which all times are rendered; the first is the front.
        outputs: What is stored besides colour and alpha.
        light: studio: one fixed light. random: another light for every animation, drawn from the seed.
        elevation: Height of the cameras in degrees above the horizon.
        fit: swept: the sphere that the whole motion sweeps fills the frame. t0: the largest side at time 0 is 1.
        loop: loop: whole repetitions of a short animation. once: exactly one. clamp: 23/24 s at its own speed.
        amplitude: Size of the motion, 0 (none) to 2; 1 is as authored. The pose at time 0 and the framing stay.
        supersample: Samples along the side of a pixel; 1 is quicker and has jagged edges.
        animations: All animations of a file, or only its first.
        captions: Table of captions (.tsv, .csv or .json); what lies beside the assets is found by itself.
        hide: Meshes to leave out, by name (* and ? allowed). @alternatives keeps one of the accessories on each joint.
        objaverse_root: Local copy of Objaverse (its hf-objaverse-v1 folder) for objaverse: inputs.
        seed: Seed of random lights.
        workers: Processes; as many as there are cores when absent.
        timeout: Seconds that one animation may take.
        memory_gib: Memory that one asset may take.
        ray: Render on a Ray cluster: its address, auto, or local.
        retry_failed: Render again what failed before.
    """
    from .data.engine import render_assets
    from .data.plan import RenderPlan

    plan = RenderPlan(
        frames=frames,
        size=size,
        supersample=supersample,
        elevation=elevation,
        orbits=orbits,
        rows=rows,
        columns=columns,
        outputs=outputs,
        light=light,
        fit=fit,
        loop=loop,
        seed=seed,
        amplitude=amplitude,
    )
    summary = render_assets(
        inputs,
        out=out,
        plan=plan,
        captions=captions,
        animations=animations,
        hide=hide,
        objaverse_root=objaverse_root,
        workers=workers,
        timeout=timeout,
        memory_gib=memory_gib,
        ray=ray,
        retry_failed=retry_failed,
    )
    if not summary.rendered + summary.reused:
        from .data.manifest import read_manifest

        reasons = [str(line["reason"]) for line in read_manifest(out)]
        raise InputError(
            f"nothing was rendered: {reasons[0] if reasons else 'no input has an animation'}; "
            f"{out / 'manifest.jsonl'} has a reason for each of {len(reasons)} inputs"
        )
    print(f"{summary}; next: orbit4d data curate {out}")


def curate(
    folder: Annotated[Positional[Path], arg(metavar="DIR")],
    /,
    static_ssim: float = 0.95,
    static_peak: bool = True,
    violent_ssim: float = 0.4,
    border: float = 0.01,
    empty: float = 0.002,
    keep_duplicates: bool = False,
    captioner: OptionalText = None,
    report: bool = True,
    workers: OptionalCount = None,
) -> None:
    """Keep or drop every rendered animation by Diffusion4D's rules, with the measured values beside each decision.

    DIR/curation.jsonl has a line for every input, kept or dropped, with its reason; DIR/curation/report.html shows
    histograms and contact sheets. Other thresholds take seconds: what was measured is remembered.

    For example:
      orbit4d data curate data
      orbit4d data curate data --violent-ssim 0.3 --captioner Salesforce/blip-image-captioning-base

    Args:
        folder: What `orbit4d data render` wrote.
        static_ssim: Drop when the front view at 1/4 and at 1/2 of the time both resemble the one at 0 more than this.
        static_peak: And only when its most different frame does so too: short animations repeat, and 1/4 and 1/2 can be the
            start again. --no-static-peak is Diffusion4D's rule to the letter.
        violent_ssim: Drop when either resembles it less than this.
        border: Drop when the object covers more than this share of an orbital frame's outermost pixels.
        empty: Drop when it covers less than this share of an orbital frame.
        keep_duplicates: Keep animations whose frames equal those of an earlier one.
        captioner: Model that words captions from the frames: its name at Hugging Face, or a folder.
        report: Write the report's page and pictures.
        workers: Processes; as many as there are cores when absent.
    """
    from .data.curate import curate_folder
    from .data.curation import CurationRules

    rules = CurationRules(
        static_ssim=static_ssim,
        static_peak=static_peak,
        violent_ssim=violent_ssim,
        border=border,
        empty=empty,
        duplicates=not keep_duplicates,
    )
    summary = curate_folder(folder, rules=rules, captioner=captioner, report=report, workers=workers)
    dropped = ", ".join(f"{count} {rule}" for rule, count in summary.by_rule.items())
    print(f"{summary.kept} of {summary.total} kept; dropped: {dropped or 'none'}")
    if report:
        print(f"open {folder / 'curation' / 'report.html'} in a browser")


def shard(
    folder: Annotated[Positional[Path], arg(metavar="DIR")],
    /,
    out: Folder,
    shard_mib: int = 256,
    seed: int = 0,
    include_dropped: bool = False,
) -> None:
    """Pack the kept samples into WebDataset tars, shuffled once, with checksums and an index.

    For example:
      orbit4d data shard data --out shards
      orbit4d train s --data shards --out runs/mine

    Args:
        folder: What `orbit4d data curate` decided on.
        out: Folder to write; shards that an earlier run finished are kept.
        shard_mib: Size of a shard.
        seed: Seed of the order.
        include_dropped: Pack what curation dropped, too.
    """
    from .data.shards import write_shards

    summary = write_shards(folder, out=out, shard_mib=shard_mib, seed=seed, include_dropped=include_dropped)
    print(f"{summary.samples} samples in {summary.shards} shards of {summary.bytes / 2**20:.0f} MiB in all, in {out}")


def import_(
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")], /, out: Folder, size: OptionalCount = None
) -> None:
    """Take over published renderings: Diffusion4D's folders and D-NeRF's become samples to curate, shard and train on.

    For example:
      orbit4d data import diffusion4d/rendering --size 128 --out data
      orbit4d data import dnerf/data --out data

    Args:
        folder: One object's folder, or one that holds many at any depth.
        out: Folder to write, like that of `orbit4d data render`; what is there already is kept.
        size: Side of the frames in pixels; the pictures' own when absent.
    """
    from .data.published import import_published

    summary = import_published(folder, out=out, size=size)
    print(f"{summary.inputs} objects: {summary.imported} imported, {summary.reused} reused, {summary.failed} failed")


def verify(folder: Annotated[Positional[Path], arg(metavar="DIR")], /) -> None:
    """Check shards against their checksums and every sample in them, after a copy or a download.

    For example:
      orbit4d data verify shards

    Args:
        folder: What `orbit4d data shard` wrote.
    """
    from .data.shards import verify_shards

    summary = verify_shards(folder)
    print(f"{summary.samples} samples in {summary.shards} shards are whole")


DATA_VERBS: Verbs = {
    "toybox": toybox,
    "render": render,
    "curate": curate,
    "shard": shard,
    "import": import_,
    "verify": verify,
}
