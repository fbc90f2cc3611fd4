#!/usr/bin/env python3
"""Tiny random checkpoints of every dense family, and what their forward passes give, by the published formulas in float64.

Writes tests/data/families/NAME.json: the small files of a checkpoint, its tensors (as seeds: the tests generate the same
numbers), and golden rows. Needs NumPy, which the tests do not.

  families.py            writes the goldens
  families.py DIRECTORY  writes the checkpoints themselves as well, NAME-f32 and NAME-bf16
"""
import json
import pathlib
import struct
import sys

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "families"
V, TOKENS, PAD, EOS, TURN, MASK = 512, 500, 496, 496, 497, 499
COLUMNS = 8  # logits of a golden row


# ---- numbers ----------------------------------------------------------------------------------------------------------------

def mix(x):  # splitmix64
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def numbers(seed, name, count, mean, deviation):
    """float32; every operation is exact or rounded once, so that C++ gives the same bits."""
    base = 0xCBF29CE484222325
    for byte in name.encode():
        base = (base ^ byte) * 0x100000001B3 % 2**64
    base ^= seed
    with np.errstate(over="ignore"):
        bits = mix(np.uint64(base) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    lanes = sum(((bits >> np.uint64(16 * i)) & np.uint64(0xFFFF)).astype(np.int64) for i in range(4))
    z = (lanes - 131070).astype(np.float64) * 2.6429e-05  # nearly normal, deviation 1
    return (mean + deviation * z).astype(np.float32)


def to_bf16(x):
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)).astype(np.uint32).view(np.float32)


# ---- models -----------------------------------------------------------------------------------------------------------------

ROLES = {"llama": {"embedding": "model.embed_tokens", "layers": "model.layers.", "final": "model.norm", "head": "lm_head",
                   "n1": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
                   "o": "self_attn.o_proj", "qn": "self_attn.q_norm", "kn": "self_attn.k_norm",
                   "n2": "post_attention_layernorm", "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"},
         "olmo": {"embedding": "model.transformer.wte", "layers": "model.transformer.blocks.", "final": "model.transformer.ln_f",
                  "head": "model.transformer.ff_out", "n1": "attn_norm", "q": "q_proj", "k": "k_proj", "v": "v_proj",
                  "o": "attn_out", "n2": "ff_norm", "gate": "ff_proj", "up": "up_proj", "down": "ff_out"}}


class Model:
    def __init__(self, name, config, *, names="llama", H, I, L, NH, NKV, D, theta, eps=1e-6, tied=False, qkv_bias=False,
                 o_bias=False, mlp_bias=False, qk_norm=False, rows=V, shift=False, prefix_full=False, block=4, force=False,
                 accept=0.95, mask=MASK, seed=1, files=None, shards=1, expect=None, prompt=3):
        self.__dict__.update(locals())
        self.roles = ROLES[names]
        self.tensors = []  # name, shape, mean, deviation
        add = lambda n, shape, mean=0.0, dev=0.08: self.tensors.append((n, shape, mean, dev))
        r = self.roles
        norm = lambda n, size: add(n + ".weight", [size], 1.0, 0.1)
        def linear(n, out, size, bias):
            add(n + ".weight", [out, size])
            if bias:
                add(n + ".bias", [out], 0.0, 0.1)
        add(r["embedding"] + ".weight", [rows, H])
        for layer in range(L):
            p = f"{r['layers']}{layer}."
            norm(p + r["n1"], H)
            for x, size in (("q", NH * D), ("k", NKV * D), ("v", NKV * D)):
                linear(p + r[x], size, H, qkv_bias)
            if qk_norm:
                norm(p + r["qn"], D)
                norm(p + r["kn"], D)
            linear(p + r["o"], H, NH * D, o_bias)
            norm(p + r["n2"], H)
            linear(p + r["gate"], I, H, mlp_bias)
            linear(p + r["up"], I, H, mlp_bias)
            linear(p + r["down"], H, I, mlp_bias)
        norm(r["final"], H)
        if not tied:
            add(r["head"] + ".weight", [V, H])

    def weights(self, bf16):
        out = {}
        for name, shape, mean, dev in self.tensors:
            x = numbers(self.seed, name, int(np.prod(shape)), mean, dev)
            out[name] = (to_bf16(x) if bf16 else x).astype(np.float64).reshape(shape)
        return out


def rms(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def forward(m, w, ids, visible):
    """Logits of all rows. visible[q, k]."""
    r, n = m.roles, len(ids)
    def linear(x, name):
        y = x @ w[name + ".weight"].T
        return y + w[name + ".bias"] if name + ".bias" in w else y
    half = m.D // 2
    angles = np.arange(n)[:, None] * m.theta ** (-2.0 * np.arange(half) / m.D)
    cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
    def rope(x):
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    h = w[r["embedding"] + ".weight"][ids]
    for layer in range(m.L):
        p = f"{r['layers']}{layer}."
        a = rms(h, w[p + r["n1"] + ".weight"], m.eps)
        q = linear(a, p + r["q"]).reshape(n, m.NH, m.D)
        k = linear(a, p + r["k"]).reshape(n, m.NKV, m.D)
        v = linear(a, p + r["v"]).reshape(n, m.NKV, m.D)
        if m.qk_norm:
            q, k = rms(q, w[p + r["qn"] + ".weight"], m.eps), rms(k, w[p + r["kn"] + ".weight"], m.eps)
        q, k = rope(q), rope(k)
        k, v = np.repeat(k, m.NH // m.NKV, 1), np.repeat(v, m.NH // m.NKV, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(m.D)
        scores = np.where(visible[None], scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        h = h + linear(np.einsum("hqk,khd->qhd", scores, v).reshape(n, -1), p + r["o"])
        a = rms(h, w[p + r["n2"] + ".weight"], m.eps)
        g = linear(a, p + r["gate"])
        h = h + linear(g / (1 + np.exp(-g)) * linear(a, p + r["up"]), p + r["down"])
    head = w[r["embedding"] + ".weight"][:V] if m.tied else w[r["head"] + ".weight"][:V]
    return rms(h, w[r["final"] + ".weight"], m.eps) @ head.T


def visibility(n, block, prompt):
    """prompt > 0: its positions see each other and nothing behind them."""
    q, k = np.arange(n)[:, None], np.arange(n)[None]
    by_block = k // block <= q // block
    return np.where(q < prompt, k < prompt, by_block) if prompt else by_block


# ---- goldens ----------------------------------------------------------------------------------------------------------------

def pick(m, logits):
    """Token, its probability, the entropy: of what may be sampled."""
    x = np.delete(np.arange(TOKENS), m.mask)
    p = np.exp(logits[x] - logits[x].max())
    p /= p.sum()
    return int(x[p.argmax()]), float(p.max()), float(-(p * np.log(p)).sum())


def golden_row(m, index, logits):
    top = logits.max()
    some = [logits[(index * 37 + c * 67) % V] for c in range(COLUMNS)]
    return [float(f"{x:.8g}") for x in (*some, top + np.log(np.exp(logits - top).sum()), *pick(m, logits))]


def scenario(m, name, ids, cached, prompt, first):
    out = {"name": name, "ids": ids, "cached": cached, "prompt": prompt, "first": first, "files": {}}
    for dtype in ("f32", "bf16"):
        logits = forward(m, m.weights(dtype == "bf16"), ids, visibility(len(ids), m.block, prompt))
        out["files"][dtype] = {"largest": float(f"{np.abs(logits[first:]).max():.8g}"),
                               "rows": [golden_row(m, i, logits[i]) for i in range(first, len(ids))]}
    return out


def text(seed, count):
    with np.errstate(over="ignore"):
        bits = mix(np.uint64(seed * 1000003) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return [int(x) + 10 for x in bits % np.uint64(PAD - 10)]  # no special ones


def generate(m, prompt, count):
    """One block after the other, with rolling buffers of one block: every forward fills what is likely, or else the likeliest."""
    w, B = m.weights(False), m.block
    limit, tokens, closest, forwards = len(prompt) + count, list(prompt), 1.0, 0
    while len(tokens) < limit:
        end = (len(tokens) // B + 1) * B
        block = tokens + [m.mask] * (end - len(tokens))
        while m.mask in block[:limit]:
            logits = forward(m, w, block, visibility(end, B, len(prompt) if m.prefix_full else 0))
            forwards += 1
            open_ = [i for i in range(len(tokens), min(end, limit)) if block[i] == m.mask]
            picks = {i: pick(m, logits[max(i - 1, 0) if m.shift else i]) for i in open_}
            for i in open_:
                top = np.sort(logits[i - 1 if m.shift else i][:TOKENS])[-2:]
                closest = min(closest, float(top[1] - top[0]))
            sure = [i for i in open_ if picks[i][1] > m.accept]
            if not sure:
                sure = [max(open_, key=lambda i: picks[i][1])]
                rest = [picks[i][1] for i in open_ if i != sure[0]]
                closest = min([closest] + [picks[sure[0]][1] / x - 1 for x in rest])
            for i in sure:
                block[i] = picks[i][0]
        tokens = block[:limit]
    return tokens[len(prompt):], forwards, closest


def safetensors(m, tensors, bf16):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, shape, mean, dev in tensors:
        x = numbers(m.seed, name, int(np.prod(shape)), mean, dev)
        x = (to_bf16(x).view(np.uint32) >> 16).astype("<u2").tobytes() if bf16 else x.tobytes()
        header[name] = {"dtype": "BF16" if bf16 else "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(x)]}
        data += x
    text_ = json.dumps(header).encode()
    text_ += b" " * (-len(text_) % 8)
    return struct.pack("<Q", len(text_)) + text_ + data


def write_checkpoint(m, directory, bf16):
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in small_files(m).items():
        (directory / name).write_text(json.dumps(content, indent=1))
    if m.shards == 1:
        return (directory / "model.safetensors").write_bytes(safetensors(m, m.tensors, bf16))
    half, places = len(m.tensors) // 2, {}
    for i, part in enumerate((m.tensors[:half], m.tensors[half:])):
        name = f"model-0000{i + 1}-of-00002.safetensors"
        (directory / name).write_bytes(safetensors(m, part, bf16))
        places.update({t[0]: name for t in part})
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def small_files(m):
    added = {"<|endoftext|>": PAD, "<|im_end|>": TURN, "<|im_start|>": 498, "<|MASK|>": MASK}
    files = {"config.json": m.config,
             "vocab.json": {f"w{i}": i for i in range(PAD)},
             "tokenizer_config.json": {"eos_token": "<|endoftext|>",
                                       "added_tokens_decoder": {str(i): {"content": t} for t, i in added.items()}}}
    for name, content in (m.files or {}).items():
        files[name] = {**files.get(name, {}), **content}
    return files


def golden(m):
    B = m.block
    C = {4: 40, 8: 40, 16: 48, 32: 64}[B]
    prefill = scenario(m, "prefill", text(m.prompt, 23), 0, 23 if m.prefix_full else 0, 0)
    prefix, block = text(m.prompt + 1, C), text(m.prompt + 2, B)
    block = [m.mask if i % 3 != 1 else t for i, t in enumerate(block)]
    decode = scenario(m, "decode", prefix + block, C, C if m.prefix_full else 0, C - 1)
    for attempt in range(3, 50):  # until no choice is so close that rounding may decide it
        prompt = text(m.prompt + attempt, 32 if m.prefix_full else 23)
        tokens, forwards, closest = generate(m, prompt, 12)
        if closest > 1e-4:
            break
    assert closest > 1e-4, (m.name, closest)
    sums = {n: int(numbers(m.seed, n, int(np.prod(s)), a, d).view(np.uint32).astype(np.uint64).sum()) for n, s, a, d in m.tensors[:3]}
    return {"files": small_files(m), "shards": m.shards, "seed": m.seed,
            "tensors": [list(t) for t in m.tensors], "bit_sums": sums, "expect": m.expect, "block": B,
            "prefix_full": m.prefix_full, "shift": m.shift, "scenarios": [prefill, decode],
            "generate": {"prompt": prompt, "tokens": tokens, "forwards": forwards}}


# ---- the families -----------------------------------------------------------------------------------------------------------

def qwen(architecture, model_type, **more):
    config = {"architectures": [architecture], "model_type": model_type, "vocab_size": V, "max_position_embeddings": 512,
              "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_scaling": None,
              "use_sliding_window": False, "tie_word_embeddings": False, "torch_dtype": "float32",
              "bos_token_id": PAD, "eos_token_id": EOS, "pad_token_id": PAD}
    config.update(more)
    return {k: v for k, v in config.items() if v != "absent"}


def sizes(H, I, L, NH, NKV, **more):
    return {"hidden_size": H, "intermediate_size": I, "num_hidden_layers": L, "num_attention_heads": NH,
            "num_key_value_heads": NKV, **more}


def expect(family, strategy="multi_bd", block=32, buffer=1, eos=(496, 497), bos=PAD, pad=PAD, mask=MASK, stability=0.0,
           force=False, shift=False):
    return {"family": family, "strategy": strategy, "block_size": block, "buffer_blocks": buffer, "eos": list(eos), "bos": bos,
            "pad": pad, "mask": mask, "accept_threshold": 0.95, "add_block_threshold": 0.1, "semi_complete_threshold": 0.9,
            "token_stability_threshold": stability, "force_always": force, "shift": shift}


def olmo(**more):
    config = {"architectures": ["LLaDAModelLM"], "model_type": "llada", "d_model": 64, "mlp_hidden_size": 128, "n_layers": 3,
              "n_heads": 4, "n_kv_heads": None, "vocab_size": V, "embedding_size": 520, "rope": True, "rope_theta": 5e5,
              "rms_norm_eps": 1e-5, "max_sequence_length": 512, "weight_tying": False, "include_bias": False,
              "include_qkv_bias": False, "activation_type": "silu", "block_type": "llama", "layer_norm_type": "rms",
              "alibi": False, "block_group_size": 1, "scale_logits": False, "input_emb_norm": False,
              "attention_layer_norm": False, "clip_qkv": None, "multi_query_attention": None, "mlp_ratio": 4,
              "mask_token_id": MASK, "eos_token_id": EOS, "pad_token_id": PAD, "torch_dtype": "float32"}
    config.update(more)
    return config


SEED_CODER = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "rope_theta": "absent", "max_position_embeddings": 512}
NO_TURNS = {"tokenizer_config.json": {"eos_token": "w2", "added_tokens_decoder": {"499": {"content": "w499"}}}}

MODELS = [
    Model("dream", qwen("DreamModel", "Dream", mask_token_id=MASK, **sizes(96, 160, 3, 6, 2)), H=96, I=160, L=3, NH=6, NKV=2, D=16,
          theta=1e6, qkv_bias=True, shift=True, prefix_full=True, block=32, shards=2,
          expect=expect("dream", "d2f", 32, 4, shift=True)),
    Model("fast_dllm_v2", qwen("Fast_dLLM_QwenForCausalLM", "Fast_dLLM_Qwen", tie_word_embeddings=True, bd_size=32,
                               eos_token_id=TURN, **sizes(64, 176, 2, 4, 2)), H=64, I=176, L=2, NH=4, NKV=2, D=16, theta=1e6,
          tied=True, qkv_bias=True, shift=True, block=32, seed=2, prompt=10,
          files={"special_tokens_map.json": {"mask_token": "|<MASK>|"}, "added_tokens.json": {"|<MASK>|": MASK}},
          expect=expect("fast_dllm_v2", stability=0.5, shift=True)),
    Model("fast_dllm_v2_b8", qwen("FastdLLM", "FastdLLMV2", bd_size=8, mask_token_id=MASK, rope_theta="absent",
                                  rope_parameters={"rope_type": "default", "rope_theta": 1e6}, **sizes(64, 176, 2, 4, 2)),
          H=64, I=176, L=2, NH=4, NKV=2, D=16, theta=1e6, qkv_bias=True, shift=True, block=8, seed=3, prompt=20,
          expect=expect("fast_dllm_v2", block=8, stability=0.5, shift=True)),
    Model("dream_reasoner", qwen("DreamForCausalLM", "Dream", mask_token_id=MASK, head_dim=32, **sizes(64, 96, 2, 4, 2)), H=64, I=96,
          L=2, NH=4, NKV=2, D=32, theta=1e6, qk_norm=True, block=32, seed=4, prompt=30, expect=expect("dream_reasoner")),
    Model("sdar", qwen("SDARForCausalLM", "sdar", head_dim=32, **sizes(96, 128, 3, 4, 1)), H=96, I=128, L=3, NH=4, NKV=1, D=32,
          theta=1e6, qk_norm=True, block=4, seed=5, prompt=40, files={"tokenizer_config.json": {"mask_token": "<|MASK|>"}},
          expect=expect("sdar", block=4)),
    Model("sdar_b16", qwen("SDARForCausalLM", "sdar", head_dim=32, block_size=16, attention_bias=True, **sizes(96, 128, 3, 4, 1)),
          H=96, I=128, L=3, NH=4, NKV=1, D=32, theta=1e6, qk_norm=True, qkv_bias=True, o_bias=True, block=16, seed=6, prompt=54,
          files={"tokenizer_config.json": {"mask_token": {"content": "<|MASK|>"}}}, expect=expect("sdar", block=16)),
    Model("stable_diffcoder", qwen("StableDiffcoderForCausalLM", "llama", attention_bias=True, mlp_bias=True, **SEED_CODER,
                                   **sizes(64, 112, 2, 4, 2)), H=64, I=112, L=2, NH=4, NKV=2, D=16, theta=5e5, qkv_bias=True,
          o_bias=True, mlp_bias=True, block=4, seed=7, prompt=60, mask=5, force=True, files=NO_TURNS,
          expect=expect("stable_diffcoder", block=4, eos=[2], bos=0, pad=1, mask=5, force=True)),
    Model("stable_diffcoder_instruct", qwen("LlamaForCausalLM", "llama", head_dim=16, **SEED_CODER,
                                            auto_map={"AutoModelForCausalLM": "modeling_seed_diffcoder.SeedDiffcoderForCausalLM"},
                                            **sizes(64, 112, 2, 4, 2)), H=64, I=112, L=2, NH=4, NKV=2, D=16, theta=5e5, block=4,
          seed=8, prompt=70, mask=5, force=True, files=NO_TURNS,
          expect=expect("stable_diffcoder", block=4, eos=[2], bos=0, pad=1, mask=5, force=True)),
    # Large enough for more than one tile of a matrix, and for the products of devices.
    Model("stable_diffcoder_wide", qwen("StableDiffcoderForCausalLM", "llama", mlp_bias=True, head_dim=32, **SEED_CODER,
                                        **sizes(384, 384, 2, 4, 2)), H=384, I=384, L=2, NH=4, NKV=2, D=32, theta=5e5,
          mlp_bias=True, block=4, seed=11, prompt=100, mask=5, force=True, files=NO_TURNS,
          expect=expect("stable_diffcoder", block=4, eos=[2], bos=0, pad=1, mask=5, force=True)),
    Model("llada", olmo(), names="olmo", H=64, I=128, L=3, NH=4, NKV=4, D=16, theta=5e5, eps=1e-5, rows=520, prefix_full=True,
          block=32, seed=9, prompt=80, files={"tokenizer_config.json": {"bos_token": "<|im_start|>"}},
          expect=expect("llada", "d2f", 32, 4, bos=498, eos=[496])),
    Model("llada_gqa", olmo(n_kv_heads=2, weight_tying=True, include_qkv_bias=True), names="olmo", H=64, I=128, L=3, NH=4, NKV=2, D=16,
          theta=5e5, eps=1e-5, rows=520, tied=True, qkv_bias=True, prefix_full=True, block=32, seed=10, prompt=90,
          expect=expect("llada", "d2f", 32, 4, bos=-1, eos=[496])),
]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for m in MODELS:
        (OUT / f"{m.name}.json").write_text(json.dumps(golden(m), separators=(",", ":")) + "\n")
        if len(sys.argv) > 1:
            for dtype in ("f32", "bf16"):
                write_checkpoint(m, pathlib.Path(sys.argv[1]) / f"{m.name}-{dtype}", dtype == "bf16")
        print(m.name)


if __name__ == "__main__":
    main()
