"""Types whose decoder hears as well: with towers for sound that no picture comes near."""

from dataclasses import dataclass

import torch
from conformance.families.experts import FOUR
from conformance.families.grids import DEEPSTACK, WINDOWS, Grid, tower
from conformance.layout import END, FIRST_WORD, FRAMED, IMAGE, IMAGE_WORD, START, VIDEO, Pictures, Visual, noise
from conformance.sizes import MLA, MROPE, ROUTED, Tiny, text

AUDIO, AUDIO_START = IMAGE_WORD + 1, IMAGE_WORD + 2


@dataclass
class Seconds(Grid):
    """The Qwen thinkers': the seconds between a clip's steps, and no word of a token's modality."""

    token_types: str | None = None

    def clip(self, pixels):
        made = super().clip(pixels)
        made.tensors["video_second_per_grid"] = torch.tensor([2.0])
        return made


@dataclass
class Shots(Grid):
    """Muse Spark's: a clip is wrapped as a whole, with a time stamp before each of its frames."""

    token_types: str | None = None

    def clip(self, pixels):
        made = super().clip(pixels)
        frame = [FIRST_WORD, *[VIDEO] * 4]
        return Visual([START, *frame, IMAGE_WORD, *frame, END], made.tensors, is_clip=True)


class HeightAndWidth(Pictures):
    """Nemotron's: flattened patches of all pictures, and their grids."""

    def image(self, pixels, large):
        rows, columns = 4, 6 if large else 4
        tensors = {
            "pixel_values": noise(pixels, rows * columns, 3 * 4 * 4),
            "image_grid_hw": torch.tensor([[rows, columns]]),
        }
        return Visual(self.wrapped([IMAGE] * (rows * columns // 4)), tensors)


def ears(**more):
    """The config of a tower for sound in the manner of Whisper's encoder."""
    sizes = dict(
        num_mel_bins=4, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16, d_model=16, output_dim=32
    )
    return sizes | more


IDS = dict(image_token_id=IMAGE, video_token_id=VIDEO, audio_token_id=AUDIO)
THINKER = dict(audio_start_token_id=AUDIO_START, vision_start_token_id=START)
NEMOTRON = text(
    "nemotron_h",
    layers_block_type=["linear_attention", "moe", "full_attention", "mlp"],
    ssm_state_size=8,
    mamba_num_heads=4,
    mamba_head_dim=16,
    n_groups=2,
    chunk_size=8,
    moe_shared_expert_intermediate_size=24,
    **ROUTED,
)
RADIO = dict(
    model_type="radio",
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    mlp_ratio=2.0,
    patch_size=4,
    image_size=16,
    max_img_size=32,
    num_cls_tokens=1,
    num_registers=1,
    video_temporal_patch_size=2,
    summary_idxs=[0],
)
MUSE_EARS = dict(patch_sizes=[4, 4], hidden_sizes=[8, 16], depths=[1, 1], num_hidden_layers=2, out_hidden_size=32)
DOTS_VISION = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    patch_size=4,
    mlp_layer_types=["dense", "sparse"],
    moe_intermediate_size=16,
    num_local_experts=4,
    num_experts_per_tok=2,
    adapter_in_dim=16,
    adapter_out_dim=32,
)
DOTS_EARS = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    feature_size=8,
    downsample_hidden_size=8,
    adapter_input_size=16,
    adapter_out_dim=32,
)

TYPES = {
    "qwen2_5_omni_thinker": Tiny(
        Seconds(),
        text("qwen2_5_omni_text", **MROPE),
        tower("qwen2_5_omni_vision_encoder", **WINDOWS),
        audio_config=ears(n_window=4, max_source_positions=16),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        audio_token_index=AUDIO,
        audio_end_token_id=AUDIO_START + 1,
        **THINKER,
    ),
    "qwen3_omni_moe_thinker": Tiny(
        Seconds(),
        text("qwen3_omni_moe_text", **MROPE, **FOUR),
        tower("qwen3_omni_moe_vision_encoder", **DEEPSTACK),
        audio_config=ears(n_window=4, n_window_infer=8, downsample_hidden_size=8, max_source_positions=16),
        **IDS,
        **THINKER,
    ),
    "nemotron_h_omni": Tiny(
        HeightAndWidth(**FRAMED),
        NEMOTRON,
        RADIO,
        note="clips fail in its own forward",
        projector_hidden_size=32,
        vision_hidden_size=16,
        **IDS,
    ),
    "muse_spark": Tiny(
        Shots(),
        text(
            "muse_spark_text",
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=8,
            mlp_layer_types=["dense", "sparse"],
            num_local_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=24,
            moe_hidden_size=16,
        ),
        dict(
            patch_size=4,
            pos_emb_height=4,
            pos_emb_width=4,
            num_attention_heads=2,
            num_hidden_layers=2,
            hidden_size=16,
            intermediate_size=32,
            max_position_embeddings=16,
        ),
        audio_config=MUSE_EARS,
        out_hidden_size=64,
        projector_hidden_size=32,
        **IDS,
    ),
    "dots3_note": Tiny(
        Grid(token_types=None, temporal=1),
        text(
            "dots3_note_text",
            layer_types=["indexed_attention", "sliding_attention"],
            sliding_window=8,
            mlp_layer_types=["dense", "sparse"],
            shared_experts_intermediate_size=24,
            index_topk=12,
            index_head_dim=8,
            # Of fewer heads, many scores would be zero alike.
            index_n_heads=8,
            swa_num_attention_heads=4,
            swa_num_key_value_heads=4,
            swa_q_lora_rank=16,
            swa_kv_lora_rank=16,
            swa_head_dim=16,
            swa_qk_nope_head_dim=8,
            swa_v_head_dim=8,
            num_key_value_heads=4,
            **MLA,
            **ROUTED,
        )
        | dict(head_dim=16),
        DOTS_VISION,
        audio_config=DOTS_EARS,
        **IDS,
    ),
}
