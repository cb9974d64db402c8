"""The private servers and the supervision behind `fluxfarm up`."""

from fluxfarm.local.lock import RunningFarm, running

__all__ = ["RunningFarm", "running"]
