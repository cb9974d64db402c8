"""Weights of 8 bits, a scale for each row; what is computed with them is computed in the pipeline's number format."""

from torch import nn
from torchao.quantization import Float8WeightOnlyConfig, quantize_


def smaller(layer: nn.Linear) -> nn.Linear:
    quantize_(layer, Float8WeightOnlyConfig())
    return layer
