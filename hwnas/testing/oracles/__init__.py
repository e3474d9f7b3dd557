"""Plain twins of the native routines: the definitions that the tests compare them with."""
