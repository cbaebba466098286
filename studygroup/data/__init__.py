"""Data: a name or a folder -> samples prepared in memory-mapped arrays -> batches on the device."""

from studygroup.data.batches import Batches, evaluation_batches, reading_order
from studygroup.data.dataset import Dataset, Split, hold_out
from studygroup.data.images.decode import find_images, read_image
from studygroup.data.images.transform import Augment, ImageTransform
from studygroup.data.inputs import Images, Inputs, Tokens, Transform, inputs_of
from studygroup.data.source import OnError
from studygroup.data.sources import SOURCES, open_data, open_dataset, reads_texts
from studygroup.data.texts.ragged import Ragged

__all__ = [
    "SOURCES",
    "Augment",
    "Batches",
    "Dataset",
    "ImageTransform",
    "Images",
    "Inputs",
    "OnError",
    "Ragged",
    "Split",
    "Tokens",
    "Transform",
    "evaluation_batches",
    "find_images",
    "hold_out",
    "inputs_of",
    "open_data",
    "open_dataset",
    "read_image",
    "reading_order",
    "reads_texts",
]
