"""The processes that pull tokens: one process, one pipeline, one device."""
