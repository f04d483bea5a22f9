"""Scripts of the repository: code generation and what it stands on."""
