"""Models in child processes: started on demand, shared fairly, ended when idle, begun anew after a crash."""

from llamaforge.pool.lease import Lease
from llamaforge.pool.pool import Pool
from llamaforge.pool.spec import Limits, ModelStatus, Spec, State

__all__ = ["Lease", "Limits", "ModelStatus", "Pool", "Spec", "State"]
