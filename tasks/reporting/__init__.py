"""Tables, figures and comparisons that reports of several tasks share."""
