"""Parts that the data of several tasks share."""
