"""What the runners do: one module a command, its docstring the help text."""
