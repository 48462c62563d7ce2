"""Is this computer fit for the work? Checks, each with what is so, and how to mend what is not."""
