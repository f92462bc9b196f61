"""The main job: dry run and cycles; drives learning, evaluation and registry."""
