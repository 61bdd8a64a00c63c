"""The nightly batch: a day recomputed from the complete record, compared, counted and summed up."""
