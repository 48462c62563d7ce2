"""What stands on the screen, as text."""

from textual.app import App


def screen_text(app: App[object]) -> str:
    """The screen that is up, line by line, without spaces at the ends of lines."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
