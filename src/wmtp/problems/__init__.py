"""Problems in their one form: read, written, chosen, rendered."""
