"""What docs/results.md and other pages show of the generative model: ablations, sampling, recognition, image to 4D, training speed,
its features for the construction; see tables.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from markdown_tables import table


def denoiser_ablations(report: dict, reports: dict) -> str:
    parts = _ablation_tables(report)
    if wide := reports.get("denoiser_ablations_wide"):
        parts += _ablation_tables(wide)
    if framing := reports.get("denoiser_framing"):
        parts.append(_framing_table(framing))
    return (
        """## What each ingredient of the denoiser is worth

Networks of 0.4 million parameters, trained for equal steps on the same clips, scored on animations and azimuths that none was
trained on (`ablations/`; its README says what each variant is). A value a seed. *loss at t*: the flow-matching loss on held-out
clips at that noise level. Bold: what the others of its table are to be read against. *azimuth*: from which side the one-step
estimate at t = 1 shows the object, its mean error in degrees
(90 is chance); *views*: its centred correlation with the true view. Tables of different data are not comparable.

"""
        + "\n\n".join(parts)
        + "\n\n![training losses](../benchmarks/results/denoiser_ablations_curves.png)"
        + (
            "\n\n![training losses, 28 assets](../benchmarks/results/denoiser_ablations_wide_curves.png)"
            if wide
            else ""
        )
    )


def _ablation_tables(report: dict) -> list[str]:
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
        parts.append(f"**{TASKS[task]}**, {found['steps']:,} steps, {report.get('data', '14 assets')}\n\n")
        parts[-1] += table(["variant", "seeds", "parameters", *figures.values()], rows)
    return parts


def _framing_table(report: dict) -> str:
    rows = []
    for name, entry in report["framings"].items():
        runs, seen = entry["rows"], entry["seen"]
        figures = [
            _spread([r["one_step"]["azimuth_error_deg"] for r in runs]),
            _spread([r["one_step"]["static_view_correlation"] for r in runs]),
            _spread([r["sample"]["azimuth_error_deg"] for r in runs]),
            _spread([r["sample"]["static_foreground_psnr"] for r in runs]),
            f"{entry['repeat_the_input']['sample']['static_foreground_psnr']:.2f}",
        ]
        rows.append([name, len(runs), f"{seen['covered']:.1%}", f"{seen['cut']:.0%}", *figures])
    count = next(iter(report["framings"].values()))["training_clips"]
    says = "; ".join(f"`{name}`: {entry['says']}" for name, entry in report["framings"].items())
    return f"""**Framing**, one picture to static views, the variant `best`, {count} clips in training. {says}. *covered*: of the
pixels, by the object; *cut*: of the moving orbits, by the frame's border. Each is scored on its own pictures.

""" + table(
        [
            "framing",
            "seeds",
            "covered",
            "cut",
            "azimuth",
            "views",
            "azimuth of samples",
            "foreground dB of samples",
            "of repeating",
        ],
        rows,
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
    cells, counts = _by_budget(report["cells"])
    names = list(dict.fromkeys(c["scheduler"] for c in report["cells"]))
    rows = [[f"`{name}`", *(_of_scheduler(cells.get((name, count))) for count in counts)] for name in names]
    return f"""## Quality against sampling steps

PSNR in dB of a sample to the sample of the same seed and prompt by {report["reference"]} / foreground PSNR of an orbit by
image and prompt against the true orbit without frame 0 / seconds of the call (`schedulers.py`, {len(report["prompts"])} prompts,
seeds {_list(report["seeds"])}, {report["frames"]} frames, default guidance). Columns are evaluations of the network; `heun`, which
spends two a step and one on the last, has one fewer than an even number.

{table(["scheduler", *counts], rows)}"""


def _by_budget(cells: Sequence[dict]) -> tuple[dict[tuple[str, int], dict], list[int]]:
    """{(scheduler, evaluations): cell} and the numbers of evaluations; heun's odd numbers count as the even ones after them."""
    shared = {c["evaluations"] for c in cells if c["scheduler"] != "heun"}
    found = {}
    for cell in cells:
        count = cell["evaluations"]
        found[cell["scheduler"], count + (count not in shared and count + 1 in shared)] = cell
    return found, sorted({count for _, count in found})


def _of_scheduler(cell: dict | None) -> str:
    if cell is None:
        return ""
    return f"{cell['psnr_to_reference']:.1f} / {_truth_of(cell)} / {cell['seconds']:.0f}"


def _truth_of(cell: dict) -> str:
    truth = cell["image_to_orbit_foreground_psnr"]
    return "-" if truth is None else f"{truth:.2f}"


def _schedulers_headline(report: dict, reports: dict) -> str:
    cells, counts = _by_budget(report["cells"])
    names = list(dict.fromkeys(c["scheduler"] for c in report["cells"]))
    rows = []
    for count in counts:
        of = [cells.get((name, count)) for name in names]
        shown = ["" if c is None else f"{c['psnr_to_reference']:.1f} / {_truth_of(c)}" for c in of]
        rows.append([count, *shown, f"{statistics.mean(c['seconds'] for c in of if c is not None):.0f}"])
    return f"""PSNR in dB to the sample by {report["reference"]} / foreground PSNR of an orbit by image and prompt
against the truth; {len(report["prompts"])} prompts:

{table(["evaluations", *(f"`{name}`" for name in names), "seconds"], rows)}"""


def contact_sheet(report: dict, reports: dict) -> str:
    rule = (
        "named by hand"
        if report["choice_seed"] is None
        else f"drawn from the model's own captions by a rule with seed {report['choice_seed']}"
    )
    return f"""## What prompts give, uncurated

{len(report["prompts"])} prompts, {rule}, seeds {_list(report["seeds"])}: every one that was sampled, by
{report["steps"]} steps, all else as `orbit4d generate` has it by default (`contact_sheet.py`). Of each orbit, frames
{_list(report["shown"])} of {report["frames"]}: time and view change together.

![{len(report["tiles"])} orbits sampled by prompt](../benchmarks/results/{report["picture"]})"""


def features(report: dict, reports: dict) -> str:
    parts = []
    for kind, found in report["means"].items():
        steps = list(next(iter(found.values()))["foreground_psnr"])
        head = ["features", *(f"{s} steps" if s != "end" else f"{report['steps']} steps" for s in steps)]
        rows = []
        for given, entry in found.items():
            gain = _gain(entry["gain"]["end"]) if entry["gain"] else "-"
            values = [f"{entry['foreground_psnr'][s]:.2f}" for s in steps]
            rows.append([given, *values, gain, _iterations(entry["iterations"])])
        count = len(next(iter(found.values()))["sources"])
        parts.append(f"**{KINDS[kind]}** ({count} {'objects' if count > 1 else 'object'})\n\n")
        parts[-1] += table([*head, "gain at the end, dB", "steps to none's end"], rows)
    given = list(dict.fromkeys(c["given"] for c in report["cases"]))
    steps_of = {(c["source"], c["given"]): c["iterations"] for c in report["cases"]}
    each = [
        [source, *(_steps(steps_of[source, g]) if (source, g) in steps_of else "" for g in given)]
        for source in dict.fromkeys(c["source"] for c in report["cases"])
    ]
    return f"""## Constructing with the model's features

ST-HexPlane told the denoiser's spatial maps, its temporal maps, both, none, or noise in their place (`features.py`, seeds
{_list(report["seeds"])}). Foreground PSNR on frames that nothing was fitted to; gains are paired by object and seed, in brackets
95 % intervals over objects (of a single object, over its seeds). *Steps to none's end*: how many the construction needs until
it scores what the one without features scores at its end, by straight lines between the steps that were scored; the median of
the objects, and how many reached it.

{(2 * BREAK).join(parts)}

Steps to none's end, each object:

{table(["object", *given], each)}"""


KINDS = {"rendered": "Animated assets", "elk": "The elk", "generated": "Generated orbits"}
BREAK = "\n"


def _iterations(entry: dict) -> str:
    return f"{_steps(entry['median'])} ({entry['reached']} of {entry['cases']})"


def _steps(steps: float | None) -> str:
    return "not reached" if steps is None else f"{steps:,.0f}"


def _features_headline(report: dict, reports: dict) -> str:
    rows = []
    for kind, found in report["means"].items():
        for given, entry in found.items():
            if entry["gain"]:
                rows.append([KINDS[kind], given, _gain(entry["gain"]["end"]), _iterations(entry["iterations"])])
    head = ["constructed", "features", "foreground dB over none", f"steps to none's end ({report['steps']:,})"]
    return f"Seeds {_list(report['seeds'])}, in brackets 95 % intervals and how many objects reached it:\n\n" + table(
        head, rows
    )


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
    for given, split, means in _given(report, reports):
        count = means["generated"]["foreground_psnr"]["count"]
        values = [
            means[m]["foreground_psnr"]["mean"] for m in ("generated", "repeated", "nearest", "oracle", "autoencoder")
        ]
        rows.append([given, split, count, *(f"{v:.2f}" for v in values), *_gains(means), _similarities(means)])
    head = ["given", "split", "cases", "generated", "image repeated", "nearest clip", "best clip", "autoencoder"]
    return f"""## Image to 4D, on clips of which the truth is known

The first frame of an orbit is given; foreground PSNR of the others against the truth, frame 0 left out (`image_to_4d.py`; the
methods: [recognition.md](recognition.md#image-to-4d)). *picture*: the model's captioner finds words for it, as in `generate`;
*no words*: it does not; *prompt*: the model is told the caption, which names the motion. Frames are given as they stand in
their clip, with their azimuth; a user's picture is centred and counts as a front view: that was not scored. The baselines have
the picture alone. *azimuth*: trained animations from azimuths between the trained ones; *animation*: animations of trained
assets that were not trained on; *rig*: assets of families that were not. In brackets 95 % intervals over cases. *SSIM*, in the box
that holds the object: generated / image repeated / nearest clip.

{table([*head, "over the image", "over the nearest", "SSIM"], rows)}"""


def _given(report: dict, reports: dict) -> list[tuple[str, str, dict]]:
    """(what was given, split, its means), by the picture and, where that was measured, without any words and with the caption."""
    first = "picture" if report.get("captioner") else "picture, no words"
    others = {"picture, no words": "image_to_4d_no_caption", "picture, prompt": "image_to_4d_prompt"}
    all_three = {first: report} | {given: reports.get(name) for given, name in others.items() if given != first}
    return [(given, split, means) for given, r in all_three.items() if r for split, means in r["means"].items()]


def _gains(means: dict) -> list[str]:
    return [_gain(means[f"foreground_psnr_over_{other}"]) for other in ("repeated", "nearest")]


def _similarities(means: dict) -> str:
    """SSIM of what was generated and of the two baselines, as far as the report has them."""
    found = [means.get(m, {}).get("foreground_ssim") for m in ("generated", "repeated", "nearest")]
    return " / ".join("-" if f is None else f"{f['mean']:.3f}" for f in found)


def captioner(report: dict, reports: dict) -> str:
    return f"""## Words for a picture

What the built-in captioner ({report["parameters"]:,} parameters) says of a picture alone, the first frame of a clip
(`captioner.py`); a kind is said from {report["sure"]["kind"]} of probability, the motion is the likeliest of the kind.
Splits as above; *centred*: framed as `generate` frames a picture, else as in the clip, whose frame holds the whole motion.

{_captioner_headline(report, reports)}"""


def _captioner_headline(report: dict, reports: dict) -> str:
    rows = [
        [
            split,
            of["pictures"],
            *(f"{of[what][how]['mean']:.2f}" for what in ("kind", "motion") for how in ("right", "wrong")),
        ]
        for split, of in report["splits"].items()
    ]
    return table(["pictures", "count", "kind right", "kind wrong", "motion right", "motion wrong"], rows)


def _image_headline(report: dict, reports: dict) -> str:
    rows = []
    for given, split, means in _given(report, reports):
        generated = means["generated"]["foreground_psnr"]
        rows.append(
            [given, split, generated["count"], f"{generated['mean']:.2f}", *_gains(means), _similarities(means)]
        )
    head = ["given", "split", "cases", "foreground dB", "over the image repeated", "over the nearest training clip"]
    return table([*head, "SSIM: generated / repeated / nearest"], rows)


def _recognition_headline(report: dict, reports: dict) -> str:
    found, chance = report["generated"], report["chance"]
    rows = [["generated by prompt", _interval(found["kind"]), _interval(found["motion"]), found["clips"]]]
    if (other := report.get("generated_held_out_compositions")) is not None:
        rows.append(["kind and motion never trained on together"])
        rows[-1] += [_interval(other["kind"]), _interval(other["motion"]), other["clips"]]
    real = report.get("real_same_kinds")
    if real is not None:
        rows.append(["real clips of these kinds", f"{real['kind']:.2f}", f"{real['motion']:.2f}", real["clips"]])
    rows.append(
        ["chance: one class in so many", f"{chance['kind_uniform']:.2f}", f"{chance['motion_uniform']:.2f}", ""]
    )
    return f"""{report["prompts"]} prompts, seeds {_list(report["seeds"])}, share named rightly with 95 % intervals:

{table(["clips", "kind", "motion", "count"], rows)}"""


def training_speed(report: dict, reports: dict) -> str:
    rows = []
    for key, name in LOOPS.items():
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


LOOPS = {
    "trainer": "`orbit4d train`",
    "plain": "a plain loop",
    "compiled": "plain, `torch.compile`",
    "checkpointed": "plain, gradient checkpointing",
}


def _training_headline(report: dict, reports: dict) -> str:
    found = [
        f"{name}: {loop['samples_per_second']:.2f} samples a second ({loop['cpu_over_plain']:.2f})"
        for key, name in LOOPS.items()
        if (loop := report["loops"].get(key)) is not None
    ]
    return f"""**Measured** with preset `{report["preset"]}`, batches of {report["batch"]} samples of {report["frames"]} frames,
{report["precision"]}; in brackets processor time a step, as a share of the plain loop's.

{BREAK.join(f"- {line}" for line in found)}"""


HEADLINES = {
    "schedulers": _schedulers_headline,
    "image_to_4d": _image_headline,
    "captioner": _captioner_headline,
    "recognition_generated": _recognition_headline,
    "training_speed": _training_headline,
    "features": _features_headline,
}


def _spread(values: list[float] | None) -> str:
    return "" if not values else ", ".join(f"{v:.1f}" if abs(v) >= 10 else f"{v:.3f}" for v in values)


def _interval(entry: dict, sign: str = "") -> str:
    """As bootstrap_interval gives it: no interval of a single case, and no mean of none."""
    if entry["mean"] is None:
        return "-"
    if entry["low"] is None:
        return f"{entry['mean']:{sign}.2f}"
    return f"{entry['mean']:{sign}.2f} ({entry['low']:{sign}.2f} to {entry['high']:{sign}.2f})"


def _gain(entry: dict) -> str:
    return _interval(entry, "+")


def _list(values: Sequence[object]) -> str:
    return ", ".join(str(v) for v in values)
