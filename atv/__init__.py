"""ATV-Pruning and the decoupled text and visual pathways of Large Vision-Language Models."""

from atv import allocation, api, criteria, patterns, refinement, selection

# Whatever these rooms export is public here, too.
from atv.allocation import *  # noqa: F403
from atv.api import *  # noqa: F403
from atv.criteria import *  # noqa: F403
from atv.model.batch import DenseBatch
from atv.patterns import *  # noqa: F403
from atv.records.masks import load_masks, save_masks
from atv.records.pruning_report import BlockReport, PathwayReport, PruningReport
from atv.refinement import *  # noqa: F403
from atv.selection import *  # noqa: F403

__version__ = "0.1.0"

__all__ = ["BlockReport", "DenseBatch", "PathwayReport", "PruningReport", "load_masks", "save_masks"]
__all__ += allocation.__all__
__all__ += api.__all__
__all__ += criteria.__all__
__all__ += patterns.__all__
__all__ += refinement.__all__
__all__ += selection.__all__
