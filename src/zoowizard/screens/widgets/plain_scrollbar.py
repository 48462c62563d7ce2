"""Scrollbars of whole cells, for terminals that cannot show the parts of a block."""

from textual.scrollbar import ScrollBar, ScrollBarRender


class PlainScrollBarRender(ScrollBarRender):
    """Draws no end of a bar finer than a cell, so that there is nothing in it but spaces."""

    VERTICAL_BARS = [" "]  # noqa: RUF012
    HORIZONTAL_BARS = [" "]  # noqa: RUF012


def use_plain_scrollbars() -> None:
    """Let all scrollbars be drawn so from now on."""
    ScrollBar.renderer = PlainScrollBarRender
