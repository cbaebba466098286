"""Methods: what one batch teaches. One file per paper. All that is in the registry can be imported from here."""

from studygroup.methods.method import Losses as Losses
from studygroup.methods.method import Method as Method
from studygroup.methods.registry import *  # noqa: F403
