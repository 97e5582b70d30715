"""The nine bundled tasks, in the order of the paper's benchmarks that they mirror."""

from atv.bundled.tasks.base import Task, TaskQuestion
from atv.bundled.tasks.choices import Circular, Diagrams, MultiStep
from atv.bundled.tasks.in_words import Knowledge, Reading, Relations, Unanswerable
from atv.bundled.tasks.yes_or_no import Paired, Presence

TASKS: tuple[Task, ...] = tuple(
    task() for task in (Knowledge, Unanswerable, Reading, Relations, Presence, Diagrams, Circular, Paired, MultiStep)
)

__all__ = ["TASKS", "Task", "TaskQuestion"]
