"""One file per dialect spoken."""
