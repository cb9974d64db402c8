"""One file per dialect spoken, or a few: what each answers, and how it tells of errors."""
