"""The four GANs in PyTorch: the same layers, losses, optimisers and order of steps, as PyTorch's users write them.

`worker.py` times them beside Paddle, and test_benchmark.py compares the book's losses. Nothing else uses them, and the
project runs without PyTorch. Two things are done in PyTorch's own way. Where no gradient is needed, nothing is
recorded. Initial values are PyTorch's defaults, because they do not change the time of an iteration.
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Adam

from tools.bench import ways


class GAN:
    """A discriminator, a generator, and one iteration of a tutorial's loop.

    Attributes:
        d, g: the networks.
        noise: a function that draws a batch of noise; a test may put its own in its place.
    """

    def update(self, optimizer, loss):
        """One step down the gradient of a loss, which is returned as a number."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    @contextlib.contextmanager
    def frozen_d(self):
        """A context in which D's weights get no gradients."""
        self.d.requires_grad_(False)
        yield
        self.d.requires_grad_(True)

    def fakes(self, noise):
        """Generated pictures for a step of D, without a recorded gradient."""
        with torch.no_grad():
            return self.g(noise)


def against(logits, target):
    """Mean cross entropy between sigmoid(logits) and a number, in float32."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


# The book's chapter 09.gan, and LearnPaddle2's note 6


class MnistD(nn.Module):
    """Pictures [B, 784] to probabilities [B, 1]."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.bn1 = nn.Conv2d(1, 64, 5), nn.Conv2d(64, 128, 5), nn.BatchNorm2d(128)
        self.fc1, self.bn2, self.fc2 = nn.Linear(2048, 1024), nn.BatchNorm1d(1024), nn.Linear(1024, 1)

    def forward(self, x):
        x = F.max_pool2d(F.leaky_relu(self.conv1(x.view(-1, 1, 28, 28)), 0.02), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        x = F.leaky_relu(self.bn1(x), 0.02)
        x = F.leaky_relu(self.bn2(self.fc1(x.flatten(1))), 0.02)
        return torch.sigmoid(self.fc2(x))


class MnistG(nn.Module):
    """Noise [B, 100] to pictures [B, 784]; note 6 has no activation after its batch norms."""

    def __init__(self, activation=F.relu):
        super().__init__()
        self.activation = activation
        self.fc3, self.bn3 = nn.Linear(100, 2048), nn.BatchNorm1d(2048)
        self.fc4, self.bn4 = nn.Linear(2048, 6272), nn.BatchNorm1d(6272)
        self.deconv1 = nn.ConvTranspose2d(128, 128, 5, stride=2, padding=2, output_padding=1)
        self.deconv2 = nn.ConvTranspose2d(128, 1, 5, stride=2, padding=2, output_padding=1)

    def forward(self, x):
        x = self.activation(self.bn3(self.fc3(x)))
        x = self.activation(self.bn4(self.fc4(x))).view(-1, 128, 7, 7)
        return torch.tanh(self.deconv2(F.relu(self.deconv1(x)))).view(-1, 784)


class Book(GAN):
    """D on fakes, D on real pictures, G twice."""

    def __init__(self, batch):
        self.noise = lambda: torch.rand(batch, 100) * 2 - 1
        self.d, self.g = MnistD(), MnistG()
        self.adam_d, self.adam_g = (Adam(network.parameters(), 2e-4) for network in (self.d, self.g))

    def step(self, real):
        """One iteration on real pictures [B, 784]; its losses in order."""
        losses = [self.update(self.adam_d, against(self.d(self.fakes(self.noise())), 0.0)),
                  self.update(self.adam_d, against(self.d(real), 1.0))]
        with self.frozen_d():
            losses += [self.update(self.adam_g, against(self.d(self.g(self.noise())), 1.0)) for _ in range(2)]
        return losses


class Note6(GAN):
    """D on fakes, D on real pictures, each with its own optimiser; G once."""

    def __init__(self, batch):
        self.noise = lambda: torch.randn(batch, 100)
        self.d, self.g = MnistD(), MnistG(activation=lambda x: x)
        self.adam_fake, self.adam_real, self.adam_g = (
            Adam(network.parameters(), 2e-4) for network in (self.d, self.d, self.g))

    def step(self, real):
        """One iteration on real pictures [B, 784]; its losses in order."""
        losses = [self.update(self.adam_fake, against(self.d(self.fakes(self.noise())), 0.0)),
                  self.update(self.adam_real, against(self.d(real), 1.0))]
        with self.frozen_d():
            return [*losses, self.update(self.adam_g, against(self.d(self.g(self.noise())), 1.0))]


# CelebA


class FaceD(nn.Module):
    """Pictures [B, 3, 64, 64] to probabilities [B, 1, 1, 1]."""

    def __init__(self):
        super().__init__()
        sizes = [(3, 64), (64, 128), (128, 256), (256, 512)]
        self.conv = nn.ModuleList([*(nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in sizes),
                                   nn.Conv2d(512, 1, 4, 1, 0, bias=False)])
        self.bn = nn.ModuleList(nn.BatchNorm2d(b) for _, b in sizes[1:])

    def forward(self, x):
        x = F.leaky_relu(self.conv[0](x), 0.2)
        for conv, bn in zip(self.conv[1:4], self.bn, strict=True):
            x = F.leaky_relu(bn(conv(x)), 0.2)
        return torch.sigmoid(self.conv[4](x))


class FaceG(nn.Module):
    """Noise [B, 100, 1, 1] to pictures [B, 3, 64, 64]."""

    def __init__(self):
        super().__init__()
        sizes = [(100, 512), (512, 256), (256, 128), (128, 64), (64, 3)]
        self.conv = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, *((1, 0) if a == 100 else (2, 1)), bias=False)
                                  for a, b in sizes)
        self.bn = nn.ModuleList(nn.BatchNorm2d(b) for _, b in sizes[:4])

    def forward(self, x):
        for conv, bn in zip(self.conv[:4], self.bn, strict=True):
            x = F.relu(bn(conv(x)))
        return torch.tanh(self.conv[4](x))


class Faces(GAN):
    """D on real pictures, D on fakes, G once."""

    def __init__(self, batch):
        self.noise = lambda: torch.randn(batch, 100, 1, 1)
        self.d, self.g = FaceD(), FaceG()
        self.adam_d, self.adam_g = (Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (self.d, self.g))

    def step(self, real):
        """One iteration on real pictures [B, 3, 64, 64]; its losses in order."""
        losses = [self.update(self.adam_d, self.loss(self.d(real), 1.0)),
                  self.update(self.adam_d, self.loss(self.d(self.fakes(self.noise())), 0.0))]
        with self.frozen_d():
            return [*losses, self.update(self.adam_g, self.loss(self.d(self.g(self.noise())), 1.0))]

    @staticmethod
    def loss(probability, target):
        probability = probability.float()
        return F.binary_cross_entropy(probability, torch.full_like(probability, target))


# Packt's conditional GAN


class ConditionalD(nn.Module):
    """Pictures [B, 1, 28, 28] and one-hot labels [B, 10] to logits [B, 1].

    With stride 2, TensorFlow pads a picture by 1 before and 2 after. This network pads by 2 and 1, the mirror image,
    because PyTorch can do that without copying the picture first.
    """

    def __init__(self):
        super().__init__()
        sizes = [(11, 32, 2), (32, 64, 2), (64, 128, 1)]
        self.conv = nn.ModuleList(nn.Conv2d(a, b, 5, stride, 2) for a, b, stride in sizes)
        self.bn = nn.ModuleList(nn.BatchNorm2d(b, eps=0.001, momentum=0.01) for _, b, _ in sizes)
        self.dense = nn.Linear(6272, 1)

    def forward(self, x, labels):
        x = torch.cat([x, labels[:, :, None, None].expand(-1, -1, 28, 28)], 1)
        for conv, bn in zip(self.conv, self.bn, strict=True):
            x = F.dropout(F.leaky_relu(bn(conv(x)), 0.2))
        return self.dense(x.flatten(1))


class ConditionalG(nn.Module):
    """Noise and one-hot labels [B, 106] to pictures [B, 1, 28, 28]; mirrored like D."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(106, 25088)
        self.conv = nn.ModuleList([nn.ConvTranspose2d(512, 256, 5, 2, 2, output_padding=1),
                                   nn.ConvTranspose2d(256, 128, 5, 2, 2, output_padding=1),
                                   nn.ConvTranspose2d(128, 1, 5, 1, 2)])
        self.bn = nn.ModuleList(nn.BatchNorm2d(c, eps=0.001, momentum=0.01) for c in (512, 256, 128))

    def forward(self, z):
        x = self.dense(z).view(-1, 512, 7, 7)
        for conv, bn in zip(self.conv, self.bn, strict=True):
            x = conv(F.dropout(F.leaky_relu(bn(x), 0.2)))
        return torch.tanh(x)


class Conditional(GAN):
    """D on real pictures and fakes in one step, then G on the same noise."""

    def __init__(self, batch):
        self.noise = lambda: torch.rand(batch, 96) * 2 - 1
        self.d, self.g = ConditionalD(), ConditionalG()
        self.adam_d, self.adam_g = (Adam(network.parameters(), 2e-4, (0.35, 0.999)) for network in (self.d, self.g))

    def step(self, real, labels):
        """One iteration on real pictures [B, 1, 28, 28] and one-hot labels [B, 10]; its losses in order."""
        z = torch.cat([self.noise(), labels], 1)
        fakes = self.fakes(z)
        d_loss = self.update(self.adam_d, against(self.d(real, labels), 0.9) + against(self.d(fakes, labels), 0.0))
        with self.frozen_d():
            with torch.no_grad():
                self.d(real, labels)  # run only to update D's moving averages
            return [d_loss, self.update(self.adam_g, against(self.d(self.g(z), labels), 1.0))]


def prepare(row, batch, way):
    """A function that runs one iteration of a row of the benchmark on a batch of random pictures.

    Args:
        row: its name in the benchmark.
        batch: pictures in a batch.
        way: `ways.TORCH`: PyTorch's defaults. `ways.TORCH_LAST`: pictures and weights are laid out channels-last, which
            makes its convolutions fastest. `ways.TORCH_BF16`: also both networks under bfloat16 autocast.
    """
    if row == "celeba":
        gan, real = Faces(batch), [torch.rand(batch, 3, 64, 64)]
    elif row == "cgan":
        gan, real = Conditional(batch), [torch.rand(batch, 1, 28, 28) * 2 - 1, torch.eye(10)[torch.arange(batch) % 10]]
    else:
        gan, real = {"book": Book, "note6": Note6}[row](batch), [torch.rand(batch, 784) * 2 - 1]
    if way != ways.TORCH:
        for network in (gan.d, gan.g):
            network.to(memory_format=torch.channels_last)
        real = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in real]
    if way == ways.TORCH_BF16:
        for network in (gan.d, gan.g):
            network.forward = torch.autocast("cpu", torch.bfloat16)(network.forward)
    return lambda: gan.step(*real)
