"""CLIP's image towers with the taps that re-identification needs; parameters keep OpenAI's names below `visual.`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.clip.transformer import Activation, LayerNorm, Transformer, attend, insert_prompts


@dataclass(frozen=True, slots=True)
class ViTConfig:
    """A vision transformer. image_size: height, width in pixels. A stride below the patch makes patches overlap."""

    image_size: tuple[int, int]
    patch: int
    stride: int
    width: int
    depth: int
    heads: int
    output: int
    activation: Activation

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.patch:
            raise ValueError(f"a stride of {self.stride} is not between 1 and the patch size, {self.patch}")
        if min(self.image_size) < self.patch:
            raise ValueError(f"pictures of {self.image_size} (height, width) are smaller than a patch of {self.patch}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = self.image_size
        return (height - self.patch) // self.stride + 1, (width - self.patch) // self.stride + 1

    @property
    def tap_widths(self) -> tuple[int, int, int]:
        """Dimensions of the three `Taps`."""
        return self.width, self.width, self.output


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """CLIP's ResNet. heads: of its attention pool, width / 2 in OpenAI's. last_stride: of layer4, 2 in OpenAI's."""

    image_size: tuple[int, int]
    blocks: tuple[int, int, int, int]
    width: int
    heads: int
    output: int
    last_stride: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ValueError(f"pictures of {self.image_size} (height, width) are too small for this ResNet")
        if self.width * 32 % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width * 32}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of layer4's feature map."""
        # The first convolution pads, so it rounds up; every later halving rounds down.
        height, width = ((side + 1) // 2 // (8 * self.last_stride) for side in self.image_size)
        return height, width

    @property
    def tap_widths(self) -> tuple[int, int, int]:
        """Dimensions of the three `Taps`."""
        return self.width * 16, self.width * 32, self.output


class Taps(NamedTuple):
    """The three features of a picture that re-identification uses; none is normalised to length 1.

    penultimate [B, W]: class token before the last block, no norm; in a ResNet the average of layer3.
    last [B, W]: class token after the last block and its norm; in a ResNet the average of layer4.
    projected [B, O]: `last` in the space shared with texts; in a ResNet the attention pool's output.
    """

    penultimate: Tensor
    last: Tensor
    projected: Tensor


class VisionTransformer(nn.Module):
    """Pictures [B, 3, H, W], normalised, of the configured size → Taps."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        self.conv1 = nn.Conv2d(3, config.width, config.patch, config.stride, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + rows * columns, config.width))
        self.ln_pre = LayerNorm(config.width)
        self.transformer = Transformer(config.width, config.depth, config.heads, config.activation)
        self.ln_post = LayerNorm(config.width)
        self.proj = nn.Parameter(torch.empty(config.width, config.output))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw this module's own parameters as OpenAI's code does."""
        for parameter in (self.class_embedding, self.positional_embedding, self.proj):
            nn.init.normal_(parameter, std=self.config.width**-0.5)

    def forward(self, images: Tensor, *, side: Tensor | None = None, prompts: Tensor | None = None) -> Taps:
        """The class token's features; the last block is computed for that token alone.

        side [B, W]: a vector for each picture (its camera's, say), added to the class token before the position
        embedding. prompts: learned rows between class token and patches, [P, W] or [D, P, W] as in `insert_prompts`;
        they get no position embedding. Raises ValueError when the pictures are not of the configured size.
        """
        stream = self._before_last(images, side, prompts)
        last: Tensor = self.ln_post(self.transformer.last(stream[:, :1], stream))[:, 0]
        return Taps(stream[:, 0], last, last @ self.proj)

    def tokens(self, images: Tensor, *, side: Tensor | None = None, prompts: Tensor | None = None) -> Tensor:
        """Class token, prompts and patches (row by row), all normed and projected: [B, 1 + P + N, O]."""
        tokens: Tensor = self.ln_post(self.transformer.last(self._before_last(images, side, prompts)))
        return tokens @ self.proj

    def _before_last(self, images: Tensor, side: Tensor | None, prompts: Tensor | None) -> Tensor:
        _check_size(images, self.config.image_size)
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(images.shape[0], 1, -1)
        if side is not None:
            first = first + side[:, None]
        x = torch.cat([first, patches], 1) + self.positional_embedding
        return self.transformer.before_last(self.ln_pre(insert_prompts(x, prompts)), prompts=prompts)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around a shortcut; strides are average pools, so they do not alias."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample: nn.Module | None = None
        if stride > 1 or n_in != 4 * width:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the identity, as OpenAI's code does."""
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(self.pool(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(self.pool(x))))


class AttentionPool(nn.Module):
    """One picture feature [B, O] from a feature map [B, C, h, w]: its mean attends to itself and to every place."""

    def __init__(self, n_places: int, channels: int, heads: int, output: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.empty(1 + n_places, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, output)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as OpenAI's code does."""
        std = self.positional_embedding.shape[1] ** -0.5
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(linear.weight, std=std)
        nn.init.normal_(self.positional_embedding, std=std)

    def forward(self, x: Tensor) -> Tensor:
        places = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([places.mean(1, keepdim=True), places], 1) + self.positional_embedding
        query, key, value = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        pooled: Tensor = self.c_proj(attend(query, key, value, heads=self.heads))[:, 0]
        return pooled


class ModifiedResNet(nn.Module):
    """Pictures [B, 3, H, W], normalised, of the configured size → Taps."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.layer1 = _layer(width, width, config.blocks[0], stride=1)
        self.layer2 = _layer(4 * width, 2 * width, config.blocks[1], stride=2)
        self.layer3 = _layer(8 * width, 4 * width, config.blocks[2], stride=2)
        self.layer4 = _layer(16 * width, 8 * width, config.blocks[3], stride=config.last_stride)
        rows, columns = config.grid
        self.attnpool = AttentionPool(rows * columns, 32 * width, config.heads, config.output)

    def forward(self, images: Tensor, *, side: Tensor | None = None, prompts: Tensor | None = None) -> Taps:
        """The averages of layer3 and layer4, and the attention pool's output.

        side and prompts are the vision transformer's: a ResNet has no sequence to put them in. Raises ValueError when
        one is given, and when the pictures are not of the configured size.
        """
        if side is not None or prompts is not None:
            raise ValueError("a ResNet tower takes neither side vectors nor prompts")
        _check_size(images, self.config.image_size)
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        third = self.layer3(self.layer2(self.layer1(x)))
        fourth = self.layer4(third)
        return Taps(third.mean((2, 3)), fourth.mean((2, 3)), self.attnpool(fourth))


def _layer(n_in: int, width: int, n_blocks: int, *, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1) for _ in range(n_blocks - 1)]
    return nn.Sequential(Bottleneck(n_in, width, stride), *rest)


def _check_size(images: Tensor, size: tuple[int, int]) -> None:
    # The number of patches alone would not tell: 448×112 has as many as 224×224.
    if images.shape[-2:] != size:
        raise ValueError(f"pictures of {tuple(images.shape[-2:])} (height, width) given to a tower built for {size}")


def resize_positions(table: Tensor, *, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Position embeddings for another grid: float32 [1 + rows * columns, W]; the class token's row is kept.

    table [1 + rows * columns, W] of old_grid; grids are rows, columns. Bilinear, corners not aligned, no antialiasing,
    as CLIP-ReID and IRRA do. Raises ValueError when the table is not of old_grid.
    """
    if len(table) != 1 + old_grid[0] * old_grid[1]:
        raise ValueError(f"{len(table)} position embeddings are not 1 + {old_grid[0]} * {old_grid[1]}")
    table = table.float()
    places = table[1:].T.reshape(1, -1, *old_grid)
    resized = F.interpolate(places, new_grid, mode="bilinear", align_corners=False, antialias=False)
    return torch.cat([table[:1], resized[0].flatten(1).T])
