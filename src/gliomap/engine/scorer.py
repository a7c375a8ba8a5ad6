"""What a method promises to inference: a Scorer gives Scores for a Batch. With small things that several methods share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch

Error = Literal["squared", "absolute"]


@dataclass(frozen=True)
class Scores:
    """What a method says about B slices.

    map: float32 (B, H, W), higher = more anomalous, 0 outside the brain.
    evaluations: int64 (B,), network evaluations that each slice took.
    reconstruction: float32 (B, H, W), the slice as the method thinks it should be; None if it has no such thing.
    mask: bool (B, H, W), the method's own segmentation; None if it leaves that to a threshold.
    image: float32 (B,), higher = rather a slice with tumour; None if that is left to a summary of the map.
    extra: further arrays (B, ...) for the predictions file, which only the method's own stages know.
    """

    map: Tensor
    evaluations: Tensor
    reconstruction: Tensor | None = None
    mask: Tensor | None = None
    image: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


class Scorer(Protocol):
    """A method ready for inference. Its result for a slice depends on slice, seed and weights only, not on the batch."""

    modalities: tuple[str, ...]  # channels of Batch.images that it reads, in this order
    # `constants: dict[str, ndarray]`, if there is one, goes into the predictions file as it is

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """The scores of the batch's slices."""
        ...


def deviation(x: Tensor, y: Tensor, error: Error) -> Tensor:
    """|x - y| or (x - y)^2 per pixel; same shape."""
    return (x - y).square() if error == "squared" else (x - y).abs()


def parse_pair(pair: str, known: tuple[str, ...]) -> tuple[str, str]:
    """("flair", "t2") for "flair-t2". UserError unless these are two different modalities out of `known`."""
    parts = pair.split("-")
    if len(parts) != 2 or parts[0] == parts[1] or not set(parts) <= set(known):
        expected = f"two of {', '.join(known)} with a hyphen between, such as {known[-1]}-{known[0]}"
        raise UserError(f"modality pair is {pair!r}, expected {expected}; mend conf/graph.yaml or the command")
    return parts[0], parts[1]
