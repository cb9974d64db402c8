"""The HTTP side: translates between the wire and the domain, and decides nothing."""
