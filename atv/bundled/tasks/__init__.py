"""The nine bundled tasks, in the order of the paper's benchmarks that they mirror."""

from atv.bundled.tasks.base import Task, TaskQuestion
from atv.bundled.tasks.circular import Circular
from atv.bundled.tasks.diagrams import Diagrams
from atv.bundled.tasks.knowledge import Knowledge
from atv.bundled.tasks.multistep import MultiStep
from atv.bundled.tasks.paired import Paired
from atv.bundled.tasks.presence import Presence
from atv.bundled.tasks.reading import Reading
from atv.bundled.tasks.relations import Relations
from atv.bundled.tasks.unanswerable import Unanswerable

TASKS: tuple[Task, ...] = (
    Knowledge(),
    Unanswerable(),
    Reading(),
    Relations(),
    Presence(),
    Diagrams(),
    Circular(),
    Paired(),
    MultiStep(),
)

__all__ = ["TASKS", "Task", "TaskQuestion"]
