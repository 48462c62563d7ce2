"""The tracking table of the event, one row a model."""
