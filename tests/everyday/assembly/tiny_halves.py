"""Tiny halves as other projects publish them: a GGUF file as llama.cpp writes it, an ONNX file as torch exports it."""

import gguf
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Dinov2Config, Dinov2Model

HIDDEN, HEADS, KV_HEADS, FFN, BLOCKS = 64, 4, 2, 96, 2
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ċ Ċ", "t h", "th e")
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
PATCH, SIDE, TOWER_BLOCKS = 4, 20, 3
# What one exported file calls the parts, and what transformers does.
OLD_NAMES = {
    "q_proj": "attention.query",
    "k_proj": "attention.key",
    "v_proj": "attention.value",
    "o_proj": "output.dense",
}


def language_weights(seed=0):
    """Random weights by transformers' names, as a Llama has them."""
    draw = np.random.default_rng(seed)
    shapes = {"embed_tokens.weight": (len(TOKENS), HIDDEN), "norm.weight": (HIDDEN,)}
    kv = HIDDEN // HEADS * KV_HEADS
    linears = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (kv, HIDDEN), "self_attn.v_proj": (kv, HIDDEN)}
    linears |= {"self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN)}
    linears |= {"mlp.down_proj": (HIDDEN, FFN), "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    for block in range(BLOCKS):
        shapes |= {f"layers.{block}.{name}.weight": shape for name, shape in linears.items()}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    if not name.startswith("layers."):
        return {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}[name]
    _, block, rest = name.split(".", 2)
    return f"blk.{block}.{GGUF_NAMES[rest.removesuffix('.weight')]}.weight"


def interleaved(weight, heads):
    """llama.cpp's order of a head's rows: the two halves that rotate together, in turns."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(file, weights, split="smollm"):
    """A Llama with Q4_1 Linears, as SmolLM2's file."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_block_count(BLOCKS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    for name, weight in weights.items():
        if "q_proj" in name or "k_proj" in name:
            weight = interleaved(weight, HEADS if "q_proj" in name else KV_HEADS)
        if weight.ndim == 1:
            writer.add_tensor(gguf_name(name), weight)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_q4_1(weight):
    """What a Q4_1 file keeps of a weight, by the format's definition: 32 values are a scale, a minimum and nibbles."""
    blocks = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q4_1).reshape(-1, 20)
    scale, least = (blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32) for at in (0, 2))
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return (scale * nibbles.astype(np.float32) + least).reshape(weight.shape)


def tower(blocks=TOWER_BLOCKS, seed=0):
    """A random DINOv2 with one head of 64."""
    config = Dinov2Config(
        hidden_size=64, num_hidden_layers=blocks, num_attention_heads=1, image_size=SIDE, patch_size=PATCH, mlp_ratio=2
    )
    torch.manual_seed(seed)
    model = Dinov2Model(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def write_onnx(file, model, leave_out=()):
    """The initializers of an exported network around a DINOv2, and the nodes that use them."""
    stored, nodes = {}, []
    for name, weight in model.state_dict().items():
        old = f"backbone.{name}"
        for new, before in OLD_NAMES.items():
            old = old.replace(f".attention.{new}.", f".attention.{before}.")
        if name == "embeddings.position_embeddings":
            stored |= {"onnx::Concat_7": weight[:, :1], "onnx::Reshape_8": weight[:, 1:]}
            nodes.append(("Reshape", "/backbone/embeddings/Reshape_1", ["onnx::Reshape_8", "shape"]))
            nodes.append(("Concat", "/backbone/embeddings/Concat_6", ["onnx::Concat_7", "resized"]))
        elif name == "embeddings.mask_token":
            continue
        elif weight.ndim == 2:
            number = f"onnx::MatMul_{1000 + len(nodes)}"
            stored[number] = weight.T
            path = old.removesuffix(".weight").replace(".", "/").replace("/layer/", "/layer.")
            nodes.append(("MatMul", f"/{path}/MatMul", ["before", number]))
        else:
            stored[old] = weight
    stored["decoder.final_conv.bias"] = torch.zeros(1)
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(value.detach().numpy()), name)
        for name, value in stored.items()
        if name not in leave_out
    ]
    made = [
        helper.make_node(kind, inputs, [f"out_{number}"], name=name)
        for number, (kind, name, inputs) in enumerate(nodes)
    ]
    picture = helper.make_tensor_value_info("input_image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    onnx.save(helper.make_model(helper.make_graph(made, "exported", [picture], [], initializers)), file)
