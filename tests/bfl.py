"""A transformer in the layout in which Black Forest Labs hands out its own: what diffusers reads, backwards."""

from collections.abc import Mapping

import torch

_PLAIN = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
}
_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
}
_SINGLE = {"norm.linear": "modulation.lin", "proj_out": "linear2"}
_SCALES = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
}
_LINEAR = ("weight", "bias")
Tensors = dict[str, torch.Tensor]


def original(tensors: Mapping[str, torch.Tensor], double: int, single: int) -> Tensors:
    """The tensors of a transformer with so many blocks of both kinds, under their original names."""
    found = _renamed(tensors, "", "", _PLAIN)
    for part in _LINEAR:
        scale, shift = tensors[f"norm_out.linear.{part}"].chunk(2)
        found[f"final_layer.adaLN_modulation.1.{part}"] = torch.cat([shift, scale])
    for place in range(double):
        found |= _double(tensors, f"transformer_blocks.{place}.", f"double_blocks.{place}.")
    for place in range(single):
        found |= _single(tensors, f"single_transformer_blocks.{place}.", f"single_blocks.{place}.")
    return found


def _double(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str) -> Tensors:
    found = _renamed(tensors, ours, theirs, _DOUBLE)
    found |= {f"{theirs}{there}.scale": tensors[f"{ours}{here}.weight"] for here, there in _SCALES.items()}
    for part in _LINEAR:
        picture = [tensors[f"{ours}attn.{name}.{part}"] for name in ("to_q", "to_k", "to_v")]
        words = [tensors[f"{ours}attn.{name}.{part}"] for name in ("add_q_proj", "add_k_proj", "add_v_proj")]
        found[f"{theirs}img_attn.qkv.{part}"] = torch.cat(picture)
        found[f"{theirs}txt_attn.qkv.{part}"] = torch.cat(words)
    return found


def _single(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str) -> Tensors:
    found = _renamed(tensors, ours, theirs, _SINGLE)
    for name, norm in (("query_norm", "norm_q"), ("key_norm", "norm_k")):
        found[f"{theirs}norm.{name}.scale"] = tensors[f"{ours}attn.{norm}.weight"]
    for part in _LINEAR:
        together = [tensors[f"{ours}{name}.{part}"] for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
        found[f"{theirs}linear1.{part}"] = torch.cat(together)
    return found


def _renamed(tensors: Mapping[str, torch.Tensor], ours: str, theirs: str, names: Mapping[str, str]) -> Tensors:
    return {
        f"{theirs}{there}.{part}": tensors[f"{ours}{here}.{part}"] for here, there in names.items() for part in _LINEAR
    }
