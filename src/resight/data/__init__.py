"""Records, what may be wrong with them, the pictures behind them, and batches of pictures."""
