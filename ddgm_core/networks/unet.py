"""The U-Net of the paper: predicts the unscaled noise ε of x + σε, not conditioned on σ."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ddgm.core.networks.group_norm import GroupNorm


@dataclass(frozen=True)
class Architecture:
    """The numbers from which a network is built; stored with its weights.

    Attributes:
        width: feature maps, the same at all levels (paper: 128).
        levels: levels of resolution (paper: 5); an image's sides must divide by `multiple`.
        convolutions: 3 × 3 convolutions in each block, two to a residual unit (paper: 6).
        groups: groups of each GroupNorm.
        channels: neighbouring images that the network sees; it denoises the one in the middle.
        unshuffle: side of the squares of pixels that the first convolution takes as channels, and
            the last one gives back; 1: each pixel by itself (the paper's).
    """

    width: int = 128
    levels: int = 5
    convolutions: int = 6
    groups: int = 8
    channels: int = 1
    unshuffle: int = 1

    @property
    def has_kernels(self) -> bool:
        """True if our GPU kernels run it: they read one pixel at a time, of one image."""
        return self.channels == self.unshuffle == 1

    @property
    def multiple(self) -> int:
        """Both sides of an image must be multiples of this many pixels."""
        return self.unshuffle * 2 ** (self.levels - 1)


class ResidualUnit(nn.Module):
    """x + conv(act(norm(conv(act(norm(x))))))."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        for p in self.conv2.parameters():  # each unit starts as the identity: deep nets train so
            nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class UNet(nn.Module):
    """Noise predictor: (B, channels, H, W) → (B, 1, H, W), H and W that divide by `multiple`.

    Blocks of residual units at each level going down and up; average pooling down, nearest
    neighbour up, skips added, so every block has the same width. 7,986,049 parameters at
    width 128, 503,521 at width 32. The input is divided by its own standard deviation, image
    by image: σ spans three decades, and the net learns it in no other way.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture

        def block() -> nn.Sequential:
            return nn.Sequential(
                *(ResidualUnit(a.width, a.groups) for _ in range(a.convolutions // 2))
            )

        self.stem = nn.Conv2d(a.channels * a.unshuffle**2, a.width, 3, padding=1)
        self.down = nn.ModuleList(block() for _ in range(a.levels))
        self.up = nn.ModuleList(block() for _ in range(a.levels - 1))
        self.norm = GroupNorm(a.groups, a.width)
        self.head = nn.Conv2d(a.width, a.unshuffle**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if any(n % self.architecture.multiple for n in x.shape[-2:]):
            raise ValueError(
                f"sides of {tuple(x.shape[-2:])} must divide by {self.architecture.multiple}"
            )
        x = x / x.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
        h = self.stem(F.pixel_unshuffle(x, self.architecture.unshuffle))
        skips = []
        for i, block in enumerate(self.down):
            h = block(h if i == 0 else F.avg_pool2d(h, 2))
            skips.append(h)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            h = block(F.interpolate(h, scale_factor=2.0, mode="nearest") + skip)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.architecture.unshuffle)


def parameter_count(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in network.parameters())
