"""Addresses: of the web, where a name of this machine or of the Hub belongs; and of a picture that lies in its page."""

from __future__ import annotations

import base64
import re
from pathlib import Path

# Of the schemes that people paste: `hub:/path` is a reference. A Path has made one slash of two.
URL = re.compile(r"(https?|ftp|file|s3|gs|hf|git|ssh):/{1,3}(?=[^/])", re.IGNORECASE)
MODEL = re.compile(
    r"(?:www\.)?(?:huggingface\.co|hf\.co)/(?!(?:datasets|spaces|models|docs|papers|api)/)"
    r"([\w.-]+/[\w.-]+?)(?:/(?:tree|blob|resolve|commit)/([^/?#]+).*)?/?(?:[?#].*)?",
    re.ASCII,
)

PICTURE = "data:image/"


def picture(content: bytes) -> str:
    """Return a PNG or a JPEG as the address of itself (RFC 2397), with which a page has it without a request."""
    form = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"{PICTURE}{form};base64,{base64.b64encode(content).decode()}"


def there(path: Path) -> bool:
    """Tell whether something has this path; False also for a name that no file system takes, as of a long URL."""
    try:
        return path.exists()
    except OSError:
        return False


def answer(source: str | Path, package: bool = False) -> str:
    """Return what is wrong with a URL that was given for a path, or for a package; nothing where it is none."""
    text = str(source)
    found = URL.match(text)
    if not found or there(Path(text)):
        return ""
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme == "file":
        return f"{text!r} is a URL: give the path itself"
    name = MODEL.fullmatch(rest) if package else None
    if name:
        instead = f"{name[1]}@{name[2]}" if name[2] and name[2] != "main" else name[1]
    what = f"write {instead}" if name else "download it first"
    return f"'{scheme}://{rest}' is a URL: {what}"
