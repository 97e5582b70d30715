"""``atv measure``"""

import atv
from atv.evaluation.speed import Speed
from atv.records.page_parts import markdown
from atv.records.provenance import hardware


def measure(
    folders: list[str],
    prompt_tokens: int = 256,
    new_tokens: int = 32,
    repeats: int = 5,
    trust_remote_code: bool = False,
) -> None:
    """Measure models side by side on this machine: tokens per second, parameters and bytes.

    Each model reads a picture with a question (prefill) and generates an answer (decode), taking turns with the others.
    All models are in memory together: on the GPU, or on the CPU if there is no GPU, in the dtype of their files. Models
    that atv quantize wrote are converted to floats when they are loaded: their files are smaller, but they are no
    faster.

    Args:
        folders: Models to measure: folders, hub ids, "bundled" or "everyday", as for atv prune. All others are compared
            with the first.
        prompt_tokens: Minimum number of tokens in the prompt, including those of the picture.
        new_tokens: Number of tokens to generate.
        repeats: Number of turns; the table shows medians over all turns, with the smallest and the largest value.
    """
    speeds = atv.measure(
        *folders,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        repeats=repeats,
        trust_remote_code=trust_remote_code,
    )
    first_speed = next(iter(speeds.values()))
    header = ("model", "parameters", "not zero", "MB", "prefill tokens/s", "x first", "decode tokens/s", "x first")
    print(markdown(header, (_row(name, speed, first_speed) for name, speed in speeds.items())))
    print(f"{hardware()}; prompts of {first_speed.prompt} tokens, answers of {new_tokens}, {repeats} turns")


def _row(name: str, speed: Speed, first_speed: Speed) -> list[str]:
    size_cells = [f"{speed.parameters:,}", f"{speed.nonzero / speed.parameters:.1%}", f"{speed.bytes / 1e6:.1f}"]
    return [
        name,
        *size_cells,
        *_speed_cells(speed, first_speed, "prefill"),
        *_speed_cells(speed, first_speed, "decode"),
    ]


def _speed_cells(speed: Speed, first_speed: Speed, phase: str) -> tuple[str, str]:
    """Tokens per second, and the speedup over the first model with its smallest and largest value over the turns."""
    ratio, least, greatest = speed.over(first_speed, phase)
    return f"{speed.median(phase):.1f}", "1" if speed is first_speed else f"{ratio:.2f} ({least:.2f} to {greatest:.2f})"
