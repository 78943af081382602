"""Draws the rooms of the package and their imports as a Mermaid diagram.

python .ci/rooms.py            # prints it
python .ci/rooms.py --write    # puts it into CONTRIBUTING.md
python .ci/rooms.py --check    # exits with 1 if CONTRIBUTING.md shows another one, or if a folder's
                               # `__all__` lacks a module that another folder imports
"""

import ast
import functools
import re
import sys
from collections import Counter
from pathlib import Path

import grimp

PACKAGE = "coalm_oumi"
PAGE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
DIAGRAM = re.compile(r"```mermaid\n.*?```", re.DOTALL)
EVERYWHERE = ("core", "files")
"""Rooms that nearly every room imports. Their arrows would hide the others."""


@functools.cache
def imports() -> grimp.ImportGraph:
    """Returns the graph of the package's imports."""
    return grimp.build_graph(PACKAGE)


def arrows() -> Counter[tuple[str, str]]:
    """Counts the imports from one room to another."""
    graph = imports()
    counts: Counter[tuple[str, str]] = Counter()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            rooms = room(importer), room(imported)
            if rooms[0] != rooms[1] and "" not in rooms:
                counts[rooms] += 1
    return counts


def room(module: str) -> str:
    """Returns the folder that a module is in; empty for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__main__" else ""


def not_offered() -> list[str]:
    """Returns a line for each import across folders of a module that its `__all__` lacks."""
    graph = imports()
    lines: list[str] = []
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            parts = imported.split(".")
            for depth in range(2, len(parts)):
                folder = ".".join(parts[:depth])
                is_outside = importer != folder and not importer.startswith(f"{folder}.")
                if is_outside and parts[depth] not in offered(folder):
                    lines.append(f"{importer} imports {imported}: add it to {folder}.__all__")
    return lines


@functools.cache
def offered(folder: str) -> frozenset[str]:
    """Returns the names in a folder's `__all__`."""
    file = PAGE.parent.joinpath(*folder.split("."), "__init__.py")
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(statement.value))
    return frozenset()


def diagram() -> str:
    """Writes the diagram, fenced for Markdown."""
    lines = ["```mermaid", "flowchart TD"]
    for (importer, imported), count in sorted(arrows().items()):
        if imported not in EVERYWHERE:
            lines.append(f"  {importer} -->|{count}| {imported}")
    return "\n".join([*lines, "```"])


def main() -> int:
    """Prints, writes or checks the diagram."""
    drawn = diagram()
    page = PAGE.read_text(encoding="utf-8")
    if "--write" in sys.argv:
        PAGE.write_text(DIAGRAM.sub(lambda _: drawn, page), encoding="utf-8")
    elif "--check" in sys.argv:
        # Counts change with every import; only new or gone arrows make the picture wrong.
        shown = re.findall(r"(\w+) -->\|\d+\| (\w+)", page)
        if sorted(shown) != sorted(re.findall(r"(\w+) -->\|\d+\| (\w+)", drawn)):
            print("CONTRIBUTING.md shows other imports: run python .ci/rooms.py --write")
            return 1
        if lines := not_offered():
            print("\n".join(lines))
            return 1
    else:
        print(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
