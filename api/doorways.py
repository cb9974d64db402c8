"""The doors that are open: what each answers, and how it tells of errors."""

from api.doors import (
    eachlabs,
    eachlabs_events,
    nim,
    nim_health,
    nim_words,
    oxen,
    oxen_events,
    oxen_models,
    oxen_words,
)

DOORS = (
    eachlabs.door,
    eachlabs_events.events,
    oxen.door,
    oxen_models.models,
    oxen_events.events,
    nim.door,
    nim_health.health,
)
MANNERS = (oxen_words.MANNER, nim_words.MANNER)
