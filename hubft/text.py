"""Foreign text, such as the name of somebody's folder, made fit to be shown."""


def visible(text: str, width: int = 80) -> str:
    """Return a text of printable characters, at most `width` of them: newlines, ANSI and bidi marks as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"
