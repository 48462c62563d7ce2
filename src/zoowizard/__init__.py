"""From a trained microscopy model to a tested package of the BioImage Model Zoo."""

__version__ = "0.1.0"
