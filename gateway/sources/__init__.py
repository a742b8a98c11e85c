"""Where model files come from: folders, git, DVC, MLflow, model repositories of other servers."""
