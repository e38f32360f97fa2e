"""Datasets: every clip kind, every sample once over ranks and workers, the same order after a stop."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from sample_fixtures import disc_folder, disc_sample
from torch.utils.data import DataLoader

from orbit4d.cameras import Orbit
from orbit4d.data.dataset import ShardDataset, collate, item_cameras
from orbit4d.data.latent_set import open_latents
from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample import sample_from_members, save_sample, tar_contents
from orbit4d.data.sample_set import open_samples
from orbit4d.data.selection import Selection, columns, rows, sample_orbits
from orbit4d.data.shards import write_shards
from orbit4d.errors import InputError

PLAN = RenderPlan(frames=8, size=16, orbits=2, rows=2, columns=2)
COUNT = 7


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data")
    write_shards(disc_folder(out / "rendered", count=COUNT, plan=PLAN), out=out / "shards", progress=False)
    return out / "shards"


def _keys(items) -> list[tuple[str, str]]:
    return [(item["key"], item["caption"]) for item in items]


def _pairs(shards: Path, **selection) -> list[tuple[int, int]]:
    return [tuple(p) for p in next(iter(ShardDataset(shards, selection=Selection(**selection))))["pairs"].tolist()]


def test_clip_kinds(shards):
    assert _pairs(shards) == PLAN.orbit(0)
    assert _pairs(shards, phase=1) == PLAN.orbit(1)
    assert _pairs(shards, clip="static") == [(i, 0) for i in range(PLAN.views)]
    assert _pairs(shards, clip="front") == [(0, j) for j in range(PLAN.frames)]
    assert _pairs(shards, clip="all") == PLAN.pairs()
    assert _pairs(shards, clip="pairs", explicit=((3, 3), (0, 0))) == [(3, 3), (0, 0)]
    picked = _pairs(shards, clip="pairs", frames=6)
    assert len(set(picked)) == 6 and set(picked) <= set(PLAN.pairs())
    some = _pairs(shards, frames=3)
    assert len(some) == 3 and set(some) <= set(PLAN.orbit()) and [j for _, j in some] == sorted(j for _, j in some)


def test_rows_columns_and_phases_are_random_ones_of_those_rendered(shards):
    def seen(axis: int, **selection) -> set[int]:
        dataset = ShardDataset(shards, selection=Selection(**selection), epochs=4)
        found = set()
        for item in dataset:
            values = item["pairs"][:, axis].unique().tolist()
            assert len(values) == 1 and len(item["pairs"]) == 2
            found.update(values)
        return found

    assert seen(1, clip="row", frames=2) == set(PLAN.row_times())
    assert seen(0, clip="column", frames=2) == set(PLAN.column_views())
    both = next(iter(ShardDataset(shards, selection=Selection(clip="row", lines=2))))
    assert set(both["pairs"][:, 1].tolist()) == set(PLAN.row_times()) and len(both["pairs"]) == 2 * PLAN.views
    phases = {
        tuple(item["pairs"][0].tolist()) for item in ShardDataset(shards, selection=Selection(phase="random"), epochs=3)
    }
    assert phases == {PLAN.orbit(0)[0], PLAN.orbit(1)[0]}


def test_several_clips_of_one_sample(shards):
    selection = {"orbit": Selection(), "row": Selection(clip="row"), "column": Selection(clip="column")}
    batch = next(iter(ShardDataset(shards, selection=selection, batch=3)))
    assert batch["orbit"]["rgb"].shape == (3, 8, 3, 16, 16)
    assert batch["row"]["rgb"].shape == (3, 7, 3, 16, 16) and batch["column"]["times"].shape == (3, 8)
    assert len(batch["key"]) == 3 and all(isinstance(value, torch.Tensor) for value in batch["row"].values())


def test_items_hold_pixels_cameras_and_times_of_their_pairs(shards):
    item = next(iter(ShardDataset(shards, depth=True, captions="all")))
    sample = open_samples(shards)[item["key"]]
    clip = sample.clip(PLAN.orbit(), depth=True)
    for name in ("rgb", "alpha", "depth", "times"):
        torch.testing.assert_close(item[name], getattr(clip, name))
    torch.testing.assert_close(item["camera_to_world"], clip.cameras.camera_to_world)
    assert item["log_m"] == pytest.approx(math.log(sample.meta["motion_magnitude"]))
    assert item["captions"] == sample.captions and item["caption"] in sample.captions and item["kind"] == "disc"
    torch.testing.assert_close(item_cameras(item).plucker(4, 4), Orbit(frames=8).cameras(16).plucker(4, 4))
    batch = collate([item, item])
    assert batch["rgb"].shape == (2, 8, 3, 16, 16) and item_cameras(batch).plucker(4, 4).shape == (2, 8, 4, 4, 6)
    assert batch["log_m"].shape == (2,)


def test_epochs_are_permutations_and_captions_vary(shards):
    dataset = ShardDataset(shards, epochs=3)
    items = [(item["epoch"], item["key"], item["caption"]) for item in dataset]
    epochs = [[key for e, key, _ in items if e == epoch] for epoch in range(3)]
    assert all(sorted(keys) == sorted(open_samples(shards).keys) for keys in epochs)
    assert epochs[0] != epochs[1] and len({caption for *_, caption in items}) == 2
    assert [(i["epoch"], i["key"], i["caption"]) for i in dataset] == items  # ended, it starts again
    assert [i["key"] for i in ShardDataset(shards, epochs=1, shuffle=False)] == open_samples(shards).keys
    assert [i["key"] for i in ShardDataset(shards, epochs=1, seed=1)] != epochs[0]


def test_ranks_and_workers_share_an_epoch_without_overlap(shards):
    seen = []
    for rank in range(2):
        dataset = ShardDataset(shards, rank=rank, world=2, epochs=1)
        mine = _keys(dataset)
        assert _keys(dataset.loader(workers=2)) == mine
        assert _keys(DataLoader(dataset, batch_size=None, num_workers=2)) == mine
        seen += [key for key, _ in mine]
    assert sorted(seen) == sorted(open_samples(shards).keys) and len(seen) == COUNT


@pytest.mark.parametrize("workers", [0, 2])
def test_going_on_equals_the_uninterrupted_order(shards, workers):
    selection = Selection(clip="pairs", frames=4)
    whole = list(itertools.islice(ShardDataset(shards, selection=selection, batch=3), 8))
    dataset = ShardDataset(shards, selection=selection, batch=3)
    first = list(itertools.islice(dataset.loader(workers=workers), 3))
    state = dataset.state_dict()
    assert state == {"epoch": 9 // COUNT, "position": 9 % COUNT, "seed": 0, "samples": COUNT}
    resumed = ShardDataset(shards, selection=selection, batch=3)
    resumed.load_state_dict(state)
    rest = list(itertools.islice(resumed.loader(workers=workers and 1), 5))
    for a, b in zip(whole, first + rest, strict=True):
        assert a["key"] == b["key"] and a["caption"] == b["caption"]
        assert torch.equal(a["pairs"], b["pairs"]) and torch.equal(a["rgb"], b["rgb"])


def test_going_on_with_other_ranks(shards):
    alone = _keys(itertools.islice(ShardDataset(shards), 20))
    two = [ShardDataset(shards, rank=rank, world=2) for rank in range(2)]
    firsts = [_keys(itertools.islice(dataset, 4)) for dataset in two]
    assert [key for pair in zip(*firsts, strict=True) for key in pair] == alone[:8]
    assert two[0].state_dict() == two[1].state_dict()
    one = ShardDataset(shards)
    one.load_state_dict(two[0].state_dict())
    assert _keys(itertools.islice(one, 12)) == alone[8:]


def test_no_item_shares_the_random_numbers_of_its_epochs_order(shards, monkeypatch):
    drawn, default_rng = [], np.random.default_rng

    def noted(words):
        rng = default_rng(words)
        drawn.append(rng.bit_generator.state["state"]["state"])
        return rng

    monkeypatch.setattr(np.random, "default_rng", noted)
    dataset = ShardDataset(shards)
    for epoch in range(3):
        for number in range(3):
            dataset.item(epoch, number)
    assert len(drawn) == len(set(drawn)) == 3 + 9


def test_states_of_ranks_agree_until_a_finite_stream_ends(shards):
    datasets = [ShardDataset(shards, rank=rank, world=2, epochs=1) for rank in range(2)]
    streams = [iter(dataset) for dataset in datasets]
    for step in range(COUNT // 2):
        for stream in streams:
            next(stream)
        states = [dataset.state_dict() for dataset in datasets]
        assert states[0] == states[1] == states[0] | {"epoch": 0, "position": 2 * (step + 1)}
    assert [next(stream, None) is None for stream in streams] == [False, True]
    list(streams[0])
    assert all(dataset.state_dict()["position"] == dataset.state_dict()["epoch"] == 0 for dataset in datasets)


def test_finite_streams_end_with_what_is_left(shards):
    for workers in (0, 2):
        batches = list(ShardDataset(shards, batch=3, epochs=1).loader(workers=workers))
        assert [len(batch["key"]) for batch in batches] == [3, 3, 1]


def test_errors_from_workers_are_one_line(shards):
    dataset = ShardDataset(shards, selection=Selection(phase=2))
    for workers in (0, 2):
        with pytest.raises(InputError, match="no phase 2") as error:
            next(iter(dataset.loader(workers=workers)))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"clip": "spiral"},
        {"phase": -1},
        {"frames": 0},
        {"clip": "pairs"},
        {"clip": "orbit", "explicit": ((0, 0),)},
        {"clip": "row", "lines": 0},
    ],
)
def test_bad_selections_are_refused(bad):
    with pytest.raises(InputError, match="selection"):
        Selection(**bad)


def test_bad_requests_are_one_line(shards, tmp_path):
    for message, options in (
        ("rank", {"rank": 2, "world": 2}),
        ("batch", {"batch": 0}),
        ("whole rows", {"selection": Selection(clip="row", lines=3)}),
        ("frames of orbit", {"selection": Selection(frames=9)}),
        ("was not rendered", {"selection": Selection(clip="pairs", explicit=((1, 3),))}),
    ):
        with pytest.raises(InputError, match=message):
            next(iter(ShardDataset(shards, **options)))
    dataset = ShardDataset(shards, world=2)
    for message, state in (
        ("expected epoch", {}),
        ("seed 1", {"epoch": 0, "position": 0, "seed": 1, "samples": COUNT}),
        ("2 ranks", {"epoch": 0, "position": 1, "seed": 0, "samples": COUNT}),
    ):
        with pytest.raises(InputError, match=message):
            dataset.load_state_dict(state)
    items = [ShardDataset(shards, selection=Selection(frames=n)).item(0, 0) for n in (2, 3)]
    with pytest.raises(InputError, match="batch"):
        collate(items)


def test_what_was_not_rendered_is_no_row(shards):
    sample = open_samples(shards)[0]
    assert sorted(rows(sample)) == PLAN.row_times() and sorted(columns(sample)) == PLAN.column_views()
    sample.meta["pairs"] = [p for p in sample.meta["pairs"] if p != [2, 0]]
    assert 0 not in rows(sample)
    with pytest.raises(InputError, match="static orbit"):
        Selection(clip="static").pairs(sample, np.random.default_rng(0))
    sample.meta["orbits"] = []
    assert sample_orbits(sample) == [PLAN.orbit()]
    sample.meta["pairs"] = [[0, 0]]
    with pytest.raises(InputError, match="holds no orbit"):
        sample_orbits(sample)


@pytest.mark.parametrize(
    ("selection", "values"),
    [
        (Selection(), {"orbits": 5}),
        (Selection(), {"orbits": [[3]]}),
        (Selection(), {"orbits": [[[0, 99]]]}),
        (Selection(clip="static"), {"static_time": "x"}),
        (Selection(clip="static"), {"static_time": 99}),
        (Selection(clip="front"), {"front_view": -1}),
        (Selection(), {"motion_magnitude": "fast"}),
        (Selection(), {"motion_magnitude": -1.0}),
    ],
)
def test_metadata_that_lie_are_one_line(tmp_path, selection, values):
    sample = disc_sample(PLAN, key="liar")
    sample.meta |= values
    save_sample(sample, tmp_path / "liar.tar")
    with pytest.raises(InputError) as error:
        next(iter(ShardDataset(tmp_path, selection=selection)))
    assert "\n" not in str(error.value)


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_no_damage_raises_anything_but_a_line(shards, place, value):
    """A byte of the first sample is overwritten: it is read, whole or as other pixels, or refused in one line."""
    entry = open_samples(shards).entries[0]
    data = bytearray(entry.file.read_bytes()[: entry.length])
    data[int(place * len(data))] = value
    try:
        sample = sample_from_members(tar_contents(bytes(data), source="x"), source="x")
        for pair in sample.pairs[:1]:
            sample.rgba(pair)
    except InputError as error:
        assert "\n" not in str(error)


def _old_latents(file: Path, *, frames: int = 5, autoencoder: str = "abc") -> None:
    """A latent clip of the first format: no cameras, and the orbit's last view under its own number."""
    pairs = [(i, i) for i in range(frames)] + [(i, 0) for i in range(1, frames)]
    latents = torch.arange(len(pairs))[:, None, None, None].expand(-1, 4, 2, 2).half().contiguous()
    meta = '{"key": "a", "captions": ["a disc"], "kind": "disc", "motion_magnitude": 0.01}'
    save_file(
        {"latents": latents, "pairs": torch.tensor(pairs, dtype=torch.int32)},
        file,
        metadata={"clip": meta, "autoencoder": autoencoder},
    )


def test_selections_are_served_from_latents(tmp_path):
    _old_latents(tmp_path / "a.safetensors")
    _old_latents(tmp_path / "b.safetensors")
    store = open_latents(tmp_path)
    dataset = ShardDataset(store, selection=Selection(clip="static"), epochs=1, batch=2)
    (batch,) = dataset
    assert batch["latents"].shape == (2, 5, 4, 2, 2) and "rgb" not in batch
    assert batch["latents"][0, :, 0, 0, 0].tolist() == [0, 5, 6, 7, 8]
    torch.testing.assert_close(item_cameras(batch).camera_to_world[0], Orbit(frames=5).cameras(128).camera_to_world)
    with pytest.raises(InputError, match="no depth"):
        next(iter(ShardDataset(store, depth=True)))
    with pytest.raises(InputError, match="view 1 at time 2 was not rendered"):
        next(iter(ShardDataset(store, selection=Selection(clip="pairs", explicit=((1, 2),)))))
    _old_latents(tmp_path / "c.safetensors", autoencoder="other")
    with pytest.raises(InputError, match=r"c\.safetensors: made by autoencoder other"):
        open_latents(tmp_path)
    (tmp_path / "c.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="not a latent clip"):
        open_latents(tmp_path)
