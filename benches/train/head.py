"""The loss: a linear head and cross-entropy in one, without ever holding all logits."""

import torch
import torch.nn.functional as F
from torch import Tensor


class FusedLoss(torch.autograd.Function):
    """Mean cross-entropy of hidden @ weight.T, computed with its gradients a slice at a time."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        count = len(targets)
        dhidden, dweight = torch.empty_like(hidden), torch.zeros_like(weight)
        loss = hidden.new_zeros(())
        for start in range(0, count, rows):
            h, t = hidden[start : start + rows], targets[start : start + rows, None]
            logits = h @ weight.T
            whole = torch.logsumexp(logits, dim=-1, keepdim=True)
            loss += (whole - logits.gather(1, t)).sum()
            grad = logits.sub_(whole).exp_()
            grad.scatter_add_(1, t, grad.new_full((1, 1), -1.0).expand_as(t))
            torch.mm(grad, weight, out=dhidden[start : start + rows])
            dweight.addmm_(grad.T, h)
        ctx.save_for_backward(dhidden.div_(count), dweight.div_(count))
        return loss / count

    @staticmethod
    def backward(ctx, grad: Tensor):
        dhidden, dweight = ctx.saved_tensors
        return dhidden.mul_(grad), dweight.mul_(grad), None, None


def fused_loss(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int = 1024) -> Tensor:
    return FusedLoss.apply(hidden, weight, targets, rows)


def plain_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ weight.T, targets)
