"""Views of images for learning without labels: random crop, mirror, colours, grey, blur, solarisation.

torchvision's transforms draw once for a whole batch and from torch's global generator; here every image has draws of
its own, all from the generator handed in, so that a view is a function of (seed, batch, number of the view).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol, final

import torch
from torch.nn import functional

from nasforge.errors import UsageError

GREY: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""
_DRAWS: Final = 14
_CHANCES: Final = ("flip", "jitter", "grey", "blur", "solarise")
_STRENGTHS: Final = ("brightness", "contrast", "saturation", "hue", "shift")


class ViewMaker(Protocol):
    """Makes a view of images."""

    def __call__(
        self, images: torch.Tensor, rng: torch.Generator, begin: int = 0, whole: int | None = None, *, flip: bool = True
    ) -> torch.Tensor:
        """Return float32 (N, C, H, W) in 0..255 of images uint8 (N, C, H, W).

        Args:
            images: a part of a batch; they get what they would get in it.
            rng: of torch.
            begin: number of the first image in its batch.
            whole: images of the batch; None: these.
            flip: whether a mirrored image keeps its meaning.
        """


@final
@dataclass(frozen=True, slots=True)
class View:
    """How a view is drawn; defaults as BYOL's (Grill et al. 2020, appendix B) but for blur and solarisation.

    Attributes:
        area: least and largest share of the image that is cropped and resized to the whole.
        ratio: least and largest width / height of the crop.
        shift: largest shift of the crop, as a share of the sides; only where `area` is the whole image.
        flip: chance to be mirrored, where the data allow it.
        jitter: chance of changed colours.
        brightness: largest relative change; so are the next two.
        contrast: around the image's mean brightness.
        saturation: away from or towards grey.
        hue: largest turn of the hue, in turns (a rotation in YIQ).
        grey: chance to lose the colours.
        blur: chance of a Gaussian blur of deviation 0.1 to 2 pixels of a 224 pixel image, scaled with the side.
        solarise: chance that values above a half are inverted.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    shift: float = 0.0
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 0.0
    solarise: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        fine = 0 < self.area[0] <= self.area[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1]
        fine &= all(0 <= getattr(self, name) <= 1 for name in (*_CHANCES, *_STRENGTHS))
        if not fine:
            raise UsageError(
                f"a view was given {self}; expected 0 < area[0] <= area[1] <= 1, 0 < ratio[0] <= ratio[1], and all "
                "chances and strengths in 0..1."
            )

    def __call__(
        self, images: torch.Tensor, rng: torch.Generator, begin: int = 0, whole: int | None = None, *, flip: bool = True
    ) -> torch.Tensor:
        """Return the view, float32 in 0..255; see `ViewMaker`."""
        count = len(images)
        draws = torch.rand(whole or count, _DRAWS, generator=rng)[begin : begin + count]
        pixels = self._cropped(images.float() / 255.0, draws, self.flip if flip else 0.0)
        pixels = _where(draws[:, 5] < self.jitter, self._jittered(pixels, draws[:, 6:10]), pixels)
        pixels = _where(draws[:, 10] < self.grey, brightness(pixels).expand_as(pixels), pixels)
        if self.blur:
            pixels = _where(draws[:, 11] < self.blur, blurred(pixels, draws[:, 12]), pixels)
        if self.solarise:
            pixels = _where(draws[:, 13] < self.solarise, torch.where(pixels >= 0.5, 1.0 - pixels, pixels), pixels)
        return pixels * 255.0

    def _cropped(self, pixels: torch.Tensor, draws: torch.Tensor, flip: float) -> torch.Tensor:
        """Cut a rectangle out of each image and resize it to the whole (bilinear), mirrored by chance."""
        size = _between(draws[:, 0], *self.area)
        ratio = _between(draws[:, 1], *map(math.log, self.ratio)).exp()
        whole_image = self.area == (1.0, 1.0)
        wide = torch.ones_like(size) if whole_image else (size * ratio).sqrt().clamp(max=1.0)
        high = torch.ones_like(size) if whole_image else (size / ratio).sqrt().clamp(max=1.0)
        sides = pixels.shape[3], pixels.shape[2]
        room = [(2 * self.shift if whole_image else 1 - share) for share in (wide, high)]
        moved = [(2 * draws[:, 2 + axis] - 1) * room[axis] for axis in range(2)]
        if whole_image:  # by whole pixels, so that nothing is smoothed
            moved = [(shift * side / 2).round() * 2 / side for shift, side in zip(moved, sides, strict=True)]
        mirrored = torch.where(draws[:, 4] < flip, -wide, wide)
        zero = torch.zeros_like(wide)
        theta = torch.stack([mirrored, zero, moved[0], zero, high, moved[1]], dim=1).view(-1, 2, 3)
        grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
        return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _jittered(self, pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Change brightness, contrast, saturation and hue, in this order; draws (N, 4) in 0..1."""
        signed = (2 * draws - 1).view(-1, 4, 1, 1, 1)
        pixels = (pixels * (1 + self.brightness * signed[:, 0])).clamp(0, 1)
        mean = brightness(pixels).mean(dim=(1, 2, 3), keepdim=True)
        pixels = (mean + (pixels - mean) * (1 + self.contrast * signed[:, 1])).clamp(0, 1)
        if pixels.shape[1] != 3:
            return pixels
        grey = brightness(pixels)
        pixels = (grey + (pixels - grey) * (1 + self.saturation * signed[:, 2])).clamp(0, 1)
        return turned_hue(pixels, self.hue * signed[:, 3].view(-1)).clamp(0, 1)


def brightness(pixels: torch.Tensor) -> torch.Tensor:
    """Return (N, 1, H, W): the brightness of images of three channels, the mean of others."""
    if pixels.shape[1] != 3:
        return pixels.mean(dim=1, keepdim=True)
    return (pixels * pixels.new_tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def turned_hue(pixels: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn the hue of images (N, 3, H, W) by so many turns (N,): a rotation of the colour plane of YIQ."""
    to_yiq = pixels.new_tensor([GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    angle, one = turns * (2 * math.pi), torch.ones_like(turns)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(turns)
    rotation = torch.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], dim=1).view(-1, 3, 3)
    mixing = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
    return torch.einsum("nij,njhw->nihw", mixing, pixels)


def blurred(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Blur each image by a Gaussian of deviation 0.1 to 2 pixels at 224 pixels, by draws (N,) in 0..1."""
    count, channels, height, width = pixels.shape
    reach = max(1, round(min(height, width) * 0.05))
    sigma = _between(draws, 0.1, 2.0) * max(1.0, reach / 2) / 2
    places = torch.arange(-reach, reach + 1, dtype=pixels.dtype)
    kernel = torch.exp(-0.5 * (places / sigma.view(-1, 1)).square())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, 0)
    flat = functional.pad(pixels, (reach,) * 4, mode="replicate").reshape(1, count * channels, height + 2 * reach, -1)
    flat = functional.conv2d(flat, kernel.view(-1, 1, 1, 2 * reach + 1), groups=count * channels)
    flat = functional.conv2d(flat, kernel.view(-1, 1, 2 * reach + 1, 1), groups=count * channels)
    return flat.view(count, channels, height, width)


def _between(draws: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return low + (high - low) * draws


def _where(chosen: torch.Tensor, changed: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), changed, pixels)
