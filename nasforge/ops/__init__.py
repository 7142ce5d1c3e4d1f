"""Operators: what they mean (attributes, shapes, cost), free of torch."""

from nasforge.ops.attention import AttentionProduct, PositionEncoding, SelfAttention
from nasforge.ops.combine import Add, Concat, Identity, Keep, Multiply, Residual, UnusedConcat, Zero, residual
from nasforge.ops.conv import Activation, BatchNorm, Conv, Conv2d, LayerNorm, divisible
from nasforge.ops.drop_path import DropPath, drop_chance
from nasforge.ops.fit import Fit, FittedPool
from nasforge.ops.hybrid import HybridBlock, ScaleEntry
from nasforge.ops.linear import Linear
from nasforge.ops.mbconv import MBConv, SqueezeExcite
from nasforge.ops.patch import Patches
from nasforge.ops.pool import GlobalPool, Pool
from nasforge.ops.quantise import Quantise
from nasforge.ops.rectangle import DilatedSeparableConv, FactorisedReduction, RectConv, Shift, Strips
from nasforge.ops.resample import Resize
from nasforge.ops.resnet import BasicBlock, Bottleneck
from nasforge.ops.separable import SeparableConv

__all__ = [
    "Activation",
    "Add",
    "AttentionProduct",
    "BasicBlock",
    "BatchNorm",
    "Bottleneck",
    "Concat",
    "Conv",
    "Conv2d",
    "DilatedSeparableConv",
    "DropPath",
    "FactorisedReduction",
    "Fit",
    "FittedPool",
    "GlobalPool",
    "HybridBlock",
    "Identity",
    "Keep",
    "LayerNorm",
    "Linear",
    "MBConv",
    "Multiply",
    "Patches",
    "Pool",
    "PositionEncoding",
    "Quantise",
    "RectConv",
    "Residual",
    "Resize",
    "ScaleEntry",
    "SelfAttention",
    "SeparableConv",
    "Shift",
    "SqueezeExcite",
    "Strips",
    "UnusedConcat",
    "Zero",
    "divisible",
    "drop_chance",
    "residual",
]
