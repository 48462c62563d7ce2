"""What a network is, found out by running it: sizes, halo, outputs, and the normalisation that it was trained with."""
