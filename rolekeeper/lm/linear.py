"""fp32 linear layers through oneDNN on the CPU.

On x86, PyTorch gives fp32 products to MKL, which on processors other than Intel's uses half of their vector width.
oneDNN, which PyTorch carries too, uses all of it: about twice as fast on an AMD Zen 5, forward and backward, with the
same fp32 arithmetic. `python -m benchmarks.linear` measures it beside MKL.

Shapes: the leading sizes of x are free and written as N; I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def use_onednn(model: nn.Module) -> None:
    """Make every fp32 `nn.Linear` of a model on the CPU multiply through oneDNN; parameters stay the objects they are.

    Frozen weights are laid out anew, inputs first, which oneDNN reads fastest: same shape and values, other strides.
    An output head that is tied to the embedding stays as it is, or looking tokens up would be slow.
    Does nothing where PyTorch has no oneDNN. Naive twin: the model as it was.
    """
    if not torch.backends.mkldnn.is_available():
        return
    tied = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        # Exactly nn.Linear: a subclass has a forward of its own.
        if type(module) is nn.Linear and _is_fp32_on_cpu(module.weight):
            if not module.weight.requires_grad and id(module.weight) not in tied:
                module.weight.data = module.weight.data.t().contiguous().t()
            module.__class__ = OneDnnLinear


class OneDnnLinear(nn.Linear):
    """`nn.Linear` with its product through oneDNN. PEFT takes it for the `nn.Linear` that it is."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in nn.Linear
        """Return input @ weight.T + bias, [N, O]; as `nn.Linear` for anything but fp32 on the CPU."""
        if not (_is_fp32_on_cpu(input) and _is_fp32_on_cpu(self.weight)):
            return super().forward(input)
        return linear(input, self.weight, self.bias)


def linear(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias, [N, O], for fp32 tensors on the CPU. Gradients flow.

    Naive twin: `torch.nn.functional.linear`.
    """
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x_NI, weight_OI, bias_O)):
        return cast(Callable[..., Tensor], _Linear.apply)(x_NI, weight_OI, bias_O)
    return _product(x_NI, weight_OI, bias_O)


class _Linear(torch.autograd.Function):
    """The input is kept for the backward pass only where the weight learns."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_NI if ctx.needs_input_grad[1] else None, weight_OI)
        return _product(x_NI, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_NI, weight_OI = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows_NO = grad_NO.flatten(0, -2)
        grad_x_NI = _product(grad_NO, weight_OI.t()) if needs_x else None
        grad_weight_OI = _product(rows_NO.t(), x_NI.flatten(0, -2).t()) if needs_weight else None
        return grad_x_NI, grad_weight_OI, rows_NO.sum(0) if needs_bias else None


def _product(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    # What torch.compile emits for a linear layer on the CPU; torch is pinned, and the tests hold it to its naive twin.
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], ""))


def _is_fp32_on_cpu(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"
