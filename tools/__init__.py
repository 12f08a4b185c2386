"""Scripts that measure, and write the tables of the documentation."""
