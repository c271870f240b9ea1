"""What a person does to tasks and phases: approves, answers, rejects, talks with the PM."""
