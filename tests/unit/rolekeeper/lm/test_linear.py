from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from rolekeeper.lm.linear import OneDnnLinear, linear, use_onednn
from rolekeeper.lm.load import LoadedModel
from tests.tiny import make_tiny_model
from tests.unit.rolekeeper.lm.conftest import ARCHITECTURES


def leaves(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


def test_two_rows_by_hand() -> None:
    x_NI = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    weight_OI = torch.tensor([[3.0, 4.0], [5.0, 6.0], [0.5, 0.0]])
    bias_O = torch.tensor([1.0, 0.0, -1.0])
    assert linear(x_NI, weight_OI, bias_O).tolist() == [[12.0, 17.0, -0.5], [-3.0, -6.0, -1.0]]


@pytest.mark.parametrize("rows", [(1,), (33,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("inputs_first", [True, False])
def test_values_and_gradients_are_those_of_the_naive_twin(
    rows: tuple[int, ...], has_bias: bool, inputs_first: bool
) -> None:
    x, weight, bias, direction = leaves((*rows, 24), (40, 24), (40,), (*rows, 40))
    if inputs_first:
        weight = weight.detach().t().contiguous().t().requires_grad_()
    inputs = (x, weight, bias) if has_bias else (x, weight)
    ours = linear(x, weight, bias if has_bias else None)
    twin = nn.functional.linear(x, weight, bias if has_bias else None)
    torch.testing.assert_close(ours, twin, atol=1e-5, rtol=1e-5)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, direction), torch.autograd.grad(twin, inputs, direction), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_frozen_weight_gets_no_gradient_and_keeps_no_input() -> None:
    x, weight = leaves((5, 24), (40, 24))
    weight.requires_grad_(False)
    out = linear(x, weight)
    node: Any = out.grad_fn
    assert [tensor is None for tensor in node.saved_tensors] == [True, False]
    out.sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, weight.sum(0).expand(5, -1), atol=1e-5, rtol=1e-5)


def test_the_gradient_agrees_with_finite_differences_in_fp64() -> None:
    x, weight = leaves((3, 4), (5, 4))
    (ours,) = torch.autograd.grad(linear(x, weight).pow(2).sum(), x)
    x64, weight64 = x.detach().double(), weight.detach().double()
    step = 1e-6
    for row, column in [(0, 0), (1, 3), (2, 2)]:
        up, down = x64.clone(), x64.clone()
        up[row, column] += step
        down[row, column] -= step
        slope = ((up @ weight64.T).pow(2).sum() - (down @ weight64.T).pow(2).sum()) / (2 * step)
        assert float(ours[row, column]) == pytest.approx(float(slope), rel=1e-4)


def test_a_model_gives_the_logits_that_it_gave(tmp_path: Path) -> None:
    for architecture in ARCHITECTURES:
        folder = make_tiny_model(tmp_path / architecture, architecture=architecture)
        model = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
        ids = torch.arange(40).unsqueeze(0)
        before, parameters = model(ids).logits, dict(model.named_parameters())
        use_onednn(model)
        torch.testing.assert_close(model(ids).logits, before, atol=1e-5, rtol=1e-5)
        assert all(parameter is parameters[name] for name, parameter in model.named_parameters())


def test_every_linear_layer_is_taken_and_the_embedding_stays_fast(llama: LoadedModel) -> None:
    layers = [module for module in llama.model.modules() if isinstance(module, nn.Linear)]
    assert {type(layer) for layer in layers} == {OneDnnLinear}
    head = llama.model.get_output_embeddings()
    assert isinstance(head, nn.Linear)
    assert head.weight is llama.model.get_input_embeddings().weight
    assert head.weight.is_contiguous()
    assert all(layer.weight.t().is_contiguous() for layer in layers if layer is not head)


def test_other_dtypes_go_the_way_of_torch() -> None:
    layer = nn.Linear(8, 8).bfloat16()
    use_onednn(nn.ModuleList([layer]))
    assert type(layer) is nn.Linear
    layer.__class__ = OneDnnLinear
    x = torch.ones(2, 8, dtype=torch.bfloat16)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
