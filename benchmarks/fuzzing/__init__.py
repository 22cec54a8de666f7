"""Parts of the fuzz campaign: valid files, mutations, readers, and a worker process with limits."""
