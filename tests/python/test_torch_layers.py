"""What layers do at their edges: delayed scales, clipping, groups, second derivatives, ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

Tensor = Any


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def q(x: Tensor, name: str, axis: int = -1, **options: Any) -> Tensor:
    y = lowp.quantize(x.detach().contiguous().numpy(), name, axis=axis, **options)
    return torch.from_numpy(np.asarray(y))


def converted(module: nn.Module, layer: lt.Layer, **recipe: Any) -> nn.Module:
    lt.convert(module, lt.Recipe(layer, **recipe))
    return module


def test_delayed_scaling_rounds_as_it_is_told() -> None:
    given = lt.Quantizer("float8_e5m2", rounding="stochastic_a", scaling=lt.Delayed(4))
    layer = converted(nn.Linear(64, 64, bias=False), lt.Layer(x=given), seed=5)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(64))
    x = normal(8, 64)
    for call in range(2):
        scale = float(layer.lowp.x_scale)
        name = f"float8_e5m2/tensor/float32/fixed={scale!r}"
        want = q(x, f"{name}/rounding=stochastic_a", seed=5, stream=call)
        assert torch.equal(layer(x), want)
    assert not torch.equal(q(x, name), want)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_clipping_with_delayed_scaling_masks_by_the_scale_that_was_used(compiled: bool) -> None:
    clip = lt.Quantizer("int8", scaling=lt.Delayed(4), gradient="clipped")
    layer = converted(nn.Linear(4, 4, bias=False), lt.Layer(x=clip))
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4))
    run = torch.compile(layer, fullgraph=True, backend="aot_eager") if compiled else layer
    x = torch.tensor([[1.0, 126.0, 127.5, 300.0]], requires_grad=True)  # the first scale is 1
    run(x).sum().backward()
    assert x.grad.tolist() == [[1, 1, 0, 0]]
    x.grad = None
    run(x).sum().backward()  # now 300 fits
    assert x.grad.tolist() == [[1, 1, 1, 1]]


def test_a_second_derivative_passes_through_delayed_scaling() -> None:
    def gradient_of_penalty(scaled: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
        if scaled:
            fine = lt.Quantizer("e5m10", scaling=lt.Delayed(2))
            converted(model, lt.Layer.of(fine, fine, fine))
        x = normal(8, 16).requires_grad_()
        (dx,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        dx.square().sum().backward()
        return model[0].weight.grad

    plain, delayed = gradient_of_penalty(False), gradient_of_penalty(True)
    assert F.cosine_similarity(plain.flatten(), delayed.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_blocks_of_a_grouped_convolution_stay_within_a_group(kind: type[nn.Module]) -> None:
    layer = lt.Layer.of("mxfp4", "mxfp4", "mxfp8_e4m3")
    together = converted(kind(16, 24, 3, groups=2, bias=False), layer)
    x = normal(3, 16, 6, 5)
    x[:, 8:] *= 1e-3
    x = x.requires_grad_()
    dy = normal(*together(x).shape, seed=1)
    dy[:, 12:] *= 1e3
    together(x).backward(dy)
    for i in (0, 1):
        alone = kind(8, 12, 3, bias=False)
        half = 12 if kind is nn.Conv2d else 8
        with torch.no_grad():
            alone.weight.copy_(together.weight[i * half : (i + 1) * half])
        converted(alone, layer)
        part = x.detach()[:, 8 * i : 8 * i + 8].requires_grad_()
        y = alone(part)
        y.backward(dy[:, 12 * i : 12 * i + 12])
        assert torch.equal(y, together(x)[:, 12 * i : 12 * i + 12])
        assert torch.allclose(part.grad, x.grad[:, 8 * i : 8 * i + 8], rtol=1e-5)
        got = together.weight.grad[i * half : (i + 1) * half]
        assert torch.allclose(alone.weight.grad, got, rtol=1e-5)


def test_fixed_signs_are_the_same_on_every_rank_and_fresh_ones_are_not() -> None:
    outputs: dict[str, list[Tensor]] = {"fixed": [], "fresh": []}
    for signs, found in outputs.items():
        for rank in (0, 1):
            torch.manual_seed(0)
            layer = nn.Linear(64, 32)
            plan = lt.Layer(x="mxfp4", forward_transform=lt.Hadamard(16, signs))
            lt.convert(layer, lt.Recipe(plan), rank=rank)
            found.append(layer(normal(8, 64)))
    assert torch.equal(*outputs["fixed"])
    assert not torch.equal(*outputs["fresh"])


def test_clipped_tiles_mask_weights_of_convolutions() -> None:
    clip = lt.Quantizer("float4_e2m1fn/16x16/ue5m3/fixed=0.01", gradient="clipped")
    conv = converted(nn.Conv2d(16, 16, 3, bias=False), lt.Layer(w=clip))
    conv(normal(2, 16, 5, 5)).sum().backward()
    beyond = conv.weight.abs() > 6 * lowp.quantize(0.01, "ue5m3")
    assert beyond.any()
    assert torch.equal(conv.weight.grad == 0, beyond)


def test_transforms_take_an_empty_batch() -> None:
    for transform in (lt.Hadamard(16), lt.Smooth(), lt.KSort()):
        layer = converted(nn.Linear(32, 8), lt.Layer.of("mxfp4", "mxfp4", transform=transform))
        assert layer(torch.zeros(0, 32)).shape == (0, 8)


def test_casts_keep_a_tensor_for_the_backward_pass_only_to_clip() -> None:
    def kept_by(norm: nn.Module) -> int:
        sizes: list[int] = []

        def keep(t: Tensor) -> Tensor:
            sizes.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            norm(normal(16, 64).requires_grad_())
        return sum(sizes)

    rounded = lt.Layer(output="bfloat16")
    assert kept_by(converted(nn.LayerNorm(64), lt.Layer(), types={"norm": rounded})) == kept_by(
        nn.LayerNorm(64)
    )


# ---- accumulators for block-scaled factors -------------------------------------------------------


def test_mxfp4_operands_go_through_b200_mxf4_with_the_bits_of_scales_apart() -> None:
    layer = lt.Layer.of("mxfp4", "mxfp4", "mxfp4", accumulator="b200_mxf4")
    linear = converted(nn.Linear(128, 24, bias=False), layer)
    x = normal(16, 128).requires_grad_()
    y = linear(x)
    y.backward(dy := normal(16, 24, seed=1))
    blocks = {"accumulator": "b200_mxf4", "a_format": "mxfp4", "b_format": "mxfp4"}
    w = linear.weight.detach().numpy()
    assert np.array_equal(y.detach().numpy(), lowp.matmul(x.detach().numpy(), w.T, **blocks))
    assert np.array_equal(x.grad.numpy(), lowp.matmul(dy.numpy(), w, **blocks))


@pytest.mark.parametrize("unit", ["b200_mxf4", "b200_nvfp4"])
@pytest.mark.parametrize(
    "format", ["nvfp4", "nvfp4_16x16", "int4_128", lt.Quantizer("e4m3", scaling=lt.Delayed(2))]
)
def test_scales_that_a_units_groups_cannot_hold_are_refused_by_the_layer(
    unit: str, format: Any
) -> None:
    message = rf"forward_accumulator {unit}.*no powers of two: give it mxfp4, or .*lowp\.matmul"
    with pytest.raises(ValueError, match=message):
        lt.Layer.of("mxfp4", format, "mxfp4", accumulator=unit)
    lt.Layer(x=format, wgrad_dy="mxfp4", wgrad_accumulator=unit)  # type: ignore[arg-type]
    lt.Layer.of("float4_e2m1fn/32/float32/floor", "float4_e2m1fn", accumulator=unit)
