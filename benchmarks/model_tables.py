"""The sections of docs/results.md about the generative model: ablations, sampling, recognition, image to 4D, training speed."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_tables import table


def denoiser_ablations(report: dict, reports: dict) -> str:
    parts = []
    for task, found in report["tasks"].items():
        figures = {
            k: v for k, v in TASK_FIGURES[task].items() if any(k in e["mean"] for e in found["variants"].values())
        }
        base = found["variants"].get("best", found["variants"].get("base"))
        rows = []
        for name, entry in found["variants"].items():
            cells = [_spread(entry["each"].get(f)) for f in figures]
            rows.append(
                [f"**{name}**" if entry is base else name, len(entry["seeds"]), f"{entry['parameters']:,}", *cells]
            )
        parts.append(f"**{TASKS[task]}**, {found['steps']:,} steps\n\n")
        parts[-1] += table(["variant", "seeds", "parameters", *figures.values()], rows)
    return (
        """## What each ingredient of the denoiser is worth

Networks of 0.4 million parameters, trained for equal steps on the same clips, scored on animations and azimuths that none was
trained on (`ablations/`; its README says what each variant is). A value a seed. *loss at t*: the flow-matching loss on held-out
clips at that noise level. *azimuth*: from which side the one-step estimate at t = 1 shows the object, its mean error in degrees
(90 is chance); *views*: its centred correlation with the true view.

"""
        + "\n\n".join(parts)
        + "\n\n![training losses](../benchmarks/results/denoiser_ablations_curves.png)"
    )


TASKS = {"views": "One picture to static views", "orbit": "One picture and words to a moving orbit"}
TASK_FIGURES = {
    "views": {
        "flow 0.9": "loss at .9",
        "flow 0.98": "loss at .98",
        "flow 1": "loss at 1",
        "one step azimuth deg": "azimuth",
        "one step static views": "views",
    },
    "orbit": {
        "flow 0.9": "loss at .9",
        "flow 0.98": "loss at .98",
        "flow 1": "loss at 1",
        "one step azimuth deg": "azimuth",
        "one step moving views": "views (moving)",
        "one step moving dB": "dB over repeating (moving)",
    },
}


def schedulers(report: dict, reports: dict) -> str:
    steps = sorted({c["evaluations"] for c in report["cells"]})
    rows = []
    for name in dict.fromkeys(c["scheduler"] for c in report["cells"]):
        of = {c["evaluations"]: c for c in report["cells"] if c["scheduler"] == name}
        rows.append([f"`{name}`", *(_of_scheduler(of.get(s)) for s in steps)])
    return f"""## Quality against sampling steps

PSNR in dB of a sample to the sample of the same seed and prompt by {report["reference"]} / foreground PSNR of an orbit by
image and prompt against the true orbit without frame 0 / seconds of the call (`schedulers.py`, {len(report["prompts"])} prompts,
seeds {_list(report["seeds"])}, {report["frames"]} frames, default guidance). Columns are evaluations of the network.

{table(["scheduler", *steps], rows)}"""


def _of_scheduler(cell: dict | None) -> str:
    if cell is None:
        return ""
    truth = cell["image_to_orbit_foreground_psnr"]
    return f"{cell['psnr_to_reference']:.1f} / {'' if truth is None else f'{truth:.2f}'} / {cell['seconds']:.0f}"


def orbits(report: dict, reports: dict) -> str:
    rows = []
    for m in report["means"]:
        values = [m["frames_foreground_psnr"], m["held_out_foreground_psnr"], m["novel_foreground_psnr"]]
        cells = ["" if v is None else f"{v:.2f}" for v in values]
        rows.append([m["orbits"], m["mode"], m["samples"], *cells, f"{m['seconds']:.0f}"])
    names = sorted({c["case"] for c in report["cases"]})
    return f"""## Several orbits: together, or one by one

K orbits of {_list(names)}, by image{" and prompt" if report["text"] else ""} (`orbits.py`).
*frames*: foreground PSNR of the sampled frames against the true ones; *held out*: every 4th frame against a construction
without it, which is how well the views agree; *novel*: the construction from all of them against a true orbit between them.

{table(["orbits", "sampled", "samples", "frames", "held out", "novel", "seconds"], rows)}"""


def recognition(report: dict, reports: dict) -> str:
    held, chance = report["held_out"], report["held_out"]["chance"]
    names = {
        "characters": "real, held out, decoded: the vocabulary",
        "start0_characters": "the same, from azimuth 0",
        "toys": "toys that it never saw",
        "static": "the object frozen at time 0 (all kinds)",
        "scrambled": "frames in a random order (all kinds)",
    }
    rows = [[names[k], _interval(held[k]["kind"]), _interval(held[k]["motion"]), held[k]["clips"]] for k in names]
    made = reports.get("recognition_generated")
    if made is not None:
        figures = made["generated"]
        sampled = len(made["clips"])
        label = f"**generated by prompt** ({made['prompts']} prompts, seeds {_list(made['seeds'])})"
        rows.insert(0, [label, _interval(figures["kind"]), _interval(figures["motion"]), sampled])
    rows.append(
        [
            "chance: one class in so many; always the commonest",
            f"{chance['kind_uniform']:.2f}; {chance['kind_most_frequent']:.2f}",
            f"{chance['motion_uniform']:.2f}; {chance['motion_most_frequent']:.2f}",
            "",
        ]
    )
    return f"""## Recognition

How often a small classifier ({report["weights"]["parameters"] / 1e6:.1f} M parameters, trained on real clips only) names the
kind and the motion that a clip was made for; {len(report["kinds"])} kinds, {len(report["motions"])} motions
([recognition.md](recognition.md) says how, `recognition/train.py`, `recognition/score.py`). In brackets 95 % intervals.

{table(["clips", "kind", "motion", "clips"], rows)}"""


def image_to_4d(report: dict, reports: dict) -> str:
    rows = []
    for split, means in report["means"].items():
        count = means["generated"]["foreground_psnr"]["count"]
        values = [
            means[m]["foreground_psnr"]["mean"] for m in ("generated", "repeated", "nearest", "oracle", "autoencoder")
        ]
        gains = [_gain(means[f"foreground_psnr_over_{other}"]) for other in ("repeated", "nearest")]
        similar = means["generated"]["foreground_ssim"]
        rows.append([split, count, *(f"{v:.2f}" for v in values), *gains, f"{similar['mean']:.3f}"])
    head = ["split", "cases", "generated", "image repeated", "nearest clip", "best clip", "autoencoder"]
    return f"""## Image to 4D, on clips of which the truth is known

The first frame of an orbit is given; foreground PSNR of the others against the truth, frame 0 left out (`image_to_4d.py`; the
methods: [recognition.md](recognition.md#image-to-4d)). *azimuth*: trained animations from azimuths between the trained ones;
*animation*: animations of trained assets that were not trained on; *rig*: assets of families that were not. In brackets 95 %
intervals over cases.

{table([*head, "over the image", "over the nearest", "SSIM"], rows)}"""


def training_speed(report: dict, reports: dict) -> str:
    names = {
        "trainer": "`orbit4d train`",
        "plain": "a plain loop",
        "compiled": "plain, `torch.compile`",
        "checkpointed": "plain, gradient checkpointing",
    }
    rows = []
    for key, name in names.items():
        if key in report["loops"]:
            loop = report["loops"][key]
            rows.append(
                [
                    name,
                    loop["samples_per_second"],
                    loop["cpu_seconds"],
                    loop["cpu_over_plain"],
                    loop["first_step_seconds"],
                ]
            )
    return f"""## Training speed

Preset `{report["preset"]}` ({report["parameters"] / 1e6:.1f} M parameters), batches of {report["batch"]} samples of
{report["frames"]} frames, {report["precision"]}, {report["steps_each"]} steps of each loop in turns (`training_speed.py`).

{table(["loop", "samples/s", "CPU s a step", "of the plain loop's", "first step, s"], rows)}"""


def _spread(values: list[float] | None) -> str:
    return "" if not values else ", ".join(f"{v:.1f}" if abs(v) >= 10 else f"{v:.3f}" for v in values)


def _interval(entry: dict) -> str:
    return f"{entry['mean']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})"


def _gain(entry: dict) -> str:
    return f"{entry['mean']:+.2f} ({entry['low']:+.2f} to {entry['high']:+.2f})"


def _list(values: Sequence[object]) -> str:
    return ", ".join(str(v) for v in values)
