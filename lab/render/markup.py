"""Elements of HTML and SVG as text, with everything in them escaped."""

from __future__ import annotations

from html import escape

__all__ = ["element", "text_of", "Attribute"]

Attribute = str | int | float | bool | None


def element(name: str, *content: str, **attributes: Attribute) -> str:
    """One element; `content` is markup already, attribute values are escaped here.

    An underscore in an attribute's name stands for a hyphen and is dropped at the end (`class_`). True is an attribute
    without a value, None and False none at all; numbers lose needless decimals.

    >>> element("rect", class_="a b", x=1.50, height=2.0, data_entry='"', hidden=None)
    '<rect class="a b" x="1.5" height="2" data-entry="&quot;"/>'
    >>> element("b", text_of("1 < 2"))
    '<b>1 &lt; 2</b>'
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if not content and name in _MAY_BE_SHORT:
        return f"<{name}{given}/>"
    return f"<{name}{given}>{''.join(content)}</{name}>"


_MAY_BE_SHORT = frozenset({"rect", "path", "circle", "line", "use"})
"""Elements of SVG; HTML knows no short form."""


def text_of(value: object) -> str:
    """Text as markup."""
    return escape(str(value), quote=False)


def _attribute(name: str, value: Attribute) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if value is False:
        return ""
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{escape(str(value))}"'
