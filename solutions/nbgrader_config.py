"""Settings of nbgrader for this course; paths are relative to the repository."""

c = get_config()  # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = "minitransformer"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
c.CourseDirectory.submitted_directory = ".grading/submitted"
c.CourseDirectory.autograded_directory = ".grading/autograded"
c.CourseDirectory.feedback_directory = ".grading/feedback"
c.CourseDirectory.db_url = "sqlite:///.grading/gradebook.db"
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your turn")'}
