"""The zoo's own library (bioimageio.core and bioimageio.spec), asked in clean child processes, and its archives."""
