"""Accuracy, latency and divergence of sessions. Knows the Session protocol and no backend."""

from edgecls.harness.accuracy import validate_accuracy
from edgecls.harness.dataset import Dataset, Item, load_dataset
from edgecls.harness.divergence import compare_outputs
from edgecls.harness.images import check_images, run_images
from edgecls.harness.latency import compare_latency, measure_latency

__all__ = ["Dataset", "Item", "check_images", "compare_latency", "compare_outputs", "load_dataset", "measure_latency",
           "run_images", "validate_accuracy"]
