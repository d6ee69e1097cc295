"""The protocol without input or output: who decides. Time is an argument, chance a field."""
