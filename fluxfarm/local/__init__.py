"""The private servers and the supervision behind `fluxfarm up`."""
