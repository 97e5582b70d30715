"""Writing figures to files."""

from pathlib import Path

from matplotlib.figure import Figure

from atv.records.files import atomic


def save_figure(figure: Figure, file: Path, dpi: int = 160) -> None:
    """Writes a figure to a PNG file atomically."""
    with atomic(file) as path:
        figure.savefig(path, dpi=dpi, format="png")
