"""Kokoro-82M in plain PyTorch, reading its weights from the published ONNX graph (Apache-2.0), for batches.

Two passes, each over batches of equal length, so that nothing is padded and every clip comes out as it would alone:
ids -> durations (equal number of ids), then durations -> sound (equal number of steps). As in the ONNX graph, the
harmonic source carries no noise, so a clip is a function of its ids, style and speed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Item = tuple[list[int], np.ndarray, float]
BERT = "encoder.bert.encoder.albert_layer_groups.0.albert_layers.0"
BERT_NODE = "/encoder/bert/encoder/albert_layer_groups.0/albert_layers.0"
LSTMS = {"/encoder/text_encoder/lstm": 512, "/encoder/predictor/text_encoder/lstms.0": 640,
         "/encoder/predictor/text_encoder/lstms.2": 640, "/encoder/predictor/text_encoder/lstms.4": 640,
         "/encoder/predictor/lstm": 640, "/encoder/shared": 640}


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights by name from the ONNX file, or from an .npz that `save_half` wrote."""
    if Path(path).suffix == ".npz":
        with np.load(path) as file:
            return {name: torch.from_numpy(file[name]).float() for name in file.files}
    import onnx

    graph = onnx.load(path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name: array for name, array in stored.items() if name.startswith(("encoder.", "decoder."))}
    named: set[str] = set()  # the phoneme model's matrices serve twelve times: named once
    for node in graph.node:  # folded weights have made-up names: call them after their bias or their node
        held = [name for name in node.input if name in stored and name not in named]
        named.update(held if node.op_type == "MatMul" else ())
        if node.op_type in ("Conv", "ConvTranspose") and len(held) > 1:
            weights[held[1].removesuffix("bias") + "weight"] = stored[held[0]]
        elif node.op_type in ("Conv", "MatMul") and held and stored[held[0]].ndim > 1:
            weights[node.name] = stored[held[0]]
        elif node.op_type == "LSTM":
            for part, name in zip("WRB", node.input[1:4], strict=True):
                weights[node.name.removesuffix("/LSTM") + "/" + part] = stored[name]
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in weights.items()}


def save_half(weights: dict[str, Tensor], path: Path) -> None:
    """Store the weights as fp16 (half the size; durations then differ from fp32's now and then)."""
    np.savez(path, **{name: tensor.numpy().astype(np.float16) for name, tensor in weights.items()})


def lstm_module(weights: dict[str, Tensor], name: str, width: int) -> torch.nn.LSTM:
    """A bidirectional LSTM of 256 cells; ONNX orders its gates i o f c, PyTorch i f c o."""
    module = torch.nn.LSTM(width, 256, batch_first=True, bidirectional=True)
    order = torch.cat([torch.arange(256) + 256 * gate for gate in (0, 2, 3, 1)])
    with torch.no_grad():
        for side, suffix in enumerate(("", "_reverse")):
            getattr(module, f"weight_ih_l0{suffix}").copy_(weights[f"{name}/W"][side][order])
            getattr(module, f"weight_hh_l0{suffix}").copy_(weights[f"{name}/R"][side][order])
            bias = weights[f"{name}/B"][side]
            getattr(module, f"bias_ih_l0{suffix}").copy_(bias[:1024][order])
            getattr(module, f"bias_hh_l0{suffix}").copy_(bias[1024:][order])
    return module.eval()


class Teacher:
    """The model on one device."""

    def __init__(self, weights: dict[str, Tensor], device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.allow_tf32 = True
        self.lstms = {name: lstm_module(weights, name, width).to(self.device) for name, width in LSTMS.items()}
        self.w = {name: tensor.to(self.device) for name, tensor in weights.items()}

    # ------------------------------------------------------------------------------------ small layers
    def conv(self, name: str, x: Tensor, **how) -> Tensor:
        """Convolution by name over [batch, channels, t]."""
        return F.conv1d(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"), **how)

    def lstm(self, name: str, x: Tensor) -> Tensor:
        """Bidirectional LSTM by name, [batch, t, width] to [batch, t, 512]."""
        return self.lstms[name](x)[0]

    def dense(self, matrix: str, bias: str, x: Tensor) -> Tensor:
        """x @ matrix + bias over the last axis; the graph stores these matrices as [in, out]."""
        return torch.addmm(self.w[bias], x.reshape(-1, x.shape[-1]), self.w[matrix]).view(*x.shape[:-1], -1)

    def affine(self, name: str, style: Tensor) -> tuple[Tensor, Tensor]:
        """Style-given scale (plus one) and shift, each [batch, channels, 1]."""
        gamma, beta = F.linear(style, self.w[f"{name}.fc.weight"], self.w[f"{name}.fc.bias"]).chunk(2, 1)
        return 1 + gamma[..., None], beta[..., None]

    def adain(self, name: str, x: Tensor, style: Tensor) -> Tensor:
        """Instance norm over time, then the style's scale and shift."""
        gamma, beta = self.affine(name, style)
        return torch.addcmul(beta, gamma, F.instance_norm(x))

    # ------------------------------------------------------------------------------- ids -> durations
    def bert(self, ids: Tensor) -> Tensor:
        """The phoneme language model, [batch, ids, 768]: one ALBERT layer applied twelve times."""
        w, at, node = self.w, "encoder.bert.embeddings.", BERT_NODE
        x = w[at + "word_embeddings.weight"][ids] + w[at + "token_type_embeddings.weight"][0]
        x = x + w[at + "position_embeddings.weight"][: ids.shape[1]]
        x = F.layer_norm(x, (128,), w[at + "LayerNorm.weight"], w[at + "LayerNorm.bias"], 1e-12)
        x = self.dense("/encoder/bert/encoder/embedding_hidden_mapping_in/MatMul",
                       "encoder.bert.encoder.embedding_hidden_mapping_in.bias", x)
        for _ in range(12):
            heads = [self.dense(f"{node}/attention/{part}/MatMul", f"{BERT}.attention.{part}.bias", x)
                     .unflatten(-1, (12, 64)).transpose(1, 2) for part in ("query", "key", "value")]
            seen = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
            seen = self.dense(f"{node}/attention/dense/MatMul", f"{BERT}.attention.dense.bias", seen)
            x = F.layer_norm(x + seen, (768,), w[f"{BERT}.attention.LayerNorm.weight"],
                             w[f"{BERT}.attention.LayerNorm.bias"], 1e-12)
            y = F.gelu(self.dense(f"{node}/ffn/MatMul", f"{BERT}.ffn.bias", x), approximate="tanh")
            y = self.dense(f"{node}/ffn_output/MatMul", f"{BERT}.ffn_output.bias", y)
            x = F.layer_norm(y + x, (768,), w[f"{BERT}.full_layer_layer_norm.weight"],
                             w[f"{BERT}.full_layer_layer_norm.bias"], 1e-12)
        return x

    def durations(self, ids: Tensor, style: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        """Steps per id [batch, ids] and the prosody rows behind them [batch, ids, 640]."""
        prosody = style[:, 128:]
        around = prosody[:, None].expand(-1, ids.shape[1], -1)
        x = self.dense("/encoder/bert_encoder/MatMul", "encoder.bert_encoder.bias", self.bert(ids))
        x = torch.cat([x, around], -1)
        for layer in (0, 2, 4):
            x = F.layer_norm(self.lstm(f"/encoder/predictor/text_encoder/lstms.{layer}", x), (512,), eps=1e-5)
            gamma, beta = self.affine(f"encoder.predictor.text_encoder.lstms.{layer + 1}", prosody)
            x = torch.cat([torch.addcmul(beta.mT, gamma.mT, x), around], -1)
        y = self.dense("/encoder/predictor/duration_proj/linear_layer/MatMul",
                       "encoder.predictor.duration_proj.linear_layer.bias", self.lstm("/encoder/predictor/lstm", x))
        return (torch.sigmoid(y).sum(-1) / speed[:, None]).round().clamp(min=1).long(), x

    def text(self, ids: Tensor) -> Tensor:
        """Phoneme rows of the acoustic side, [batch, ids, 512]."""
        x = self.w["encoder.text_encoder.embedding.weight"][ids].mT
        for layer in range(3):
            at = f"encoder.text_encoder.cnn.{layer}"
            x = self.conv(f"{at}.0", x, padding=2).mT
            x = F.leaky_relu(F.layer_norm(x, (512,), self.w[f"{at}.1.gamma"], self.w[f"{at}.1.beta"], 1e-5), 0.2).mT
        return self.lstm("/encoder/text_encoder/lstm", x.mT)

    # ------------------------------------------------------------------------------- durations -> sound
    def block(self, name: str, x: Tensor, style: Tensor) -> Tensor:
        """Residual block with style-given norms; twice the length out where it holds a `pool`."""
        y = F.leaky_relu(self.adain(f"{name}.norm1", x, style), 0.2)
        if f"{name}.pool.weight" in self.w:
            pool = self.w[f"{name}.pool.weight"]
            y = F.conv_transpose1d(y, pool, self.w[f"{name}.pool.bias"], 2, 1, 1, groups=pool.shape[0])
            x = x.repeat_interleave(2, -1)
        y = self.conv(f"{name}.conv1", y, padding=1)
        y = self.conv(f"{name}.conv2", F.leaky_relu(self.adain(f"{name}.norm2", y, style), 0.2), padding=1)
        node = "/" + name.removeprefix("encoder.predictor.").replace("decoder.decoder.", "decoder/decoder/")
        short = self.w.get(("/encoder" if name.startswith("encoder") else "") + f"{node}/conv1x1/Conv")
        return (y + (x if short is None else F.conv1d(x, short))) * 2**-0.5

    def resblock(self, name: str, x: Tensor, style: Tensor) -> Tensor:
        """Three dilated pairs of convolutions with the snake activation."""
        for layer, dilation in enumerate((1, 3, 5)):
            y = x
            for part, spread in ((1, dilation), (2, 1)):
                alpha = self.w[f"{name}.alpha{part}.{layer}"]
                y = self.adain(f"{name}.adain{part}.{layer}", y, style)
                y = torch.addcmul(y, 1 / alpha, torch.sin(alpha * y).square())
                kernel = self.w[f"{name}.convs{part}.{layer}.weight"].shape[-1]
                y = self.conv(f"{name}.convs{part}.{layer}", y, dilation=spread, padding=(kernel - 1) * spread // 2)
            x = x + y
        return x

    def source(self, pitch: Tensor) -> Tensor:
        """Harmonic excitation of the pitch track (Hz, 80 a second) as magnitude and phase, [batch, 22, 60 t + 1]."""
        hertz = pitch[:, None] * torch.arange(1, 10, device=pitch.device)[:, None]
        phase = (hertz / 24_000 % 1).cumsum(-1) * (2 * torch.pi * 300)
        sines = 0.1 * torch.sin(F.interpolate(phase, scale_factor=300, mode="linear"))
        sines = sines * (pitch > 10).float().repeat_interleave(300, -1)[:, None]
        merged = self.dense("/decoder/decoder/generator/m_source/l_linear/MatMul",
                            "decoder.decoder.generator.m_source.l_linear.bias", sines.mT)
        wave = torch.tanh(merged).squeeze(-1)
        spectrum = torch.stft(wave, 20, 5, window=torch.hann_window(20, device=wave.device), return_complex=True)
        return torch.cat([spectrum.abs(), spectrum.angle()], 1)

    def generator(self, x: Tensor, pitch: Tensor, style: Tensor) -> Tensor:
        """Rows at 80 a second to sound, [batch, 300 t]."""
        at = "decoder.decoder.generator"
        harmonics = self.source(pitch)
        for stage, (stride, kernel) in enumerate(((10, 20), (6, 12))):
            how = {"stride": 6, "padding": 3} if stage == 0 else {}
            source = self.conv(f"{at}.noise_convs.{stage}", harmonics, **how)
            source = self.resblock(f"{at}.noise_res.{stage}", source, style)
            x = F.conv_transpose1d(F.leaky_relu(x, 0.1), self.w[f"{at}.ups.{stage}.weight"],
                                   self.w[f"{at}.ups.{stage}.bias"], stride, (kernel - stride) // 2)
            x = (F.pad(x, (1, 0), mode="reflect") if stage else x) + source
            x = sum(self.resblock(f"{at}.resblocks.{3 * stage + i}", x, style) for i in range(3)) / 3
        x = self.conv(f"{at}.conv_post", F.leaky_relu(x, 0.01), padding=3)
        spectrum = torch.polar(x[:, :11].exp(), torch.sin(x[:, 11:]))
        window = torch.hann_window(20, device=x.device)
        return 1.5 * torch.istft(spectrum, 20, 5, window=window)  # the graph leaves out the windows' sum of squares

    def decode(self, text: Tensor, prosody_rows: Tensor, style: Tensor) -> Tensor:
        """Sound [batch, 600 t] of text rows [batch, 512, t] and prosody rows [batch, t, 640]."""
        timbre, prosody = style[:, :128], style[:, 128:]
        shared = self.lstm("/encoder/shared", prosody_rows).mT
        curves = []
        for name in ("F0", "N"):
            y = shared
            for layer in range(3):
                y = self.block(f"encoder.predictor.{name}.{layer}", y, prosody)
            curves.append(self.conv(f"encoder.predictor.{name}_proj", y))
        low = [self.conv(f"decoder.decoder.{name}_conv", curve, stride=2, padding=1)
               for name, curve in zip(("F0", "N"), curves, strict=True)]
        x = self.block("decoder.decoder.encode", torch.cat([text, *low], 1), timbre)
        side = [self.conv("decoder.decoder.asr_res.0", text), *low]
        for layer in range(4):
            x = self.block(f"decoder.decoder.decode.{layer}", torch.cat([x, *side], 1), timbre)
        return self.generator(x, curves[0].squeeze(1), timbre)

    # ------------------------------------------------------------------------------------------- batches
    @torch.inference_mode()
    def speak(self, items: list[Item], max_steps: int, rows: int = 12_000) -> Iterator[tuple[int, np.ndarray, list[int]]]:
        """(index, sound, steps) of (ids, style, speed) items in no order; clips above `max_steps` are left out.

        `rows`: steps in one batch of the second pass, which bounds the memory (12 000 take about 4 GB).
        """
        ready: dict[int, list] = defaultdict(list)
        by_ids: dict[int, list[int]] = defaultdict(list)
        for index, (ids, _, _) in enumerate(items):
            by_ids[len(ids)].append(index)
        for length, indices in by_ids.items():
            for start in range(0, len(indices), 64):
                batch = indices[start : start + 64]
                ids = torch.tensor([items[i][0] for i in batch], device=self.device)
                style = torch.tensor(np.stack([items[i][1] for i in batch]), device=self.device)
                steps, prosody = self.durations(ids, style, torch.tensor([items[i][2] for i in batch], device=self.device))
                text = self.text(ids)
                for row, (index, total) in enumerate(zip(batch, steps.sum(-1).tolist(), strict=True)):
                    if total <= max_steps:
                        ready[total].append((index, steps[row], text[row], prosody[row], style[row]))
        for total in sorted(ready):
            size = max(1, min(64, rows // total))
            for start in range(0, len(ready[total]), size):
                yield from self._decode_batch(ready[total][start : start + size])

    def _decode_batch(self, batch: list) -> Iterator[tuple[int, np.ndarray, list[int]]]:
        """Second pass over clips of equal length: spread their rows over the steps and decode them at once."""
        text = torch.stack([t.repeat_interleave(steps, 0) for _, steps, t, _, _ in batch]).mT
        prosody = torch.stack([p.repeat_interleave(steps, 0) for _, steps, _, p, _ in batch])
        sound = self.decode(text, prosody, torch.stack([style for *_, style in batch])).float().cpu().numpy()
        for (index, steps, *_), wave in zip(batch, sound, strict=True):
            yield index, wave, steps.tolist()
