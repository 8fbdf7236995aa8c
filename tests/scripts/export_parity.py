"""Checks that an exported planner plans in other engines as it does here.

    tessera model export --format safetensors --out planner-hf
    tessera model export --format gguf --out planner.gguf
    tessera model trace --count 200 --out trace.jsonl
    python tests/scripts/export_parity.py planner-hf trace.jsonl --gguf planner.gguf

Needs torch and transformers, and llama-cpp-python for `--gguf`. A trace holds each plan's prompt and,
for each token, what the grammar allowed in its place (nothing where it forced the token). The other
engine decodes greedily among the same tokens: at each choice its likeliest allowed token must be the
one chosen here. As long as it is, both have read the same text, so one pass over prompt and plan tells
the whole of its greedy plan. The prompt's text must also give the same tokens there.

With `--fixture OUT.gz` the greedy plans of `transformers` are written for `runtime/tests/export.rs`.
Ends with 1 when a plan differs.
"""

import argparse
import gzip
import json
import sys


def text_of(prompt):
    """The prompt as one text, its special tokens in brackets."""
    return "".join(p.get("text", f"<|{p['special']}|>" if "special" in p else "") for p in prompt)


def greedy(line, logits_after):
    """The plan of another engine: its tokens, up to the first that differs from ours."""
    plan = [choice["token"] for choice in line["choices"]]
    logits = logits_after(line["tokens"] + plan)
    start = len(line["tokens"]) - 1
    tokens, margin = [], float("inf")
    for step, choice in enumerate(line["choices"]):
        token = choice["token"]
        if choice["allowed"]:
            row = logits[start + step]
            scores = sorted(((float(row[t]), -t) for t in choice["allowed"]), reverse=True)
            token = -scores[0][1]
            if len(scores) > 1:
                margin = min(margin, scores[0][0] - scores[1][0])
        tokens.append(token)
        if token != choice["token"]:
            break
    return tokens, tokens == plan, margin


def compare(name, lines, logits_after, tokenize):
    """Plans every line in another engine and says how many agree."""
    same, same_text, closest, plans = 0, 0, float("inf"), []
    for number, line in enumerate(lines):
        tokens, equal, margin = greedy(line, logits_after)
        plans.append(tokens)
        same += equal
        closest = min(closest, margin)
        if not equal:
            print(f"{name}: plan {number} differs at its token {len(tokens)} (margin {margin:.4f})")
        found = tokenize(text_of(line["prompt"]))
        same_text += found == line["tokens"]
        if found != line["tokens"]:
            print(f"{name}: the text of prompt {number} gives other tokens")
    print(
        f"{name}: {same} of {len(lines)} greedy plans equal, {same_text} prompts tokenized equally, "
        f"closest choice won by {closest:.4f}"
    )
    return plans, same == len(lines)


def transformers_engine(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert type(model).__name__ == "Qwen3MoeForCausalLM", type(model).__name__
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def logits_after(tokens):
        with torch.no_grad():
            return model(torch.tensor([tokens])).logits[0]

    return logits_after, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def llama_engine(path):
    from llama_cpp import Llama

    model = Llama(model_path=path, n_ctx=4096, n_batch=4096, n_ubatch=4096, logits_all=True, verbose=False)

    def logits_after(tokens):
        model.reset()
        model.eval(tokens)
        return model.scores[: len(tokens)]

    def tokenize(text):
        return model.tokenize(text.encode(), add_bos=False, special=True)

    return logits_after, tokenize


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("folder")
    arguments.add_argument("trace")
    arguments.add_argument("--gguf")
    arguments.add_argument("--fixture")
    chosen = arguments.parse_args()
    with open(chosen.trace, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    plans, good = compare("transformers", lines, *transformers_engine(chosen.folder))
    if chosen.fixture:
        with gzip.GzipFile(chosen.fixture, "wb", mtime=0) as out:
            for line, tokens in zip(lines, plans):
                kept = {"prompt": line["prompt"], "schema": line["schema"], "tokens": tokens}
                out.write((json.dumps(kept, ensure_ascii=False) + "\n").encode())
    if chosen.gguf:
        _, equal = compare("llama.cpp", lines, *llama_engine(chosen.gguf))
        good &= equal
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
