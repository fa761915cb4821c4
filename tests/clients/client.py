"""What every client does, each in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from tests.images import Image


class Client(Protocol):
    """A program that pushes and pulls. References are host:port/repository:tag or @digest."""

    sends_as_is: ClassVar[bool]
    """Whether manifests and layers arrive byte for byte as they are in the layout."""

    def push(self, image: Image, reference: str) -> None:
        """Push an image from its layout."""

    def pull(self, reference: str) -> list[str]:
        """Pull an image and return its layers' diff ids, from the bytes that came."""

    def copy(self, source: str, target: str) -> None:
        """Push under another name what is pulled, or has been."""

    def log_in(self, host: str, secret: str | None) -> None:
        """Show a token to a registry from now on; None: nobody is logged in any more."""

    def forget(self) -> None:
        """Lose all that is stored or remembered locally."""
