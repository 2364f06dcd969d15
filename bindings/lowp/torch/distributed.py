"""Gradients that cross the network in a format: a communication hook of DistributedDataParallel.

>>> model = torch.nn.parallel.DistributedDataParallel(model)
>>> compression = lowp.torch.distributed.compress(model, recipe)
"""

from __future__ import annotations

from typing import Any

import torch

from lowp.torch._ops import check_dtype
from lowp.torch.optim import on_grid_in_line, refuse_delayed
from lowp.torch.recipe import Quantizer, Recipe

__all__ = ["Compression", "compress"]


class Compression:
    """What compress registered: how gradients are rounded, and how often they were.

    Save state_dict() with every checkpoint: the number of steps is part of the random bits.
    """

    def __init__(self, model: Any, quantizer: Quantizer, seed: int, order: str) -> None:
        self.quantizer = quantizer
        self.steps = 0
        self._group = model.process_group
        self._order = order
        # Bit 61 sets them apart from layers, which have only the rank there.
        self._seed = 1 << 61 | torch.distributed.get_rank(self._group) << 32 | seed
        self._places = {
            id(p): (number, name)
            for number, (name, p) in enumerate(model.module.named_parameters())
        }

    def state_dict(self) -> dict[str, int]:
        """The number of steps."""
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """What state_dict gave."""
        self.steps = int(state_dict["steps"])

    def reduce(self, bucket: Any) -> Any:
        """The hook: a future of the mean of all ranks' rounded gradients, in the bucket's dtype."""
        for p, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            self._round(p, gradient)
        if bucket.is_last():
            self.steps += 1
        rounded = bucket.buffer()
        wide = rounded if rounded.dtype == torch.float64 else rounded.float()
        future = self._in_rank_order(wide) if self._order == "ranks" else self._by_backend(wide)
        return future.then(lambda done: done.value().to(rounded.dtype))

    def _round(self, p: torch.Tensor, gradient: torch.Tensor) -> None:
        number, name = self._places[id(p)]
        try:
            check_dtype(gradient, self.quantizer.format)
            stream = number << 32 | self.steps
            gradient.copy_(on_grid_in_line(gradient, self.quantizer, self._seed, stream))
        except (TypeError, ValueError) as error:
            raise type(error)(f"all_reduce, gradient of {name}: {error}") from error

    def _in_rank_order(self, x: torch.Tensor) -> Any:
        """rank 0 + rank 1 + ...: each sum is of the same order however buckets are cut."""
        count = torch.distributed.get_world_size(self._group)
        parts = [torch.empty_like(x) for _ in range(count)]
        work = torch.distributed.all_gather(parts, x, group=self._group, async_op=True)

        def mean(_: Any) -> torch.Tensor:
            for part in parts[1:]:
                parts[0] += part
            return parts[0] / count

        return work.get_future().then(mean)

    def _by_backend(self, x: torch.Tensor) -> Any:
        count = torch.distributed.get_world_size(self._group)
        total = x.clone()
        work = torch.distributed.all_reduce(total, group=self._group, async_op=True)
        return work.get_future().then(lambda _: total / count)


def compress(ddp_model: Any, recipe: Recipe, *, order: str = "ranks") -> Compression | None:
    """Have the gradients of a DistributedDataParallel model cross the network in recipe.all_reduce.

    What is simulated: each rank rounds its own gradient of each parameter once; blocks run through
    the parameter in C order unless the Quantizer names an axis, and no block or scale spans two
    parameters. The rounded gradients are summed in float32 (float64 where gradients are), the sum
    is divided by the number of ranks, and is not rounded again, but to a gradient's own 16 bits.

    Random bits are a pure function of (recipe.seed, rank, number of the parameter, number of the
    step): roundings of the ranks are independent, and how parameters are put into buckets does not
    matter. order: "ranks", the sum goes from rank 0 on, the same in every run, also one resumed
    from a checkpoint, at the cost of gathering all ranks' gradients; "backend", that of all_reduce,
    which above two ranks depends on the buckets.

    Call it once, before the first backward; None, and nothing done, where the recipe has no
    all_reduce. TypeError: another model. NaN, infinity and overflow: as in lowp.quantize.
    """
    if not isinstance(ddp_model, torch.nn.parallel.DistributedDataParallel):
        raise TypeError(
            f"compress takes a DistributedDataParallel model; got {type(ddp_model).__name__}"
        )
    if order not in ("ranks", "backend"):
        raise ValueError(f"order must be ranks or backend; got {order!r}")
    if recipe.all_reduce is None:
        return None
    refuse_delayed(recipe.all_reduce, "all_reduce")
    compression = Compression(ddp_model, recipe.all_reduce, recipe.seed, order)
    # Not a function of this module: its annotations are strings, PyTorch compares them with types.
    ddp_model.register_comm_hook(compression, lambda state, bucket: state.reduce(bucket))
    return compression
