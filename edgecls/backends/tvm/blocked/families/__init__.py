"""One file per family of kernels: how it decides, packs and writes code. A new one is a file and a line here."""

from edgecls.backends.tvm.blocked.families import (
    attention,
    channels,
    convolution,
    depthwise,
    elementwise,
    gather,
    grouped,
    matmul,
    mean,
    norm,
    pooling,
)
from edgecls.backends.tvm.blocked.families.family import Family
from edgecls.backends.tvm.blocked.node import Kind

FAMILIES: dict[Kind, Family] = {
    "convolution": convolution.plan,
    "depthwise": depthwise.plan,
    "grouped": grouped.plan,
    "pool": pooling.plan,
    "mean": mean.plan,
    "elementwise": elementwise.plan,
    "channels": channels.plan,
    "norm": norm.plan,
    "attention": attention.plan,
    "gather": gather.plan,
    "matmul": matmul.plan,
}
