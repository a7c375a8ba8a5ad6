"""Networks and slices for the tests of the restoring baselines."""

import itertools

import torch
from torch import nn

from gliomap.diffusion.denoiser import NULL, Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VP, Diffusion
from gliomap.diffusion.simplex import Simplex
from gliomap.engine.contract import Batch
from gliomap.methods import restoration
from gliomap.methods.restoration import WAYS, Nets, Point, Restoration, Walk, levels
from gliomap.nets.classifier import Classifier, configure
from gliomap.nets.unet import UNet, UNetShape
from gliomap.scoring.mixed import Mixed

SIZE, SCHEDULE = 16, VP(1000, 1e-4, 0.02)
SHAPE = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(8,), groups=4, dropout=0.0)
DIFFUSION = Diffusion(steps=1000, beta_min=1e-4, beta_max=0.02)
FIELD = Simplex(octaves=2, persistence=0.8, frequency=8.0)
P = Restoration(follow="code", encode="follow", error="absolute", weights="ema", steps_per_1000=20)
MIXED = Mixed(batch=100, component_mm2=140.7, foreground=-0.95, median_mm=9.375)
POINT = Point(0.3, w=1.5, scale=10.0)
CPU = torch.device("cpu")


class Oracle(nn.Module):
    """Knows the slice: the noise in x is exact at every level. A label adds to what it takes for the slice."""

    def __init__(self, x0: torch.Tensor, shift: float = 0.0):
        super().__init__()
        self.x0, self.shift, self.labels = x0, shift, []

    def forward(self, x, t, label=None):
        self.labels.append(None if label is None else set(label.tolist()))
        alpha, sigma = (v.view(-1, 1, 1, 1) for v in SCHEDULE.marginal(t))
        known = 0 if label is None else (label != NULL).view(-1, 1, 1, 1) * self.shift
        return ((x - alpha * (self.x0 + known)) / sigma).float()


class Even(nn.Module):
    """A classifier with logits linear in the mean of x."""

    def log_probability(self, label):
        return lambda x, t: x.flatten(1).mean(1)


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 4, SIZE, SIZE) * 1.6 - 0.8


def batch_of(x: torch.Tensor, first_row: int = 5) -> Batch:
    brain = torch.zeros(len(x), SIZE, SIZE)
    brain[:, 3:12, 4:14] = 1
    return Batch(torch.arange(first_row, first_row + len(x)), x, brain, 0)


def nets_of(key: str, net: nn.Module, label: int | None = None) -> Nets:
    classifier = Even() if key == "ddim_clf" else None
    field = FIELD if key == "anoddpm_simplex" else None
    return Nets(Denoiser(net, SCHEDULE, clip=(-1.0, 1.0)), label, field, classifier)


def point_of(key: str, noise_level: float = 0.3, **values: float) -> Point:
    """The point with what the baseline has, w and scale from POINT where they are not given."""
    own = {name: values.get(name, getattr(POINT, name)) for name in restoration.needs(key)}
    return Point(**{**own, "noise_level": noise_level})


def random_nets(key: str) -> Nets:
    """Networks with random weights, as the baseline has them."""
    torch.manual_seed(1)
    classes = {"ddim_clf": 2, "ddib": 2}.get(key)
    net = UNet(
        SHAPE.config(4, 8 if key == "ddim_clf" else 4, SIZE, heads=2, resample="conv", classes=classes, label_mlp=False)
    )
    nets = [net, Classifier(configure(SHAPE, 4, 2, SIZE))]
    for parameter in itertools.chain(*(module.parameters() for module in nets)):
        nn.init.normal_(parameter, std=0.1)
    for module in nets:
        module.eval().requires_grad_(False)
    denoiser = Denoiser(net, SCHEDULE, clip=(-1.0, 1.0), learned_variance=key == "ddim_clf")
    return Nets(denoiser, 0 if classes else None, FIELD if key == "anoddpm_simplex" else None, nets[1])


def restored(key: str, nets: Nets, x: torch.Tensor, point: Point, own: Restoration = P) -> torch.Tensor:
    times = levels(SCHEDULE, point.noise_level, own.steps_per_1000)
    walk = Walk(x, torch.arange(len(x)), Noise(0), times, SCHEDULE, nets.field)
    return WAYS[key](walk, nets, point, own)
