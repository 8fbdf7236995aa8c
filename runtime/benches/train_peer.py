"""Trains the planner's architecture in PyTorch and prints tokens a second.

`cargo bench -p runtime --bench train` starts this beside its own training where `PEER_PYTHON` names
a Python with `torch` and `transformers`:

    python3 train_peer.py LAYERS WIDTH INNER EXPERTS VOCAB LENGTH SEQUENCES TARGETS STEPS

The model is `Qwen3MoeForCausalLM` with random weights; a step is SEQUENCES sequences of LENGTH
random tokens, forward and backward with logits at TARGETS rows of each, and AdamW. One line a
format: `f32 RATE` and `bf16 RATE`, medians over the steps after the first two.
"""

import statistics
import sys
import time

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

HEAD = 32


def main() -> None:
    layers, width, inner, experts, vocab, length, sequences, targets, steps = map(int, sys.argv[1:10])
    torch.set_num_threads(2)
    torch.manual_seed(1)
    heads = width // HEAD
    config = Qwen3MoeConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(heads // 2, 1),
        head_dim=HEAD,
        moe_intermediate_size=inner,
        num_experts=experts,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        vocab_size=vocab,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
        output_router_logits=False,
        use_cache=False,
    )
    for name, dtype in (("f32", None), ("bf16", torch.bfloat16)):
        model = Qwen3MoeForCausalLM(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
        seconds = []
        for _ in range(steps + 2):
            tokens = torch.randint(0, vocab, (sequences, length))
            rows = torch.randint(0, length, (targets,))
            wanted = torch.randint(0, vocab, (sequences * targets,))
            begun = time.perf_counter()
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                hidden = model.model(tokens).last_hidden_state[:, rows]
                logits = model.lm_head(hidden).float().flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            seconds.append(time.perf_counter() - begun)
        print(name, round(sequences * length / statistics.median(seconds[2:])), flush=True)


if __name__ == "__main__":
    main()
