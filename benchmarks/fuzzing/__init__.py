"""Parts of the fuzz campaign: good files, their mutations, readers, and a contained process that reads."""
