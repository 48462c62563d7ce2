"""Where a package goes, and what became of it: light, imported by commands and screens."""
