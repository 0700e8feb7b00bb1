"""What code is compiled for: one TOML per board, read into edgecls.types.Target."""

from edgecls.targets.features import FEATURES, feature_mask
from edgecls.targets.host import host_arch, host_features, native_target
from edgecls.targets.load import list_targets, load_target, parse_target

__all__ = ["FEATURES", "feature_mask", "host_arch", "host_features", "list_targets", "load_target", "native_target",
           "parse_target"]
