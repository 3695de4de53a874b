"""An image in a request: base64 or a `data:` URL, bounded before anything of it is decoded.

What an image costs is known from its first bytes, which name its size; a file of a kilobyte may name a billion pixels.
Only formats are read whose decoders are used by everybody, every day.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from typing import Any

from PIL import Image, ImageOps

from inference_worker.tasks.protocol import InvalidInput

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MOST_BYTES = 10_000_000
MOST_PIXELS = 16_000_000
MOST_ASPECT = (
    20  # of the longer side to the shorter: some models scale the shorter one up, whatever that makes of the other
)
_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,", re.ASCII)


def read_image(value: Any) -> Image.Image:
    """Decode an image, upright, as RGB; of several frames the first.

    Args:
        value: base64 or a `data:` URL; or an object with nothing but that as `image`.

    Raises:
        InvalidInput: it is no image, of another format, too large, or broken.
    """
    path: tuple[str, ...] = ()
    if isinstance(value, dict) and list(value) == ["image"]:
        value, path = value["image"], ("image",)
    if not isinstance(value, str):
        raise InvalidInput("must be an image: base64 or a data: URL, or an object with that as `image`", *path)
    data = _decoded(value, path)
    try:
        with warnings.catch_warnings(action="ignore"):  # what it warns of is refused below
            opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InvalidInput(f"must have at most {MOST_PIXELS} pixels", *path) from error
    except Exception as error:  # noqa: B902 - decoders raise many kinds over a broken file
        raise InvalidInput(f"is no image of a format that is read: {', '.join(FORMATS)}", *path) from error
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise InvalidInput(f"must have at most {MOST_PIXELS} pixels, not {width} x {height}", *path)
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise InvalidInput(f"must be at most {MOST_ASPECT} times as long as wide, not {width} x {height}", *path)
    try:
        return ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # noqa: B902 - decoders raise many kinds over a broken file
        raise InvalidInput(f"is a {opened.format} image that is broken or cut off", *path) from error


def _decoded(value: str, path: tuple[str, ...]) -> bytes:
    url = _DATA_URL.match(value)
    if value.startswith("data:") and url is None:
        raise InvalidInput("must be a data: URL of the form data:image/png;base64,…", *path)
    if value.startswith(("http:", "https:", "file:")):
        raise InvalidInput("must be the image itself, as base64 or a data: URL: no address is fetched", *path)
    begin = url.end() if url else 0
    size = (len(value) - begin) * 3 // 4
    if size > MOST_BYTES:
        raise InvalidInput(f"must have at most {MOST_BYTES} bytes, not {size}", *path)
    try:
        return base64.b64decode(value[begin:].translate(_SPACE), validate=True)
    except ValueError as error:
        raise InvalidInput("must be base64, or a data: URL with it", *path) from error


_SPACE = {ord(blank): None for blank in " \r\n\t"}  # base64 is often wrapped
