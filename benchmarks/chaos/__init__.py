"""Chaos: a whole farm of real processes, clients that log all they ask, faults by a seeded schedule, and a count."""
