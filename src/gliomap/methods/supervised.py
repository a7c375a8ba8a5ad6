"""The supervised networks of DDMD's table: U-Net, SegNet and DeepLabv3+ learn the masks, pixel by pixel (DDMD spec 7.1).

With a discrepancy map as further channels, the same training is the cheapest test of what the map adds to the slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.errors import UserError
from gliomap.data.features import Features, Kind, channels
from gliomap.data.masks import MaskTable
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.engine.device import for_inference
from gliomap.engine.scorer import Scores
from gliomap.engine.weights import Which
from gliomap.nets.deeplab import DeepLab, DeepLabShape
from gliomap.nets.segmentation import ClassicUNet, SegNet, Width

MODALITIES = ("t1", "t1ce", "t2", "flair")  # channels, in the paper's order; the features follow
TUMOUR = 1  # channel of the logits; 0 is the background
Name = Literal["unet", "segnet", "deeplab"]
Shape = Width | DeepLabShape
NETS: dict[Name, type[nn.Module]] = {"unet": ClassicUNet, "segnet": SegNet, "deeplab": DeepLab}
SHAPES: dict[Name, type[Shape]] = {"unet": Width, "segnet": Width, "deeplab": DeepLabShape}  # supervised.<name>

SECTIONS: dict[str, type] = {"supervised.weights": Which}


def build(name: Name, shape: Shape, kind: Kind, image_size: int) -> nn.Module:
    """The network with random weights. UserError if slices of `image_size` pixels cannot be pooled as often as it does."""
    stride = NETS[name].stride
    if image_size % stride:
        expected = f"expected a multiple of {stride} for {name}; change preprocess.<recipe>.size"
        raise UserError(f"slices have {image_size} px, {expected}")
    return NETS[name](len(MODALITIES) + channels(kind), shape)


class Training:
    """Negative log-likelihood of background and tumour, mean over all pixels, background included."""

    name = "supervised"
    modalities = MODALITIES

    def __init__(self, net: Name, shape: Shape, masks: MaskTable, features: Features) -> None:
        """masks: of every row that is trained on or watched. features: further input channels, for the same rows."""
        self.nets: dict[str, nn.Module] = {"net": build(net, shape, features.kind, features.size)}
        self.arguments = {
            "net": net, "shape": asdict(shape), "image_size": features.size,
            "features": features.kind, "feature_scale": features.scaling,
        }  # fmt: skip
        self.masks, self.features = masks, features

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is the paper's Adam."""
        return {"net": adamw(self.nets["net"].parameters(), train)}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the negative log-likelihood. UserError on a single slice: batch normalisation needs two."""
        net = self.nets["net"]
        if net.training and len(batch.rows) < 2:
            raise UserError("params.yaml: batch is 1 slice per device, expected 2 or more for batch normalisation; raise it")
        mask = torch.from_numpy(self.masks.of_rows(batch.rows.numpy())).to(batch.images.device)
        yield "net", likelihood(net(seen(batch, self.features)), mask)


def seen(batch: Batch, features: Features) -> Tensor:
    """float32 (B, 4 + channels of the features, H, W): what the network is shown."""
    if not features.maps:
        return batch.images
    return torch.cat([batch.images, torch.from_numpy(features.of(batch.rows.numpy())).to(batch.images)], dim=1)


def likelihood(logits: Tensor, mask: Tensor) -> Tensor:
    """Scalar: mean of -log p(class of the pixel). logits: float32 (B, 2, H, W); mask: (B, H, W), 1 = tumour.

    By `where`, since PyTorch's own loss of images has no deterministic algorithm on GPUs.
    """
    background, tumour = F.log_softmax(logits, dim=1).unbind(1)
    return -torch.where(mask > 0, tumour, background).mean()


class SupervisedScorer:
    """Map = the probability of tumour; mask = where it is the more probable class."""

    modalities = MODALITIES

    def __init__(self, net: nn.Module, features: Features) -> None:
        self.net, self.features = net, features

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with the network's own mask, over the full image; one evaluation each. Noise is not used."""
        logits = self.net(seen(batch, self.features).contiguous(memory_format=torch.channels_last))
        probability = logits.softmax(1)[:, TUMOUR]
        evaluations = torch.ones(len(logits), dtype=torch.int64)
        return Scores(probability * batch.brain, evaluations, mask=logits.argmax(1) == TUMOUR)


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> SupervisedScorer:
    """The network in models/supervised/<pair>, with features of the kind and scaling that it was trained with.

    Raises UserError if a file is missing or damaged, or if the network was trained on slices of another size.
    """
    which: Which = p["supervised.weights"]
    folder = models / "supervised" / pair
    meta, states = weights.load(folder, which, method=Training.name)
    own, size = meta["networks"], slices.images.shape[-1]
    weights.check_size(folder, own["image_size"], size)
    net = build(own["net"], SHAPES[own["net"]](**own["shape"]), own["features"], size)
    weights.put(net, states["net"], folder / f"{which}.safetensors")
    features = Features.open(models / "discrepancy", slices, own["features"], own["feature_scale"], meta["seed"])
    return SupervisedScorer(for_inference(net, device), features)
