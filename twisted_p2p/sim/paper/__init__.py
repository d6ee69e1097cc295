"""The experiments of the papers, run on the shipped core: tables with a column for ours beside theirs."""
