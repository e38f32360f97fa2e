"""How sure a mean is: intervals by resampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch

FEWEST = 5


def bootstrap_interval(values: Sequence[float], *, seed: int = 0, draws: int = 2000) -> dict[str, float | int | None]:
    """`mean`, `low` and `high`: the 2.5 and 97.5 percentiles of the mean over resampled `values`, and their `count`.

    Values must be independent: one a case, its seeds averaged first. Rounded to 4 decimals. Fewer than FEWEST values have no
    interval (None), for it would be little more than their range; no value has no mean either.
    """
    x = torch.tensor(list(values), dtype=torch.float64)
    if len(x) < FEWEST:
        mean = round(float(x.mean()), 4) if len(x) else None
        return {"mean": mean, "low": None, "high": None, "count": len(x)}
    index = torch.randint(len(x), (draws, len(x)), generator=torch.Generator().manual_seed(seed))
    low, high = torch.quantile(x[index].mean(dim=1), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"mean": round(float(x.mean()), 4), "low": round(low, 4), "high": round(high, 4), "count": len(x)}
