"""Pictures written into a page itself, so that the page needs no other file."""

import base64


def data_url(content: bytes, kind: str) -> str:
    """The address (RFC 2397) that holds a picture whole, for an ``<img>``.

    Args:
        content: of the picture's file.
        kind: "png" or "jpeg".

    >>> data_url(b"picture", "png")
    'data:image/png;base64,cGljdHVyZQ=='
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
