"""Makes the README that PyPI shows: relative links lead nowhere there."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ReadmeHook(MetadataHookInterface):
    """Sets `readme`, with links that resolve."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Points links to files under the project's `Source` URL; without one, names the file."""
        source = metadata.get("urls", {}).get("Source")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        target = r"`\2` (in the source distribution)"
        if source:
            target = rf"[\1]({source}/blob/main/\2)"
        text = re.sub(r"\[([^\]]+)\]\((?!https?://|#)([^)]+)\)", target, text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
