"""XML of annotation files, read without trust: what declares a document type is refused.

Entities that expand without end, and entities that name other files, both need a document type;
no annotation format has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn
from xml.etree.ElementTree import TreeBuilder
from xml.parsers import expat

from wsi_tower.errors import AnnotationError

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

__all__ = ["numbers_of", "parsed_xml"]


def parsed_xml(content: bytes, path: Path) -> Element:
    """The root of an XML document.

    Args:
        content: the file, in any encoding that it declares itself.
        path: named in errors.

    Raises:
        AnnotationError: not XML, cut short, or with a document type.
    """

    def refuse(*_: object) -> NoReturn:
        raise AnnotationError(
            f"annotation file {path} declares a document type (<!DOCTYPE …>), which can expand "
            f"without end or name other files; remove those lines, or export it again"
        )

    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise AnnotationError(
            f"annotation file {path} is no whole XML document ({error}); export it again"
        ) from error
    return builder.close()


def numbers_of(element: Element, names: tuple[str, str], place: str, path: Path) -> list[float]:
    """Attributes of an element as numbers, written with a decimal point or a decimal comma.

    Raises:
        AnnotationError: one is missing or no number; ``place`` says where.
    """
    found = []
    for name in names:
        text = element.get(name, "")
        try:
            found.append(float(text.replace(",", ".")))
        except ValueError as error:
            raise AnnotationError(
                f"annotation file {path}, {place}: {name} is {text!r}, not a number; mend it "
                f"there, or export the file again"
            ) from error
    return found
