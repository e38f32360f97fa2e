"""`ShardDataset`: clips of samples in a seeded order that can be stopped and gone on with at any item.

Every rank and worker computes its own part of one global order: number g of the stream is number g mod n of epoch
g // n, and all that is random about an item comes from (seed, epoch, number). So an item does not depend on how many
processes read, and to go on is to set one number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..cameras import Cameras
from ..errors import InputError
from .latent_set import LatentClip, LatentStore
from .motion_scale import log_motion
from .plan import Pair
from .sample import Sample
from .sample_set import SampleSet, open_samples
from .selection import Selection

Item = dict[str, Any]
_ORDER, _ITEM = 1, 2
"""What a random stream is for. Without it an epoch's order and its item 0 would share one: seeds are padded with zeros."""


def frame_tensors(sample: Sample | LatentClip, pairs: list[Pair], *, depth: bool = False) -> dict[str, Tensor]:
    """What a clip of these pairs holds: `rgb` (n, 3, h, w) in [0, 1], straight alpha, `alpha` (n, 1, h, w), optional
    `depth` (n, 1, h, w), or, of a latent clip, `latents` (n, c, h / 8, w / 8); `camera_to_world` (n, 4, 4) OpenCV,
    `intrinsics` (n, 3, 3) in pixels of the frames, `times` (n,), `pairs` (n, 2).
    """
    place = {pair: k for k, pair in enumerate(sample.pairs)}
    absent = [pair for pair in pairs if pair not in place]
    if absent:
        raise InputError(f"{sample.key}: view {absent[0][0]} at time {absent[0][1]} was not rendered; see its `pairs`")
    views = [i for i, _ in pairs]
    out = {
        # By NumPy: of nested lists ten times as fast, and on one core, of which several processes read.
        "camera_to_world": torch.from_numpy(np.asarray(sample.meta["camera_to_world"], dtype=np.float32)[views]),
        "intrinsics": torch.from_numpy(np.asarray(sample.meta["intrinsics"], dtype=np.float32)[views]),
        "times": torch.tensor([sample.meta["times"][j] for _, j in pairs], dtype=torch.float32),
        "pairs": torch.tensor(pairs, dtype=torch.long),
    }
    if isinstance(sample, LatentClip):
        if depth:
            raise InputError(f"{sample.key}: latents hold no depth; read the samples instead")
        return out | {"latents": sample.latents[[place[pair] for pair in pairs]].float()}
    rgba = np.empty((len(pairs), 4, int(sample.meta["height"]), int(sample.meta["width"])), np.float32)
    for frame, pair in zip(rgba, pairs, strict=True):
        np.divide(sample.rgba(pair).transpose(2, 0, 1), 255, out=frame, dtype=np.float32)
    out |= {"rgb": torch.from_numpy(rgba[:, :3]), "alpha": torch.from_numpy(rgba[:, 3:])}
    if depth:
        out["depth"] = torch.from_numpy(np.stack([sample.depth(pair) for pair in pairs]))[:, None]
    return out


def item_cameras(item: Item) -> Cameras:
    """The cameras of an item's (or a collated batch's) clip, for rays, Pluecker coordinates and projection."""
    return Cameras(
        camera_to_world=item["camera_to_world"],
        intrinsics=item["intrinsics"],
        width=int(item["width"]),
        height=int(item["height"]),
    )


def collate(items: list[Item]) -> Item:
    """A batch: tensors stacked, numbers as a tensor, text in lists; `width` and `height`, common to all, stay numbers.

    Raises InputError where the clips differ in length or size.
    """
    out: Item = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        match first:
            case Tensor():
                shapes = {tuple(v.shape) for v in values}
                if len(shapes) > 1:
                    raise InputError(
                        f"batch: {name} of {items[0]['key']} and others have shapes {sorted(shapes)[:3]}; select equally "
                        "many frames, of samples of one size"
                    )
                out[name] = torch.stack(values)
            case dict():
                named = collate([{"key": item["key"]} | item[name] for item in items])
                out[name] = {inner: value for inner, value in named.items() if inner != "key"}
            case int() if name in ("width", "height"):
                if len(set(values)) > 1:
                    raise InputError(
                        f"batch: the samples' {name} differs ({sorted(set(values))[:3]}); render them alike"
                    )
                out[name] = first
            case float() | int():
                out[name] = torch.tensor(values)
            case _:
                out[name] = values
    return out


def _generator(*words: int) -> np.random.Generator:
    return np.random.default_rng(words)


class ShardDataset(IterableDataset):
    """Clips, one a sample, epoch after epoch in a seeded order; or whole batches.

    An item holds the tensors of `frame_tensors` (or, of several selections, one dictionary of them by each name), `key`,
    `kind`, `caption` (a random one; with captions="all" also the list `captions`), `log_m` (NaN if unknown), `width`,
    `height`, `epoch`, `number`.

    Use `loader` to read in several processes; `state_dict` then tells where the reader is. A stock
    `DataLoader(dataset, batch_size=None, num_workers=n)` gives the same order, without that.
    """

    def __init__(
        self,
        source: str | Path | SampleSet | LatentStore,
        *,
        selection: Selection | Mapping[str, Selection] | None = None,
        batch: int | None = None,
        epochs: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        depth: bool = False,
        captions: Literal["one", "all"] = "one",
    ) -> None:
        """Args:
            source: shards, a rendered folder, or latents (`open_latents`).
            selection: of each sample, the first orbit by default; a mapping draws several clips of it at once, e.g.
                ``{"orbit": Selection(), "row": Selection(clip="row")}``.
            batch: collate so many items to one; None: single items.
            epochs: how many; None: endless, in which case all ranks get equally many items. Finite, the ranks' shares of
                the whole differ by at most one item, and the last batch may be smaller.
            rank, world: this process among those that train together.

        Raises InputError for sources without samples and settings out of range.
        """
        self.samples = open_samples(source) if isinstance(source, str | Path) else source
        if not 0 <= rank < world:
            raise InputError(f"rank: expected 0 to {world - 1}, got {rank}")
        if (batch is not None and batch < 1) or (epochs is not None and epochs < 1) or seed < 0:
            raise InputError(f"batch, epochs: expected at least 1 and seed 0, got {batch}, {epochs}, {seed}")
        if not len(self.samples):
            raise InputError(f"{self.samples.source}: holds no samples")
        self.selection = selection or Selection()
        self.batch, self.epochs, self.shuffle, self.seed = batch, epochs, shuffle, seed
        self.rank, self.world, self.depth, self.captions = rank, world, depth, captions
        self._taken = 0
        """Items of the stream that this rank has handed out; in the midst of a stream every rank has handed out as many."""
        self._order: tuple[int, np.ndarray] | None = None

    def state_dict(self) -> dict[str, int]:
        """Where the stream is: after `position` items, over all ranks, of `epoch`.

        The same on every rank that has handed out as many items. At the end of a finite stream ranks differ, because their
        shares may by one item: save before it. A stream that has ended is at its start again.
        """
        epoch, position = divmod(self._taken * self.world, len(self.samples))
        return {"epoch": epoch, "position": position, "seed": self.seed, "samples": len(self.samples)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state` was taken; nothing is read for it. The number of workers, and of ranks if it divides the
        position, may differ. Raises InputError where the state is of another seed or of other samples.
        """
        try:
            epoch, position, seed, samples = (int(state[k]) for k in ("epoch", "position", "seed", "samples"))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"dataset state: expected epoch, position, seed and samples, got {state!r:.80}") from error
        if (seed, samples) != (self.seed, len(self.samples)):
            raise InputError(
                f"dataset state: of seed {seed} and {samples} samples, this dataset has seed {self.seed} and "
                f"{len(self.samples)} samples; open the data that the run was started with"
            )
        total = epoch * samples + position
        if total < 0 or total % self.world:
            raise InputError(f"dataset state: position {position} cannot be divided over {self.world} ranks")
        self._taken = total // self.world

    def item(self, epoch: int, number: int) -> Item:
        """Number `number` of an epoch's order, without anything before it."""
        if self._order is None or self._order[0] != epoch:
            count = len(self.samples)
            order = _generator(self.seed, epoch, _ORDER).permutation(count) if self.shuffle else np.arange(count)
            self._order = epoch, order
        sample = self.samples[int(self._order[1][number])]
        rng = _generator(self.seed, epoch, _ITEM, number)
        captions = sample.captions
        item: Item = {
            "key": sample.key,
            "kind": str(sample.meta.get("kind") or ""),
            "caption": captions[int(rng.integers(len(captions)))] if captions else "",
            "log_m": log_motion(sample.meta.get("motion_magnitude")),
            "width": int(sample.meta["width"]),
            "height": int(sample.meta["height"]),
            "epoch": epoch,
            "number": number,
        }
        if self.captions == "all":
            item["captions"] = captions
        if isinstance(self.selection, Selection):
            return item | frame_tensors(sample, self.selection.pairs(sample, rng), depth=self.depth)
        for name, selection in self.selection.items():
            item[name] = frame_tensors(sample, selection.pairs(sample, rng), depth=self.depth)
        return item

    def _stream(self, start: int, count: int) -> list[tuple[int, int]]:
        """(epoch, number) of this rank's items start ... start + count; fewer where the last epoch ends."""
        places = [divmod(n * self.world + self.rank, len(self.samples)) for n in range(start, start + count)]
        return [place for place in places if self.epochs is None or place[0] < self.epochs]

    def _steps(self, start: int, *, first: int = 0, stride: int = 1) -> Iterator[tuple[int, Item]]:
        """(items taken, what is yielded) of every stride-th step from the first, counted from item `start`."""
        size, step = self.batch or 1, first
        while places := self._stream(start + step * size, size):
            items = [self.item(*place) for place in places]
            yield len(items), items[0] if self.batch is None else collate(items)
            step += stride

    def __iter__(self) -> Iterator[Item]:
        """From the current state; a finite stream that has ended starts again."""
        worker = get_worker_info()
        if worker is not None:
            yield from (item for _, item in self._steps(self._taken, first=worker.id, stride=worker.num_workers))
            return
        for count, item in self._steps(self._taken):
            self._taken += count
            yield item
        self._taken = 0

    def loader(self, *, workers: int = 0, prefetch: int = 2) -> Iterator[Item]:
        """The same items in the same order, read by `workers` processes, each `prefetch` steps ahead.

        `state_dict` counts what this iterator has handed out, not what was read ahead.
        """
        if workers < 1:
            yield from self
            return
        loader = DataLoader(
            _Reported(self), batch_size=None, num_workers=workers, prefetch_factor=prefetch, persistent_workers=False
        )
        for count, item in loader:
            if isinstance(item, str):
                raise InputError(item)
            self._taken += count
            yield item
        self._taken = 0


class _Reported(IterableDataset):
    """A dataset's steps with their counts; an InputError travels as its text, which the loader would wrap in a traceback."""

    def __init__(self, dataset: ShardDataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[tuple[int, Item | str]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        try:
            yield from self.dataset._steps(self.dataset._taken, first=first, stride=stride)
        except InputError as error:
            yield 0, str(error)
