"""Train the embedded model: `python -m host_runtime.llm.embedded.train --out DIR` (needs the extra `train`).

Text is drawn afresh from the grammar for every step, so the model never sees a window twice; the training
seeds lie below `EVALUATION_SEED`, from which the held-out texts come. One thread and fixed seeds: equal
machines give equal files. Writes config.json, model.safetensors (BF16, Hugging Face GPT-2 names) and
tokenizer.json.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from host_runtime.llm.config import GPT2Config
from host_runtime.llm.embedded.grammar import generate, source_perplexity
from host_runtime.llm.embedded.text import TRAINING_SEEDS, build_tokenizer, evaluation_text

WIDTH, BLOCKS, HEADS, CONTEXT = 128, 3, 2, 128


class Conv1D(nn.Module):
    """Linear layer with GPT-2's weight orientation, [in, out]."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * scale)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_attn = Conv1D(WIDTH, 3 * WIDTH, 0.02)
        self.c_proj = Conv1D(WIDTH, WIDTH, 0.02 / math.sqrt(2 * BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        split = self.c_attn(x).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(split[0], split[1], split[2], is_causal=True)
        out: Tensor = self.c_proj(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return out


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc = Conv1D(WIDTH, 4 * WIDTH, 0.02)
        self.c_proj = Conv1D(4 * WIDTH, WIDTH, 0.02 / math.sqrt(2 * BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return out


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(WIDTH), Attention()
        self.ln_2, self.mlp = nn.LayerNorm(WIDTH), FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    """GPT-2 whose parameter names are the checkpoint's tensor names."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.ln_f = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.01)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def windows(text: str) -> tuple[Tensor, Tensor]:
    """Encode a text and cut it into windows: inputs and the tokens one later, each [n, CONTEXT]."""
    ids = np.array(build_tokenizer().encode(text).ids, dtype=np.int64)
    count = (len(ids) - 1) // CONTEXT
    cut = (ids[shift : shift + count * CONTEXT].reshape(count, CONTEXT) for shift in (0, 1))
    inputs, targets = (torch.from_numpy(part) for part in cut)
    return inputs, targets


def batches(size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of `size` windows of fresh text for as long as asked."""
    order = np.random.default_rng(0)
    for seed in TRAINING_SEEDS:
        inputs, targets = windows(generate(seed, sentences=20_000))
        shuffled = torch.from_numpy(order.permutation(len(inputs)))
        for chosen in shuffled[: len(inputs) // size * size].split(size):
            yield inputs[chosen], targets[chosen]


def loss(model: Transformer, inputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def train(out: Path, steps: int, batch: int, peak: float) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = Transformer(tokenizer.get_vocab_size())
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    warmup, started = min(200, steps // 10 + 1), time.monotonic()
    for step, (inputs, targets) in zip(range(steps), batches(batch), strict=False):
        rate = (
            peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        value = loss(model, inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step + 1 == steps:
            seconds = time.monotonic() - started
            print(f"step {step} perplexity {math.exp(value.item()):.3f} {seconds:.0f} s", flush=True)
    held_out = evaluation_text(0)
    with torch.no_grad():
        reached = math.exp(loss(model, *windows(held_out)).item())
    print(f"held-out perplexity {reached:.3f}, source {source_perplexity(held_out):.3f}")
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().to(torch.bfloat16) for name, value in model.state_dict().items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = GPT2Config(tokenizer.get_vocab_size(), CONTEXT, WIDTH, BLOCKS, HEADS, 4 * WIDTH, eos_token_id=0)
    (out / "config.json").write_text(config.to_json())
    tokenizer.save(str(out / "tokenizer.json"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--batch", type=int, default=16, help="windows a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps, arguments.batch, arguments.rate)
