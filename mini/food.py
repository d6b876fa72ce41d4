"""To come."""

MOTIFS: tuple[()] = ()
