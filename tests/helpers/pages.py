"""What the pages of the docs show: their code and their commands."""

import re
import shlex
from pathlib import Path

from atv.plugins import load_file

ROOT = Path(__file__).parents[2]
PAGES = {file.stem: file.read_text() for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.S)


def classes(page):
    """The blocks that define a plug-in: its class -> the block."""
    return {found[1]: code for code in blocks(page) if (found := re.search(r"^class (\w+)", code, re.M))}


def commands(page):
    """The arguments of each ``atv`` command, launchers left out, in order."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    lines = re.findall(
        r"^(?:srun \S+ |torchrun .* )?(?:(?:\.venv/bin/)?atv|-m atv\.cli) +(.*?)(?:\s+#.*)?$", text, re.M
    )
    return [shlex.split(line) for line in lines if not line.startswith("-")]


def load_classes(folder):
    """Imports every plug-in of the docs once: its class -> the path by which no other class of the name is meant."""
    paths = {}
    for page in PAGES:
        for name, code in classes(page).items():
            file = folder / f"docs_{name}.py"
            file.write_text(code)
            load_file(file)
            paths[name] = f"atv_plugin_docs_{name}.{name}"
    return paths


def without_plugins(command, paths):
    """The command with classes of the docs by their paths, and no file to import."""
    at = command.index("--plugin") if "--plugin" in command else len(command)
    return [paths.get(word, word) for word in command[:at] + command[at + 2 :]]
