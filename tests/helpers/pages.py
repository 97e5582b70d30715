"""The code and commands that the pages of the docs show."""

import re
import shlex
from pathlib import Path

from atv.plugins import load_file

ROOT = Path(__file__).parents[2]
PAGES = {file.stem: file.read_text() for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.S)


def classes(page):
    """Class name -> code block, for the blocks that define a plug-in."""
    return {found[1]: code for code in blocks(page) if (found := re.search(r"^class (\w+)", code, re.M))}


def commands(page):
    """The arguments of each ``atv`` command in order, without launchers."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    lines = re.findall(
        r"^(?:srun \S+ |torchrun .* )?(?:(?:\.venv/bin/)?atv|-m atv\.cli) +(.*?)(?:\s+#.*)?$", text, re.M
    )
    return [shlex.split(line) for line in lines if not line.startswith("-")]


def load_classes(folder):
    """Imports every plug-in of the docs once; class name -> path that is unique among classes of the same name."""
    paths = {}
    for page in PAGES:
        for name, code in classes(page).items():
            file = folder / f"docs_{name}.py"
            file.write_text(code)
            load_file(file)
            paths[name] = f"atv_plugin_docs_{name}.{name}"
    return paths


def without_plugins(command, paths):
    """The command with the docs' classes given by their paths, and without a file to import."""
    at = command.index("--plugin") if "--plugin" in command else len(command)
    return [paths.get(word, word) for word in command[:at] + command[at + 2 :]]
