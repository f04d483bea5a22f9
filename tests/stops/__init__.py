"""Emergency stops."""
