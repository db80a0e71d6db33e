"""Text as token tables: tokenizer, tables on disk, the loader."""
