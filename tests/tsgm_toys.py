"""Networks of TSGM that know the answer, and trained-looking ones in models/, for the tests of its inference."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gliomap.base import files
from gliomap.data.case import MODALITIES
from gliomap.data.pairs import PairTable
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.schedule import VE
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import regression, vejp
from gliomap.methods.tsgm import Joint, Sampling
from gliomap.nets.ncsnpp import NcsnShape
from gliomap.nets.resnet_gan import GeneratorShape, ResnetGenerator
from gliomap.nets.unet import UNetShape
from stage_toys import DEEP, SIZE

SCHEDULE = VE(0.01, 348.0)
CALLS = {"pc": lambda n: 2 * n, "heun": lambda n: 2 * n - 1, "dpm_solver_2m": lambda n: n, "ddim": lambda n: n}
OWN = Sampling(
    follow="paper", sampler="heun", spacing="karras", start="follow", begin="noise", rescale="follow", weights="follow",
    steps=8, snr=0.075, corrections=1, begin_sigma=5.0, samples=1, images=64,
)  # fmt: skip


def exact(truth) -> Denoiser:
    """The exact denoiser of data that is truth(y), of the condition y alone."""
    return Denoiser(lambda x, sigma: truth(x[:, x.shape[1] // 2 :]), SCHEDULE, target="x0")


class Mixing(nn.Module):
    """A network with no sense but its own: every input counts, and no two images have the same answer."""

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        noisy, y = x.chunk(2, dim=1)
        total = (sigma.view(-1, 1, 1, 1) ** 2 + 0.25).sqrt()
        return 0.5 * torch.sigmoid(noisy / total) + 0.3 * y + 0.1 * torch.roll(y, 1, dims=-1)


def joint(net, **changes) -> Joint:
    """VE-JP with a network of x0, sampled by OWN with changes."""
    own = Sampling(**{**vars(OWN), **changes})
    return Joint(net if isinstance(net, Denoiser) else Denoiser(net, SCHEDULE, target="x0"), "volume", own)


def batch_of(rows: list[int], modalities: int = 4, seed: int = 0) -> Batch:
    """Images in [-1, 1], each a function of its row and modality; background -1 and the brain a square."""
    brain = torch.zeros(len(rows), SIZE, SIZE)
    brain[:, 6:26, 8:24] = 1
    images = torch.stack([torch.rand(4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed + row)) for row in rows])
    return Batch(torch.tensor(rows), torch.where(brain[:, None] > 0, 2 * images - 1, -1.0)[:, :modalities], brain, 0)


def write_models(models: Path) -> None:
    """Small untrained networks under models/, which change every image: of three variants, and the regression."""
    for variant, names in (("single", MODALITIES), ("flair", ("flair",)), ("multi", MODALITIES)):
        depth = 4 if variant == "multi" else 1
        shape = GeneratorShape(4, 1, False)
        arguments = {"variant": variant, "channels": depth, "image_size": SIZE, "net": asdict(shape)}
        _save(models, "cyclegan", variant, {"to_healthy": ResnetGenerator(depth, shape)}, arguments)
        nothing = np.zeros((0, len(names), SIZE, SIZE), np.uint8)
        table = PairTable(np.zeros(0, np.int64), names, nothing, nothing)
        shape = NcsnShape(width=4, mult=(1, 1), blocks=1, attention_px=(), dropout=0.0)
        own = vejp.Design(shape, vejp.Levels(0.01, 348.0, 0.3), "edm", "volume")
        trained = vejp.Training(own, SIZE, table, variant)
        _save(models, "vejp", variant, trained.nets, trained.arguments)
    shape = UNetShape(width=4, mult=(1,), blocks=1, attention_px=(), groups=2, dropout=0.0)
    trained = regression.Training(shape, "volume", SIZE, table, "single")
    _save(models, "regression", "single", trained.nets, trained.arguments)


def _save(models: Path, method: str, variant: str, nets: dict[str, nn.Module], arguments: dict) -> None:
    generator = torch.Generator().manual_seed(3)
    for net in nets.values():
        for parameter in net.parameters():
            nn.init.normal_(parameter.requires_grad_(False), std=0.1, generator=generator)
    states = {name: net.state_dict() for name, net in nets.items()}
    weights.save(models / method / variant, states, states, {"method": method, "networks": arguments})


def cut_cohort(store: Path, folder: Path, modality: str) -> None:
    """A cohort of one modality: the first two cases of the store, as test slices, without masks and labels."""
    folder.mkdir(parents=True)
    index = files.read_csv(store / "index.csv")[: 2 * DEEP].assign(split="test")
    files.write_csv(folder / "index.csv", index)
    recipe = files.read_json(store / "recipe.json")
    files.write_json(folder / "recipe.json", {**recipe, "modalities": [modality]})
    channel = recipe["modalities"].index(modality)
    np.save(folder / "images.npy", np.load(store / "images.npy")[: 2 * DEEP, channel : channel + 1])
    np.save(folder / "brain.npy", np.load(store / "brain.npy")[: 2 * DEEP])
