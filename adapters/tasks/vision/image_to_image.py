"""Pictures made of pictures, as the image-to-image pipeline of transformers 4.57.6, and masked pictures filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....postprocess.transfers import sent
from ...running.batching import Batch
from ...running.columns import Columns
from ...running.loaded import Loaded
from ...running.options import require, require_count
from ...running.reading import Reading
from ...running.task import Prepared
from .families import to_pixels
from .images import ImageOptions, Picture, encode_images, image_row, picture_task, read_images, read_one, with_sizes
from .results import Reconstruction, of_source


@dataclass(frozen=True)
class ImageToImageOptions(ImageOptions):
    head_mask: Any = None


def encode(loaded: Loaded, items: Sequence[Picture], options: ImageToImageOptions) -> list[Prepared]:
    rows = with_sizes(encode_images(loaded, [item.image for item in items]), items)
    return [Prepared([row], item) for row, item in zip(rows, items, strict=True)]


def forward(loaded: Loaded, batch: Batch, options: ImageToImageOptions) -> Reading:
    """Per picture the pixels of its answer, [H, W, 3] uint8. As in transformers the margin that the processor added is
    answered too; without ``compat`` it is cut off."""
    given = {} if options.head_mask is None else {"head_mask": options.head_mask}
    made: Tensor = loaded.run(**batch.inputs, **given)["reconstruction"]
    (pixels,) = yield [to_pixels(made)]
    if loaded.compat:
        return list(pixels.numpy())
    scale = made.shape[-1] / batch.inputs["pixel_values"].shape[-1]
    sizes = [row.facts["size"] for row in batch.rows]
    return [own[: round(h * scale), : round(w * scale)] for own, (h, w) in zip(pixels.numpy(), sizes, strict=True)]


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageToImageOptions
) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(pixels) for (pixels,) in outputs]


def columns(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageToImageOptions
) -> Columns:
    """A row a picture: the ``image`` that was made, its ``height`` and ``width``."""
    made = finish(loaded, items, outputs, options)
    sizes = {"height": [each.height for each in made], "width": [each.width for each in made]}
    ones = torch.ones(len(made), dtype=torch.long, device="cpu")
    return Columns(
        ones, {"image": made, **{name: torch.tensor(values, device="cpu") for name, values in sizes.items()}}
    )


@dataclass(frozen=True)
class MaskedImageOptions(ImageOptions):
    """mask_ratio: the share of patches that the model has to guess, drawn by ``seed`` for each picture by itself;
    bool_masked_pos: [patches] bool in its place, for every picture."""

    mask_ratio: float = 0.6
    seed: int = 0
    bool_masked_pos: Any = None

    def __post_init__(self) -> None:
        require(0 <= self.mask_ratio <= 1, f"mask_ratio must be in [0, 1]; got {self.mask_ratio}")
        require_count("seed", self.seed, least=0)


def encode_masked(loaded: Loaded, items: Sequence[Picture], options: MaskedImageOptions) -> list[Prepared]:
    """A row a picture, with the patches that are hidden from the model."""
    prepared = []
    for row, item in zip(encode_images(loaded, [item.image for item in items]), items, strict=True):
        pixels = row.inputs["pixel_values"]
        patches = _patches(loaded.config, pixels)
        hidden = _hidden(patches, options)
        prepared.append(Prepared([image_row({"pixel_values": pixels, "bool_masked_pos": hidden})], item))
    return prepared


def _patches(config: Any, pixels: Tensor) -> int:
    side = config.patch_size
    rows, columns = (side, side) if isinstance(side, int) else side
    return int(pixels.shape[-2] // rows) * int(pixels.shape[-1] // columns)


def _hidden(patches: int, options: MaskedImageOptions) -> Tensor:
    if options.bool_masked_pos is not None:
        given = torch.as_tensor(options.bool_masked_pos).bool().flatten()
        require(len(given) == patches, f"bool_masked_pos must hold {patches} patches; got {len(given)}")
        return given
    generator = torch.Generator().manual_seed(options.seed)
    hidden = torch.zeros(patches, dtype=torch.bool, device="cpu")
    hidden[torch.randperm(patches, generator=generator)[: round(options.mask_ratio * patches)]] = True
    return hidden


def forward_masked(loaded: Loaded, batch: Batch, options: MaskedImageOptions) -> Reading:
    """Per picture what the model makes of all of it, and the picture with only the hidden patches replaced."""
    output = loaded.run(**batch.inputs)
    made: Tensor = output["reconstruction"] if "reconstruction" in output else output["logits"]
    seen = batch.inputs["pixel_values"]
    hidden = _over_pixels(batch.inputs["bool_masked_pos"], seen)
    filled = torch.where(hidden, made, seen)
    means, spreads = (
        sent(torch.tensor(getattr(loaded.image_processor, name), device="cpu"), filled.device).to(filled.dtype)[
            :, None, None
        ]
        for name in ("image_mean", "image_std")
    )
    pictures = [to_pixels(values * spreads + means) for values in (filled, torch.where(hidden, 0, seen))]
    made, masked, *pixels = yield [made, batch.inputs["bool_masked_pos"], *pictures]
    return list(zip(made, masked, *(each.numpy() for each in pixels), strict=True))


def _over_pixels(hidden: Tensor, pixels: Tensor) -> Tensor:
    """[B, 1, H, W] bool: the patches of a square grid at the size of the picture."""
    height, width = pixels.shape[-2:]
    rows = round((hidden.shape[1] * height / width) ** 0.5)
    grid = hidden.reshape(len(hidden), 1, rows, -1).float()
    return torch.nn.functional.interpolate(grid, size=(height, width), mode="nearest").bool()


def finish_masked(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: MaskedImageOptions
) -> list[Any]:
    """``{reconstruction [C, H, W], bool_masked_pos, image, masked_image}`` a picture, images at the model's size."""
    from PIL import Image

    finished = []
    for item, ((made, hidden, filled, masked),) in zip(items, outputs, strict=True):
        record: Mapping[str, Any] = {
            "reconstruction": made,
            "bool_masked_pos": hidden,
            "image": Image.fromarray(filled),
            "masked_image": Image.fromarray(masked),
        }
        finished.append(of_source(Reconstruction(record), item.facts.source))
    return finished


IMAGE_TO_IMAGE = picture_task(
    name="image-to-image",
    auto_classes=("AutoModelForImageToImage",),
    options=ImageToImageOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    columns=columns,
)
MASKED_IMAGE = picture_task(
    name="masked-image-modeling",
    auto_classes=("AutoModelForMaskedImageModeling",),
    options=MaskedImageOptions,
    read=read_images,
    parse=read_one,
    encode=encode_masked,
    forward=forward_masked,
    finish=finish_masked,
)
