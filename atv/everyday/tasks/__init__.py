"""The nine tasks about everyday scenes, in the order of the paper's benchmarks that they mirror."""

from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.tasks.circular import Circular
from atv.everyday.tasks.diagrams import Diagrams
from atv.everyday.tasks.knowledge import Knowledge
from atv.everyday.tasks.multistep import MultiStep
from atv.everyday.tasks.paired import Paired
from atv.everyday.tasks.presence import Presence
from atv.everyday.tasks.reading import Reading
from atv.everyday.tasks.relations import Relations
from atv.everyday.tasks.unanswerable import Unanswerable

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
