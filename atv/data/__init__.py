"""Calibration data: sources of samples, and their conversion into the processor's tensors; no model runs here."""

from atv.data.base import CalibrationData, Conversation, IndexedData, Picture
from atv.data.captioned import CaptionedImages
from atv.data.composed_sources import Mixture, TextAlone
from atv.data.drawn_scenes import Bundled, BundledScenes, Everyday, EverydayScenes
from atv.data.hf_dataset import HFDataset, HFStream
from atv.data.prose import EverydayProse, PlainText
from atv.data.sharegpt4v import ShareGPT4V

__all__ = [
    "Bundled",
    "BundledScenes",
    "CalibrationData",
    "CaptionedImages",
    "Conversation",
    "Everyday",
    "EverydayProse",
    "EverydayScenes",
    "HFDataset",
    "HFStream",
    "IndexedData",
    "Mixture",
    "Picture",
    "PlainText",
    "ShareGPT4V",
    "TextAlone",
]
