"""Simulated training in PyTorch: tensors, layers and models in any number format.

    >>> import torch, lowp.torch
    >>> lowp.torch.quantize(torch.tensor([0.3, 1.0, 5.0]), "mxfp4")
    tensor([0.2500, 1.0000, 4.0000])

`quantize`, `encode`, `decode` and `matmul` are lowp's verbs on tensors, as operators that autograd
and torch.compile know. A `Recipe` says which tensors of a model live in which format, `convert`
makes a model compute so, `restore` undoes it.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:  # pragma: no cover - only where the extra is absent
    raise ImportError("lowp.torch needs PyTorch: pip install 'lowp[torch]'") from error

from lowp._arguments import suggest_arguments as _suggest_arguments
from lowp.torch import distributed, functional, optim, recipes
from lowp.torch._allocate import Allocation, allocate, front
from lowp.torch._convert import Report, convert, converted, layers, restore
from lowp.torch._sensitivity import SensitivityRow, SensitivityTable, sensitivity
from lowp.torch._state import LayerState
from lowp.torch._super_weights import HeldOut, hold_one_out, quantized_weights
from lowp.torch._verbs import TensorBlocks, decode, encode, hadamard, matmul, quantize
from lowp.torch._watch import check_loss, detect_nan
from lowp.torch.monitor import Monitor
from lowp.torch.recipe import Delayed, Hadamard, KSort, Layer, Quantizer, Recipe, Smooth

__all__ = [
    "Allocation",
    "Delayed",
    "Hadamard",
    "HeldOut",
    "KSort",
    "Layer",
    "LayerState",
    "Monitor",
    "Quantizer",
    "Recipe",
    "Report",
    "SensitivityRow",
    "SensitivityTable",
    "Smooth",
    "TensorBlocks",
    "allocate",
    "check_loss",
    "convert",
    "converted",
    "decode",
    "detect_nan",
    "distributed",
    "encode",
    "front",
    "functional",
    "hadamard",
    "hold_one_out",
    "layers",
    "matmul",
    "optim",
    "quantize",
    "quantized_weights",
    "recipes",
    "restore",
    "sensitivity",
]

_suggest_arguments(__name__)
