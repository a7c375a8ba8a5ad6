"""Methods that rebuild a slice from a short vector, having seen healthy ones only: VAE and f-AnoGAN (TSGM spec 7).

Baur et al. (2021) compared them in one architecture, nets/baur.py. All four modalities are the channels of one image in
[0, 1]; the residual is what such a network could not rebuild. A further method of that kind is a training with a network
x -> restored x, and an entry in `LOADERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train, adamw, frozen
from gliomap.engine.device import for_inference
from gliomap.engine.scorer import Scores
from gliomap.methods.variants import MODALITIES, against, to_unit
from gliomap.nets.baur import BaurConfig, BaurShape, Critic, Decoder, Encoder, VariationalAutoencoder, configure, of

VAE_BETAS, GAN_BETAS = (0.5, 0.999), (0.5, 0.9)  # of Adam, as Baur et al. set them
WHICH = "raw"  # weights: nothing here was averaged, and f-AnoGAN's encoder was fitted to the raw generator

SECTIONS: dict[str, type] = {}  # of inference: the networks leave nothing to choose


class Training:
    """What the trainings share: four modalities, and images in [0, 1] out of slices whose background is known."""

    name: str
    modalities = MODALITIES
    betas = VAE_BETAS

    def __init__(self, nets: dict[str, nn.Module], config: BaurConfig, background: float) -> None:
        """background: of the slices; see `to_unit`. UserError if these have no fixed range."""
        to_unit(torch.zeros(1), background)
        self.nets, self.background = nets, background
        self.arguments: dict[str, Any] = {"net": asdict(config)}

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """One AdamW a network; with weight decay 0 it is Adam."""
        return {name: adamw(net.parameters(), train, self.betas) for name, net in self.nets.items()}

    def unit(self, batch: Batch) -> Tensor:
        """float32 (B, 4, H, W) in [0, 1]."""
        return to_unit(batch.images, self.background)


class Vae(Training):
    """Sum of absolute errors of a slice plus the divergence of its vector from N(0, 1)."""

    name = "vae"

    def __init__(self, shape: BaurShape, image_size: int, background: float) -> None:
        config = configure(shape, len(MODALITIES), image_size)
        super().__init__({"net": VariationalAutoencoder(config)}, config, background)

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the mean over slices of both sums."""
        x, net = self.unit(batch), self.nets["net"]
        mean, log_sigma = net.posterior(x)
        z = mean + log_sigma.exp() * noise.draws("vae/z", batch.rows, mean)(batch.step)
        error = (net.decoder(z) - x).abs().flatten(1).sum(1)
        yield "net", (error + divergence(mean, log_sigma)).mean()


def divergence(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """(B,): KL(N(mean, sigma^2) || N(0, 1)) of vectors (B, n), in nats."""
    return 0.5 * (mean.square() + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(1)


@dataclass(frozen=True)
class Adversary:
    """Section `fanogan.losses` of params.yaml."""

    critic_steps: int = number(min=1)  # of the critic for one of the generator
    penalty: float = number(min=0)  # weight of the gradient penalty
    features: float = number(min=0)  # weight of the critic's features in the encoder's loss


def fed(train: Train, own: Adversary) -> Train:
    """`train`, whose batch is told for one step of the critic, with the batch of all of them."""
    return replace(train, batch=train.batch * own.critic_steps)


class Gan(Training):
    """f-AnoGAN's first training: WGAN with gradient penalty (Gulrajani et al. 2017). A batch feeds every step of the critic.

    Networks: generator (vector -> image), critic. Critic's step j sees every critic_steps-th slice from the j-th on.
    """

    name = "fanogan"
    betas = GAN_BETAS

    def __init__(self, shape: BaurShape, own: Adversary, image_size: int, background: float) -> None:
        config = configure(shape, len(MODALITIES), image_size)
        nets = {"generator": Decoder(config, "layer", "sigmoid"), "critic": Critic(config)}
        super().__init__(nets, config, background)
        self.own, self.latent = own, config.latent

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """critic_steps pairs of the critic, then one of the generator. On held-out slices: one pair each, no penalty."""
        x, count = self.unit(batch), self.own.critic_steps
        learns = self.nets["critic"].training
        if learns and len(x) < count:
            found = f"{len(x)} slices a step for {count} steps of the critic"
            raise UserError(f"params.yaml: fanogan.train.batch leaves {found} on this device; raise it")
        for j in range(count if learns else 1):
            rows, real = (batch.rows[j::count], x[j::count]) if learns else (batch.rows, x)
            with frozen(self.nets["generator"]):
                fake = self.made(rows, noise, f"critic/{j}", batch.step)
            loss = self.nets["critic"](fake).mean() - self.nets["critic"](real).mean()
            if learns:
                share = noise.uniform(f"fanogan/share/{j}", rows, batch.step, (1, 1, 1)).to(x.device)
                loss = loss + self.own.penalty * penalty(self.nets["critic"], torch.lerp(fake, real, share))
            yield "critic", loss
        rows = batch.rows[::count] if learns else batch.rows
        with frozen(self.nets["critic"]):
            verdict = self.nets["critic"](self.made(rows, noise, "generator", batch.step))
        yield "generator", -verdict.mean()

    def made(self, rows: Tensor, noise: Noise, name: str, step: int) -> Tensor:
        """(B, 4, H, W): as many images, from vectors N(0, 1)."""
        z = noise.normal(f"fanogan/z/{name}", rows, step, (self.latent,))
        return self.nets["generator"](z.to(next(self.nets["generator"].parameters())))


def penalty(critic: nn.Module, x: Tensor) -> Tensor:
    """Mean of (|gradient of the critic at x (B, ...)| - 1)^2; float32 also under autocast, as it is differentiated again."""
    with torch.autocast(x.device.type, enabled=False), torch.enable_grad():
        x = x.detach().float().requires_grad_()
        [gradient] = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class Inversion(Training):
    """f-AnoGAN's second training: an encoder to the vector from which the trained generator makes the slice again.

    Mean squared error of the image plus `features` times that of the critic's features. Generator and critic are fixed.
    """

    name = "fanogan"
    betas = GAN_BETAS

    def __init__(self, config: BaurConfig, own: Adversary, gan: dict[str, nn.Module], background: float) -> None:
        """gan: see `load_gan`."""
        super().__init__({"encoder": Inverse(config)}, config, background)
        self.own, self.gan = own, gan

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair."""
        x = self.unit(batch)
        generator, critic = (self.gan[name].to(x.device) for name in ("generator", "critic"))
        made = generator(self.nets["encoder"](x))
        loss = F.mse_loss(made, x)
        if self.own.features:
            loss = loss + self.own.features * F.mse_loss(critic.features(made), critic.features(x))
        yield "encoder", loss


class Inverse(Encoder):
    """f-AnoGAN's encoder: (B, channels, H, W) -> float32 (B, latent) in (-1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """The vectors of the images."""
        return super().forward(x)[:, 0].tanh()


def load_gan(folder: Path, image_size: int, device: torch.device) -> tuple[BaurConfig, dict[str, nn.Module]]:
    """(its configuration, generator and critic for inference) of models/fanogan/gan. UserError as `_stored`."""
    config, states, source = _stored(folder, image_size)
    nets = {"generator": Decoder(config, "layer", "sigmoid"), "critic": Critic(config)}
    return config, {name: for_inference(weights.put(net, states[name], source), device) for name, net in nets.items()}


def load_vae(models: Path, image_size: int, device: torch.device) -> nn.Module:
    """The trained VAE, x -> restored x, both in [0, 1]-images. UserError as `_stored`."""
    config, states, source = _stored(models / "vae" / "all", image_size)
    return for_inference(weights.put(VariationalAutoencoder(config), states["net"], source), device)


def load_fanogan(models: Path, image_size: int, device: torch.device) -> nn.Module:
    """Encoder and generator one after the other, x -> restored x in [0, 1]. UserError as `_stored`."""
    _, gan = load_gan(models / "fanogan" / "gan", image_size, device)
    config, states, source = _stored(models / "fanogan" / "encoder", image_size)
    encoder = for_inference(weights.put(Inverse(config), states["encoder"], source), device)
    return nn.Sequential(encoder, gan["generator"])


LOADERS: dict[str, Callable[[Path, int, torch.device], nn.Module]] = {"vae/all": load_vae, "fanogan/all": load_fanogan}


class ReconstructionScorer:
    """map = mean residual of the four modalities inside the brain."""

    modalities = MODALITIES

    def __init__(self, net: nn.Module, background: float) -> None:
        """net: (B, 4, H, W) in [0, 1] -> the same restored."""
        self.net, self.background = net, background

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with what `against` adds. One evaluation a slice; without chance."""
        y = to_unit(batch.images, self.background)
        restored = self.net(y.contiguous(memory_format=torch.channels_last)).float()
        return against(y, restored, batch.brain, torch.ones(len(y), dtype=torch.int64))


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> ReconstructionScorer:
    """The method `pair` (a key of `LOADERS`) as a Scorer. UserError if it is unknown or its networks are not there."""
    if pair not in LOADERS:
        raise UserError(f"pair is {pair!r}, expected one of {', '.join(LOADERS)}; mend conf/graph.yaml or the command")
    return ReconstructionScorer(LOADERS[pair](models, slices.images.shape[-1], device), slices.background)


def _stored(folder: Path, image_size: int) -> tuple[BaurConfig, dict[str, dict[str, Tensor]], Path]:
    """(configuration, states by network, the file that they are from).

    UserError if a file is missing or damaged, or if the networks were trained on slices of another size.
    """
    meta, states = weights.load(folder, WHICH, method=folder.parent.name)
    config = of(meta["networks"]["net"])
    weights.check_size(folder, config.image_size, image_size)
    return config, states, folder / f"{WHICH}.safetensors"
