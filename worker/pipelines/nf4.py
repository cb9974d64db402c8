"""Weights of 4 bits whose levels are those of normally distributed numbers, a scale for each 64 of them."""

from bitsandbytes.nn import Linear4bit, Params4bit
from torch import nn


def smaller(layer: nn.Linear) -> nn.Linear:
    weight, bias = layer.weight.detach(), layer.bias
    made = Linear4bit(
        layer.in_features, layer.out_features, bias is not None, weight.dtype, quant_type="nf4", device="meta"
    )
    made.weight = Params4bit(weight, requires_grad=False, quant_type="nf4", module=made)
    made.bias = bias
    # Moving it onto a device is what quantises it.
    small: nn.Linear = made.to(weight.device)
    return small
