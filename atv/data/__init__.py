"""Calibration data: where samples come from, and how they become what the processor gives; no model is run here."""

from atv.data.base import CalibrationData, Conversation, IndexedData, Picture
from atv.data.captioned import CaptionedImages
from atv.data.drawn_pools import Bundled, Everyday
from atv.data.hf_dataset import HFDataset
from atv.data.hf_stream import HFStream
from atv.data.sharegpt4v import ShareGPT4V

__all__ = [
    "Bundled",
    "CalibrationData",
    "CaptionedImages",
    "Conversation",
    "Everyday",
    "HFDataset",
    "HFStream",
    "IndexedData",
    "Picture",
    "ShareGPT4V",
]
