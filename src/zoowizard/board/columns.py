"""The columns of the event's tracking table, in its own words."""

from typing import Final

COLUMNS: Final = (
    "Model Name",
    "Category",
    "Description",
    "Status",
    "Meta-data Complete",
    "Exported",
    "Uploaded",
    "Notes",
)
"""As they stand in the event's document."""
