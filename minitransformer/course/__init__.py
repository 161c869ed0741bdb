"""The machinery of the course: set-up, execution, release and grading."""
