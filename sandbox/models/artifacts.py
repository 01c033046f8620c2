"""Write trained weights as GGUF: the base model in F16, an adapter in llama.cpp's LoRA layout.

Called by `store`. Separate because the file format has nothing to do with training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

from sandbox.models.bpe import (
    ASSISTANT,
    END,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    PAD,
    SPECIALS,
    START,
    USER,
    Tokenizer,
)
from sandbox.models.llama import EPSILON, Array, Shape, Weights

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{{% if message['role'] == 'assistant' %}}{ASSISTANT}{{{{ message['content'] }}}}{END}"
    f"{{% else %}}{USER}{{{{ message['content'] }}}}\n{{% endif %}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)
"""What `training.prompt_tokens` produces for one user message; a system message counts as one."""


def _add_tensor(writer: GGUFWriter, name: str, tensor: Array) -> None:
    """Add a matrix as F16 and a vector as F32, as llama.cpp expects them."""
    dtype = np.float16 if tensor.ndim == 2 else np.float32
    writer.add_tensor(name, np.ascontiguousarray(tensor.astype(dtype)))


def _finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(tokenizer.tokens))
    kinds = [TokenType.CONTROL] * len(SPECIALS)
    writer.add_token_types(kinds + [TokenType.NORMAL] * (len(tokenizer) - len(SPECIALS)))
    writer.add_token_merges([f"{left} {right}" for left, right in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.special(START))
    writer.add_add_bos_token(False)
    writer.add_eos_token_id(tokenizer.special(END))
    writer.add_eot_token_id(tokenizer.special(END))
    writer.add_pad_token_id(tokenizer.special(PAD))
    writer.add_uint32("tokenizer.ggml.fim_pre_token_id", tokenizer.special(FIM_PREFIX))
    writer.add_uint32("tokenizer.ggml.fim_suf_token_id", tokenizer.special(FIM_SUFFIX))
    writer.add_uint32("tokenizer.ggml.fim_mid_token_id", tokenizer.special(FIM_MIDDLE))
    writer.add_chat_template(CHAT_TEMPLATE)


def write_base(path: Path, name: str, tokenizer: Tokenizer, shape: Shape, weights: Weights) -> None:
    """Write a complete model file."""
    writer = GGUFWriter(str(path), "llama")
    writer.add_name(name)
    writer.add_description("Demo model, trained on a few pages: proves plumbing, not quality.")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(2)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(EPSILON)
    _add_tokenizer(writer, tokenizer)
    for tensor_name, tensor in weights.items():
        _add_tensor(writer, tensor_name, tensor)
    _finish(writer)


def write_adapter(path: Path, name: str, alpha: float, adapter: Weights) -> None:
    """Write a LoRA adapter file; llama.cpp derives the rank from the tensors."""
    writer = GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_name(name)
    for tensor_name, tensor in adapter.items():
        # F32: the B matrices are small numbers and the whole file is 0.2 MB.
        writer.add_tensor(
            tensor_name, np.ascontiguousarray(tensor), raw_dtype=GGMLQuantizationType.F32
        )
    _finish(writer)
