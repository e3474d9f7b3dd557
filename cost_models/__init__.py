"""Native cost engine and fitted coefficients; no Python code lives here."""
