"""CLIP's towers with the taps that re-identification needs, its tokenizer, and readers of published weights."""
