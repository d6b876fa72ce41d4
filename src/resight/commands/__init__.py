"""The commands: arguments as frozen dataclasses, and one function each that calls the parts and prints. No logic."""
