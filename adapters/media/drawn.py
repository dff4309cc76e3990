"""What results that draw themselves have in common."""

import io
from typing import Any


class Drawn:
    """Mixed into results with a ``draw()``."""

    def draw(self) -> Any:
        """The answer as a PIL image."""
        raise NotImplementedError

    def show(self) -> None:
        """Open the drawing in the system's viewer of pictures."""
        self.draw().show()

    def save(self, path: Any) -> None:
        """Write the drawing to a file; its suffix says in which format."""
        self.draw().save(path)

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.draw().save(content, "PNG")
        return content.getvalue()
