"""Windows drivers on the host: built from sources, read, checked, and laid out for loading."""
