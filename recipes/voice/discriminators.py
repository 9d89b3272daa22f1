"""Critics of sound and of spectra, and the losses against them. They exist only while training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1


def conv(*args, **kwargs) -> nn.Module:
    return weight_norm(nn.Conv2d(*args, **kwargs))


class Layers(nn.Module):
    """Convolutions whose every output is a feature; the last is the verdict."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number + 1 < len(self.layers):
                x = F.leaky_relu(x, SLOPE)
            features.append(x)
        return features


class Period(nn.Module):
    """Sees every `period`-th sample as a column (HiFi-GAN's multi-period critic, narrower)."""

    def __init__(self, period: int, widths=(32, 64, 128, 256, 256)):
        super().__init__()
        self.period = period
        chain = [1, *widths]
        layers = [
            conv(a, b, (5, 1), (3 if n < 4 else 1, 1), (2, 0)) for n, (a, b) in enumerate(zip(chain, chain[1:]))
        ]
        self.net = Layers([*layers, conv(widths[-1], 1, (3, 1), 1, (1, 0))])

    def forward(self, sound: Tensor) -> list[Tensor]:
        sound = F.pad(sound, (0, -sound.shape[-1] % self.period))
        return self.net(sound.reshape(sound.shape[0], 1, -1, self.period))


class Resolution(nn.Module):
    """Sees the complex spectrogram, its magnitudes compressed."""

    def __init__(self, size: int, width: int = 32):
        super().__init__()
        self.size = size
        middle = [conv(width, width, (3, 9), (1, 2), (d, 4), (d, 1)) for d in (1, 2, 4)]
        self.net = Layers([conv(2, width, (3, 9), 1, (1, 4)), *middle, conv(width, width, 3, 1, 1),
                           conv(width, 1, 3, 1, 1)])

    def forward(self, sound: Tensor) -> list[Tensor]:
        with torch.autocast(sound.device.type, enabled=False):
            window = torch.hann_window(self.size, device=sound.device)
            z = torch.stft(sound.float(), self.size, self.size // 4, window=window, return_complex=True)
            z = torch.view_as_real(z / (z.abs() + 1e-5).pow(0.7)).permute(0, 3, 2, 1)
        return self.net(z)


class SoundCritics(nn.Module):
    def __init__(self):
        super().__init__()
        self.all = nn.ModuleList([*(Period(p) for p in (2, 3, 5, 7, 11)), *(Resolution(s) for s in (512, 1024, 2048))])

    def forward(self, sound: Tensor) -> list[list[Tensor]]:
        return [critic(sound) for critic in self.all]


class SpectrumCritic(nn.Module):
    """Sees patches of a mel spectrogram (batch, frames, bands), and knows whose they should be: `voice` (batch, 128)."""

    def __init__(self, width: int = 64, voice: int = 128):
        super().__init__()
        w = width
        self.net = Layers([
            conv(1, w, (3, 5), (1, 2), (1, 2)), conv(w, 2 * w, (3, 5), (2, 2), (1, 2)),
            conv(2 * w, 4 * w, (3, 5), (2, 2), (1, 2)), conv(4 * w, 4 * w, (3, 3), (2, 1), (1, 1)),
            conv(4 * w, 1, 3, 1, 1),
        ])
        self.whose = nn.Linear(voice, 4 * w, bias=False)
        nn.init.normal_(self.whose.weight, std=0.01)

    def forward(self, mel: Tensor, voice: Tensor) -> list[list[Tensor]]:
        *seen, verdict = self.net(mel[:, None])
        fits = (seen[-1] * self.whose(voice)[:, :, None, None]).mean(1, keepdim=True)
        return [[*seen, verdict + fits]]


def critic_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Least squares: real ones should read 1, fake ones 0."""
    pairs = zip(real, fake)
    return sum((r[-1].float() - 1).square().mean() + f[-1].float().square().mean() for r, f in pairs) / len(real)


def fooling_loss(fake: list[list[Tensor]]) -> Tensor:
    return sum((f[-1].float() - 1).square().mean() for f in fake) / len(fake)


def matching_loss(real: list[list[Tensor]], fake: list[list[Tensor]]) -> Tensor:
    """Mean relative distance between the critics' features of the real and of the made thing."""
    total, count = 0.0, 0
    for r, f in zip(real, fake):
        for a, b in zip(r[:-1], f[:-1]):
            a = a.detach().float()
            total, count = total + (a - b.float()).abs().mean() / (a.abs().mean() + 1e-3), count + 1
    return total / count


def spectral_loss(made: Tensor, real: Tensor, sizes=(256, 512, 1024, 2048)) -> Tensor:
    """Log-magnitude and linear distances between spectrograms at several resolutions."""
    total = 0.0
    for size in sizes:
        window = torch.hann_window(size, device=made.device)
        a, b = (torch.stft(x.float(), size, size // 4, window=window, return_complex=True).abs() for x in (made, real))
        total = total + (torch.log(a + 1e-4) - torch.log(b + 1e-4)).abs().mean()
        total = total + (a - b).abs().mean() / (b.mean() + 1e-3)
    return total / len(sizes)
