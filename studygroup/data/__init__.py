"""Data: a name or a path -> samples prepared in memory-mapped arrays -> batches on the device."""

from studygroup.data.batches import Batches, evaluation_batches, reading_order
from studygroup.data.dataset import HOLDOUT, Dataset, Split, hold_out
from studygroup.data.images.augment import asks_for_flips, format_augment, parse_augment
from studygroup.data.images.decode import find_images, read_image
from studygroup.data.images.flips import Flips, decide_flips
from studygroup.data.images.transform import ImageTransform
from studygroup.data.inputs import Given, Images, Inputs, InputSpec, Sample, Tokens, inputs_of
from studygroup.data.source import ImageSource, Source, TextSource
from studygroup.data.sources import SOURCES, describe_sources, open_data, open_dataset, reads_texts, table_options
from studygroup.data.texts.ragged import Ragged
from studygroup.data.transforms import TokenTransform, Transform
from studygroup.data.unlabelled import Unlabelled, open_unlabelled
from studygroup.options import OnError

__all__ = [
    "HOLDOUT",
    "SOURCES",
    "Batches",
    "Dataset",
    "Flips",
    "Given",
    "ImageSource",
    "ImageTransform",
    "Images",
    "InputSpec",
    "Inputs",
    "OnError",
    "Ragged",
    "Sample",
    "Source",
    "Split",
    "TextSource",
    "TokenTransform",
    "Tokens",
    "Transform",
    "Unlabelled",
    "asks_for_flips",
    "decide_flips",
    "describe_sources",
    "evaluation_batches",
    "find_images",
    "format_augment",
    "hold_out",
    "inputs_of",
    "open_data",
    "open_dataset",
    "open_unlabelled",
    "parse_augment",
    "read_image",
    "reading_order",
    "reads_texts",
    "table_options",
]
