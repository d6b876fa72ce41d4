"""One method a file: its settings, what is learned, and the step."""
