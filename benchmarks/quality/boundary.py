"""Train the boundary network on a volume with true labels, all of which lies in z < `--end`.

    python -m benchmarks.quality.boundary fib25/heldout.npy fib25/heldout_labels.npz OUT.safetensors

The network that ships was made so: see ddgm_core/networks/boundary.md.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ddgm.core.metrics.membranes import label_edges
from ddgm.core.networks.boundary import BoundaryNetwork

SIDE, BATCH, RATE, WARM = 32, 4, 3e-3, 100


def crops(
    x: np.ndarray, edges: np.ndarray, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of crops, turned, mirrored, and with grey levels and noise that vary."""
    images, targets = [], []
    for _ in range(BATCH):
        box = tuple(slice(s, s + SIDE) for s in (rng.integers(0, n - SIDE + 1) for n in x.shape))
        order, turned = rng.permutation(3), tuple(axis for axis in range(3) if rng.random() < 0.5)
        a, b = (np.flip(v[box].transpose(order), turned) for v in (x, edges))
        noise = rng.uniform(0, 0.2) * rng.normal(size=a.shape)
        images.append(a * rng.uniform(0.85, 1.15) + rng.uniform(-0.15, 0.15) + noise)
        targets.append(b)
    pair = (torch.from_numpy(np.stack(v).astype(np.float32))[:, None] for v in (images, targets))
    first, second = (v.contiguous(memory_format=torch.channels_last_3d) for v in pair)
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--end", type=int, default=78, help="first slice that is not trained on")
    parser.add_argument("--steps", type=int, default=1100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    grey = np.load(given.volume)[: given.end].astype(np.float32)
    x, edges = (grey - grey.mean()) / grey.std(), label_edges(np.load(given.labels)["labels"])
    network = BoundaryNetwork().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser, rng = torch.optim.AdamW(network.parameters(), RATE), np.random.default_rng(0)
    losses = []
    for step in range(given.steps):
        rate = RATE * min(1, step / WARM) * (1 + math.cos(math.pi * step / given.steps)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate
        image, target = crops(x, edges[: given.end], rng)
        loss = F.binary_cross_entropy_with_logits(network(image), target)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 49:
            print(f"{step + 1} of {given.steps}: {np.mean(losses[-50:]):.4f}", flush=True)
            kept = {k: v.half().contiguous() for k, v in network.state_dict().items()}
            save_file(kept, given.out)


if __name__ == "__main__":
    main()
