"""Fuzzing: inputs by chance, or guided by coverage, against what reads what others have written."""
