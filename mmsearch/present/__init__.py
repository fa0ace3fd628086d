"""Results for people and programs: hits, summaries and progress -> text, JSON and pictures."""
