"""How flux-tiny is made: a small Flux trained on pictures that a program draws, with its relatives and its scorer."""
